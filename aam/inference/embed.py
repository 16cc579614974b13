"""Embeddings, UniFrac and Faith PD of the samples of a table by a trained model.

The ASVs are encoded first, each once (`aam.inference.asvs`), then the samples in batches, so that memory grows with the
results and with one batch, not with the table. N samples, U ASVs, the other axes as in `aam.models`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aam.config import Precision
from aam.corpus.dataset import Sample, collate_fn
from aam.inference.asvs import EncodedASVs, device_of
from aam.models.devices import set_product_precision, to_single_precision
from aam.models.latent_tree import Branches, LatentTree, SampleBranches
from aam.models.pretrain_model import PretrainModel
from aam.observer import Progress, no_progress

SAMPLE_ROWS = 64
"""Samples in a batch; bounds memory and does not change results."""
BATCH_SLOTS = 4096
"""Slots of a batch of samples of like size: past the caches of a CPU, larger matrix products get slower."""


class Samples(Protocol):
    """A sequence of drawn samples: a list, or an `ASVDataset`, which draws a sample when it is accessed."""

    def __len__(self) -> int: ...
    def __getitem__(self, row: int, /) -> Sample: ...


@dataclass(frozen=True)
class SlotBatch:
    """Samples as slots [B, S], the most abundant ASV first: `index` is its row in `EncodedASVs`."""

    index: Tensor
    valid: Tensor
    abundance: Tensor


class BranchBatch(NamedTuple):
    """Samples on the latent branches; column r of `samples.tips` [B, R] is ASV `rows[r]` of `EncodedASVs`."""

    rows: Tensor
    tip_lengths: Tensor
    branch_lengths: Tensor
    samples: SampleBranches


@dataclass(frozen=True)
class Encoding:
    """Samples, their encoded ASVs and the model; computes embeddings, distances and diversities.

    A sample embedding is computed from the `token_limit` most abundant ASVs (None: all), UniFrac from all ASVs.
    `precision` is that of the sample encoder; sums over latent branches are in single precision.
    """

    model: PretrainModel
    samples: Samples
    asvs: EncodedASVs
    token_limit: int | None
    precision: Precision = "fp32"

    @torch.inference_mode()
    def embeddings(self, progress: Progress = no_progress) -> Tensor:
        """Sample embeddings [N, D]; samples of similar size share a batch, to reduce padding."""
        parts, order = list[Tensor](), list[int]()
        for rows in self._rows_by_size():
            batch = self.batch(rows, self.token_limit)
            with set_product_precision(self.precision, device_of(self.model)):
                found = self.model.encode_samples(self.asvs.embeddings, batch.index, batch.valid, batch.abundance)
            parts.append(to_single_precision(found.embeddings))
            order += rows
            progress(len(order), len(self.samples))
        place = torch.tensor(order, device=device_of(self.model)).argsort()
        return torch.cat(parts)[place]

    @torch.inference_mode()
    def faith_pd(self, factor: float | None) -> Tensor:
        """Faith's phylogenetic diversity [N] in the units of the training tree.

        The length of the latent branches times `factor` (see `aam.inference.scales`). Without a factor, the output of
        the head on sample embeddings, which is accurate only for samples like those of training.
        """
        if factor is not None and (lengths := self.latent_lengths()) is not None:
            return lengths * factor
        return self.model.scalars.faith_pd(self.embeddings()).exp()

    @torch.inference_mode()
    def latent_lengths(self) -> Tensor | None:
        """Length of all latent branches of each sample [N], None if the model has no latent tree.

        Latent lengths are learned from UniFrac, which is a quotient, so they have no unit. The scale of patristic
        distances, which the latent tree also learns, does not fit: with it the lengths in three runs on real studies
        were 1.3, 1.9 and 3.9 times too short, by nearly the same factor for all samples of a study.
        """
        tree, parts = self.model.latent_tree, list[Tensor]()
        if tree is None:
            return None
        for batch in self.batches(None):
            rows, local = torch.unique(batch.index, return_inverse=True)
            parts.append(tree.faith_pd(tree(self.asvs.embeddings[rows]), local, batch.valid))
        return torch.cat(parts)

    @torch.inference_mode()
    def unifrac(self, progress: Progress = no_progress) -> Tensor | None:
        """UniFrac [N, N] by the latent tree, None if the model has none; see `as_distances`."""
        tree = self.model.latent_tree
        if tree is None:
            return None
        placed = list(self._branch_batches(tree))
        sizes = [len(batch.samples.x) for batch in placed]
        found = torch.zeros(sum(sizes), sum(sizes), device=device_of(self.model))
        rows = np.r_[0, np.cumsum(sizes)]
        for i, left in enumerate(placed):
            for j in range(i, len(placed)):
                part = unifrac_between(tree, left, placed[j])
                found[rows[i] : rows[i + 1], rows[j] : rows[j + 1]] = part
                found[rows[j] : rows[j + 1], rows[i] : rows[i + 1]] = part.T
            progress((i + 1) * (2 * len(placed) - i), len(placed) * (len(placed) + 1))
        return found

    @torch.inference_mode()
    def euclidean(self) -> Tensor | None:
        """UniFrac [N, N] by sample embeddings, None if the model has no such head; see `as_distances`."""
        if self.model.euclidean is None:
            return None
        points = self.model.euclidean.coordinates(self.embeddings())
        return self.model.euclidean(points, points)

    def best_unifrac(self, progress: Progress = no_progress) -> Tensor:
        """UniFrac [N, N] by the latent tree, or by the Euclidean head of a model without one."""
        found = self.unifrac(progress)
        if found is None:
            found = self.euclidean()
        assert found is not None  # --unifrac-head names one of them, or both
        return found

    @torch.inference_mode()
    def branches(self, progress: Progress = no_progress) -> Tensor | None:
        """Coordinates [N, K] of samples on the latent branches: presence (or share of the reads) times branch length.

        The sum of absolute differences between two samples is the branch length that they do not share, without the
        private tips of ASVs.
        """
        tree = self.model.latent_tree
        if tree is None:
            return None
        parts: list[Tensor] = []
        for placed in self._branch_batches(tree):
            parts.append(placed.samples.x * placed.branch_lengths)
            progress(sum(map(len, parts)), len(self.samples))
        return torch.cat(parts)

    def batches(self, limit: int | None, rows: Sequence[int] | None = None) -> Iterator[SlotBatch]:
        """The samples (or those numbered `rows`) in batches; see `batch`."""
        rows = range(len(self.samples)) if rows is None else rows
        for start in range(0, len(rows), SAMPLE_ROWS):
            yield self.batch(rows[start : start + SAMPLE_ROWS], limit)

    def batch(self, rows: Sequence[int], limit: int | None) -> SlotBatch:
        """The samples numbered `rows`, with as many slots as the largest has ASVs, but at most `limit`."""
        batch, device = collate_fn([self.samples[row] for row in rows]), device_of(self.model)
        place = torch.from_numpy(np.searchsorted(self.asvs.columns, batch.asvs.numpy()))
        order = batch.counts.argsort(dim=1, descending=True, stable=True)[:, : limit or None]
        counts = batch.counts.gather(1, order)
        return SlotBatch(
            place[batch.index].gather(1, order).to(device),
            batch.valid.gather(1, order).to(device),
            (counts / counts.sum(dim=1, keepdim=True)).to(device),
        )

    def _rows_by_size(self) -> Iterator[list[int]]:
        """Numbers of all samples, grouped by similar size into batches of at most `BATCH_SLOTS` slots."""
        sizes = np.array([len(self.samples[row].asvs) for row in range(len(self.samples))])
        group: list[int] = []
        for row in np.argsort(sizes, kind="stable").tolist():
            if group and sizes[row] * (len(group) + 1) > BATCH_SLOTS:
                yield group
                group = []
            group.append(row)
        yield group

    def _branch_batches(self, tree: LatentTree) -> Iterator[BranchBatch]:
        """The samples on the branches, in batches that hold the tips of their own ASVs alone."""
        for batch in self.batches(None):
            rows, local = torch.unique(batch.index, return_inverse=True)
            branches = tree(self.asvs.embeddings[rows])
            placed = tree.place_samples(branches, local, batch.valid, batch.abundance)
            yield BranchBatch(rows, branches.tips, branches.lengths, placed)


def unifrac_between(tree: LatentTree, left: BranchBatch, right: BranchBatch) -> Tensor:
    """UniFrac [B, B'] between the samples of two batches, on the tips of both."""
    rows = torch.unique(torch.cat([left.rows, right.rows]))
    lengths = left.tip_lengths.new_zeros(len(rows))
    sides = []
    for side in (left, right):
        here = torch.searchsorted(rows, side.rows)
        lengths[here] = side.tip_lengths
        tips = side.samples.tips.new_zeros(len(side.samples.tips), len(rows))
        tips[:, here] = side.samples.tips
        sides.append(SampleBranches(side.samples.x, tips))
    members = lengths.new_zeros(0)  # of single ASVs: not read once samples are placed
    return tree.unifrac(Branches(members, lengths, left.branch_lengths), *sides)


def as_distances(predicted: Tensor) -> NDArray[np.float64]:
    """Make predictions [N, N] a distance matrix: symmetric, diagonal 0, no negative values."""
    found = predicted.double().cpu().numpy()
    found = np.maximum((found + found.T) / 2, 0.0)
    np.fill_diagonal(found, 0.0)
    return found
