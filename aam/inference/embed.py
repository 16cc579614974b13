"""Samples of a table under a trained model: the one place that embeds them, for every command that needs it.

Their ASVs are encoded before, each once (`aam.inference.asvs`); samples follow in blocks. Memory is that of the
results and of one block, not of the table. N samples, U ASVs, the other axes as in `aam.models`.
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
from aam.models.devices import at_least_single, products_in
from aam.models.latent_tree import Branches, LatentTree, SampleBranches
from aam.models.pretrain_model import PretrainModel
from aam.observer import Progress, no_progress

SAMPLE_ROWS = 64
"""Samples encoded at once; they bound memory and change nothing."""
BLOCK_SLOTS = 4096
"""Slots of samples encoded at once: past the caches of a CPU, larger matrix products get slower."""


class Samples(Protocol):
    """Drawn samples by number: a list of them, or an `ASVDataset`, which draws each when it is asked for."""

    def __len__(self) -> int: ...
    def __getitem__(self, row: int, /) -> Sample: ...


@dataclass(frozen=True)
class Block:
    """Some samples whose slots [B, S] point with `index` to rows of `EncodedASVs`, the most abundant ASV first."""

    index: Tensor
    valid: Tensor
    abundance: Tensor


class PlacedBlock(NamedTuple):
    """Samples on the latent branches: `samples.tips` [B, R] stands for the R ASVs that are `rows` of `EncodedASVs`."""

    rows: Tensor
    tip_lengths: Tensor
    branch_lengths: Tensor
    samples: SampleBranches


@dataclass(frozen=True)
class Encoding:
    """Samples, their encoded ASVs and the model: everything that can be said about them.

    `token_limit`: most ASVs of a sample that its embedding sees, the most abundant; UniFrac always sees all.
    `precision` is that of the sample encoder; branches and their sums are in single precision.
    """

    model: PretrainModel
    samples: Samples
    asvs: EncodedASVs
    token_limit: int | None
    precision: Precision = "fp32"

    @torch.inference_mode()
    def embeddings(self, progress: Progress = no_progress) -> Tensor:
        """Sample embeddings [N, D]; samples of like size are encoded together, so that little is padding."""
        parts, order = list[Tensor](), list[int]()
        for rows in self._alike():
            block = self.block(rows, self.token_limit)
            with products_in(self.precision, device_of(self.model)):
                found = self.model.encode_samples(self.asvs.embeddings, block.index, block.valid, block.abundance)
            parts.append(at_least_single(found.embeddings))
            order += rows
            progress(len(order), len(self.samples))
        place = torch.tensor(order, device=device_of(self.model)).argsort()
        return torch.cat(parts)[place]

    @torch.inference_mode()
    def faith_pd(self, factor: float | None) -> Tensor:
        """Faith's phylogenetic diversity [N] in the units of the training tree.

        It is the length of the latent branches times the `factor` that `aam.inference.scales` found; without one, what
        the head on sample embeddings says, which depends on how like those of training the samples are.
        """
        if factor is not None and (lengths := self.latent_lengths()) is not None:
            return lengths * factor
        return self.model.scalars.faith_pd(self.embeddings()).exp()

    @torch.inference_mode()
    def latent_lengths(self) -> Tensor | None:
        """Length of all latent branches of each sample [N], None where the model has no latent tree.

        UniFrac is a quotient, so what it teaches has no unit. That of tree distances, which the latent tree learns too,
        serves badly for unions: in three runs on real studies these were 1.3, 1.9 and 3.9 times too short by it, and
        nearly the same for all samples of a study.
        """
        tree, parts = self.model.latent_tree, list[Tensor]()
        if tree is None:
            return None
        for block in self.blocks(None):
            rows, local = torch.unique(block.index, return_inverse=True)
            parts.append(tree.faith_pd(tree(self.asvs.embeddings[rows]), local, block.valid))
        return torch.cat(parts)

    @torch.inference_mode()
    def unifrac(self, progress: Progress = no_progress) -> Tensor | None:
        """UniFrac [N, N] by the latent tree, None where the model has none; see `as_distances`."""
        tree = self.model.latent_tree
        if tree is None:
            return None
        placed = list(self._placed(tree))
        sizes = [len(block.samples.x) for block in placed]
        found = torch.zeros(sum(sizes), sum(sizes), device=device_of(self.model))
        rows = np.r_[0, np.cumsum(sizes)]
        for i, left in enumerate(placed):
            for j in range(i, len(placed)):
                part = between(tree, left, placed[j])
                found[rows[i] : rows[i + 1], rows[j] : rows[j + 1]] = part
                found[rows[j] : rows[j + 1], rows[i] : rows[i + 1]] = part.T
            progress((i + 1) * (2 * len(placed) - i), len(placed) * (len(placed) + 1))
        return found

    @torch.inference_mode()
    def euclidean(self) -> Tensor | None:
        """UniFrac [N, N] by sample embeddings, None where the model has no such head; see `as_distances`."""
        if self.model.euclidean is None:
            return None
        points = self.model.euclidean.coordinates(self.embeddings())
        return self.model.euclidean(points, points)

    def best_unifrac(self, progress: Progress = no_progress) -> Tensor:
        """UniFrac [N, N] by the better head that the model has."""
        found = self.unifrac(progress)
        if found is None:
            found = self.euclidean()
        assert found is not None  # --unifrac-head names one of them, or both
        return found

    @torch.inference_mode()
    def branches(self, progress: Progress = no_progress) -> Tensor | None:
        """Coordinates [N, K] of samples on the latent branches: presence (or share of the reads) times branch length.

        The sum of their absolute differences is the branch length that two samples do not share, private tips apart.
        """
        tree = self.model.latent_tree
        if tree is None:
            return None
        parts: list[Tensor] = []
        for placed in self._placed(tree):
            parts.append(placed.samples.x * placed.branch_lengths)
            progress(sum(map(len, parts)), len(self.samples))
        return torch.cat(parts)

    def blocks(self, limit: int | None, rows: Sequence[int] | None = None) -> Iterator[Block]:
        """The samples (or those numbered `rows`) in blocks, each cut to its own longest sample, or to `limit` ASVs."""
        rows = range(len(self.samples)) if rows is None else rows
        for start in range(0, len(rows), SAMPLE_ROWS):
            yield self.block(rows[start : start + SAMPLE_ROWS], limit)

    def block(self, rows: Sequence[int], limit: int | None) -> Block:
        """The samples numbered `rows`, cut to the longest of them, or to the `limit` most abundant ASVs of each."""
        batch, device = collate_fn([self.samples[row] for row in rows]), device_of(self.model)
        place = torch.from_numpy(np.searchsorted(self.asvs.columns, batch.asvs.numpy()))
        order = batch.counts.argsort(dim=1, descending=True, stable=True)[:, : limit or None]
        counts = batch.counts.gather(1, order)
        return Block(
            place[batch.index].gather(1, order).to(device),
            batch.valid.gather(1, order).to(device),
            (counts / counts.sum(dim=1, keepdim=True)).to(device),
        )

    def _alike(self) -> Iterator[list[int]]:
        """Numbers of all samples in blocks of like size and at most `BLOCK_SLOTS` slots."""
        sizes = np.array([len(self.samples[row].asvs) for row in range(len(self.samples))])
        group: list[int] = []
        for row in np.argsort(sizes, kind="stable").tolist():
            if group and sizes[row] * (len(group) + 1) > BLOCK_SLOTS:
                yield group
                group = []
            group.append(row)
        yield group

    def _placed(self, tree: LatentTree) -> Iterator[PlacedBlock]:
        """The samples on the branches, in blocks that hold the tips of their own ASVs alone."""
        for block in self.blocks(None):
            rows, local = torch.unique(block.index, return_inverse=True)
            branches = tree(self.asvs.embeddings[rows])
            placed = tree.place(branches, local, block.valid, block.abundance)
            yield PlacedBlock(rows, branches.tips, branches.lengths, placed)


def between(tree: LatentTree, left: PlacedBlock, right: PlacedBlock) -> Tensor:
    """UniFrac [B, B'] between the samples of two blocks, on the tips of both."""
    rows = torch.unique(torch.cat([left.rows, right.rows]))
    lengths = left.tip_lengths.new_zeros(len(rows))
    sides = []
    for side in (left, right):
        here = torch.searchsorted(rows, side.rows)
        lengths[here] = side.tip_lengths
        tips = side.samples.tips.new_zeros(len(side.samples.tips), len(rows))
        tips[:, here] = side.samples.tips
        sides.append(SampleBranches(side.samples.x, tips))
    members = lengths.new_zeros(0)  # samples are placed already, so nobody asks for the memberships of single ASVs
    return tree.unifrac(Branches(members, lengths, left.branch_lengths), *sides)


def as_distances(predicted: Tensor) -> NDArray[np.float64]:
    """Predictions [N, N] as distances: exactly symmetric, 0 from a sample to itself, nothing below 0."""
    found = predicted.double().cpu().numpy()
    found = np.maximum((found + found.T) / 2, 0.0)
    np.fill_diagonal(found, 0.0)
    return found
