"""Samples drawn from a table, and their assembly into validated batches.

A draw is a pure function of seed, epoch, sample id and counts: it rarefies the sample and keeps at most `token_limit`
of its ASVs. The order of the columns is that of `aam.corpus.equal_asvs`, so that it is no fact of a file.
`collate_fn` stores each distinct ASV of a batch once and points to it from the samples' slots, so no ASV that is only
padding is ever built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor
from torch.utils.data import Dataset

from aam import vocab
from aam.config import DataConfig, LossConfig, Selection
from aam.corpus.rarefy import rarefy, sample_rng
from aam.errors import ConfigError, EmptySampleError


def hide_slots(valid: np.ndarray, hiding: LossConfig | None, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Choose the slots to hide, and the slots whose count is hidden, both [B, S]; some slots always stay visible."""
    if hiding is None or hiding.hidden_asvs == 0:
        return np.zeros_like(valid), np.zeros_like(valid)
    order = np.where(valid, rng.random(valid.shape), np.inf).argsort(axis=1).argsort(axis=1)
    quota = (valid.sum(axis=1, keepdims=True) * hiding.hidden_asvs).astype(np.int64)
    return order < quota, (order >= quota) & (order < 2 * quota)


def mask_bases(tokens: np.ndarray, hiding: LossConfig | None, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Mask bases of some of the distinct ASVs [U, L]; only A, C, G and T are masked and predicted."""
    count = 0 if hiding is None else int(np.ceil(hiding.masked_asvs * len(tokens)))
    rows = np.sort(rng.choice(len(tokens), count, replace=False))
    hit = np.isin(tokens[rows], (vocab.A, vocab.C, vocab.G, vocab.T))
    if hiding is not None:
        hit &= rng.random(hit.shape) < hiding.mask_ratio
    at = np.argwhere(hit)
    return {
        "masked_rows": rows,
        "masked_tokens": np.where(hit, np.uint8(vocab.MASK), tokens[rows]),
        "masked_at": at,
        "masked_bases": tokens[rows][at[:, 0], at[:, 1]].astype(np.int64),
    }


class TargetSource(Protocol):
    """Computes the targets of drawn samples; the classes are in `aam.phylogeny.targets`."""

    def __call__(self, sample_ids: Sequence[str], asvs: Sequence[np.ndarray], counts: Sequence[np.ndarray]) -> Any:
        """`unifrac` [B, B] and `faith_pd` [B], or None, of B samples, given by id, ASVs [n] and counts [n] of each."""

    def patristic(self, asvs: np.ndarray, sample_ids: Sequence[str]) -> np.ndarray | None:
        """Tree distances [P, P] between ASVs of these samples; None without a tree."""


class Sample(NamedTuple):
    """One drawn sample: `asvs` [n] are columns of the table, `tokens` [n, L] uint8, `counts` [n] reads."""

    sample_id: str
    asvs: np.ndarray
    tokens: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Draw:
    """How samples are drawn: reads and largest number of ASVs per sample (None: all), and which ASVs are kept."""

    depth: int | None
    token_limit: int | None
    selection: Selection
    seed: int

    @property
    def without_limit(self) -> Draw:
        """The same draw without a token limit."""
        return replace(self, token_limit=None)


def build_draw(data: DataConfig, depth: int | None, seed: int) -> Draw:
    """The draw settings of a run, at this rarefaction depth."""
    return Draw(depth, data.token_limit, data.asv_selection, seed)


class ASVDataset(Dataset):
    """Samples of a table by (epoch, row); a plain row number means epoch 0.

    `tokens` [ASVs, L] uint8; `studies` int [samples] is the number of each sample's study, None if there is only
    one. `counts` [rows, ASVs] are reads, of which the samples have the given `rows`, None: all, in order. Counts and
    tokens may be maps of files: nothing is copied.
    """

    def __init__(
        self,
        counts: csr_array,
        tokens: np.ndarray,
        sample_ids: Sequence[str],
        draw: Draw,
        studies: np.ndarray | None = None,
        rows: np.ndarray | None = None,
    ):
        if draw.token_limit is not None and draw.token_limit < 1:
            raise ConfigError(
                f"token limit {draw.token_limit}: a sample needs at least 1 ASV; use --token-limit 1 or more"
            )
        self.stored, self.tokens, self.sample_ids, self.draw = counts, tokens, sample_ids, draw
        self.studies, self.rows = studies, rows

    @property
    def counts(self) -> csr_array:
        """Reads of the samples [samples, ASVs]; a copy if they are only some of the stored samples."""
        return self.stored if self.rows is None else self.stored[self.rows]

    def by_study(self) -> list[np.ndarray]:
        """The samples of each study, int64 [n], ascending."""
        if self.studies is None:
            return [np.arange(len(self))]
        order = np.argsort(self.studies, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(self.studies[order])) + 1)

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        """Draw one sample; raises EmptySampleError if it holds no ASV with a positive count."""
        epoch, row = key if isinstance(key, tuple) else (0, key)
        if not 0 <= row < len(self):
            raise IndexError(f"sample {row} of {len(self)}; samples are numbered from 0")
        at = row if self.rows is None else self.rows[row]
        start, stop = self.stored.indptr[at : at + 2]
        asvs, counts = self.stored.indices[start:stop], self.stored.data[start:stop]
        rng = sample_rng(self.draw.seed, epoch, self.sample_ids[row])
        if self.draw.depth is not None and counts.sum() > self.draw.depth:
            counts = rarefy(counts, self.draw.depth, rng)
        present = np.flatnonzero(counts > 0)
        if present.size == 0:
            raise EmptySampleError(self.sample_ids[row], asvs.size, float(counts.sum()))
        kept = present[select_asvs(counts[present], self.draw, rng)]
        asvs = asvs[kept].astype(np.int64)
        return Sample(self.sample_ids[row], asvs, self.tokens[asvs], counts[kept].astype(np.int64))


def select_asvs(counts: np.ndarray, draw: Draw, rng: np.random.Generator) -> np.ndarray:
    """Select the ASVs to keep by positive `counts` [n]; returns positions in table order, which also breaks ties."""
    limit = draw.token_limit
    if limit is None or counts.size <= limit:
        return np.arange(counts.size)
    if draw.selection == "abundance":
        return np.sort(np.argsort(-counts, kind="stable")[:limit])
    weights = counts / counts.sum() if draw.selection == "weighted" else None
    return np.sort(rng.choice(counts.size, limit, replace=False, p=weights))


@dataclass(frozen=True)
class Batch:
    """Distinct ASVs of some samples, the samples' slots that point to them, what is hidden, and the targets.

    | field | shape | meaning |
    |---|---|---|
    | sample_ids | B | |
    | asvs, tokens | [U], [U, L] | table columns and tokens of the distinct ASVs |
    | index, valid, counts | [B, S] | slot -> distinct ASV; real slots; reads |
    | hidden, uncounted | [B, S] | slots, or only their counts, that the sample encoder must not see |
    | masked_rows, masked_tokens | [M], [M, L] | distinct ASVs that are also read with MASK tokens |
    | masked_at, masked_bases | [T, 2], [T] | (row of masked_tokens, position) and the base that was there |
    | unifrac, faith_pd | [B, B], [B] | targets of the samples, or None |
    | patristic_rows, patristic | [Q], [Q, Q] | tree distances between distinct ASVs, or None |
    | reference_tips, reference_tokens | [P], [P, L] | numbers and tokens of reference tips, or None without them |
    | reference_patristic | [P, P] | their distances in the reference tree |
    | reference_masked_rows, _tokens, _at, _bases | [M'], [M', L], [T', 2], [T'] | as masked_… above, of the tips |
    """

    sample_ids: list[str]
    asvs: Tensor
    tokens: Tensor
    index: Tensor
    valid: Tensor
    counts: Tensor
    hidden: Tensor
    uncounted: Tensor
    masked_rows: Tensor
    masked_tokens: Tensor
    masked_at: Tensor
    masked_bases: Tensor
    unifrac: Tensor | None = None
    faith_pd: Tensor | None = None
    patristic_rows: Tensor | None = None
    patristic: Tensor | None = None
    reference_tips: Tensor | None = None
    reference_tokens: Tensor | None = None
    reference_patristic: Tensor | None = None
    reference_masked_rows: Tensor | None = None
    reference_masked_tokens: Tensor | None = None
    reference_masked_at: Tensor | None = None
    reference_masked_bases: Tensor | None = None

    @property
    def abundance(self) -> Tensor:
        """Relative abundance [B, S] of each slot within its sample; 0 in padding."""
        counts = torch.where(self.valid, self.counts, 0.0)
        return counts / counts.sum(dim=1, keepdim=True)

    def to(self, device: torch.device | str) -> Self:
        """The same batch with every tensor on `device`."""
        values: dict[str, Any] = vars(self)
        moved: dict[str, Any] = {
            k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in values.items()
        }
        return type(self)(**moved)


def collate_fn(
    samples: Sequence[Sample],
    targets: TargetSource | None = None,
    hiding: LossConfig | None = None,
    rng: np.random.Generator | None = None,
) -> Batch:
    """Validate samples and join them into a `Batch`; without `hiding` nothing is masked or hidden.

    Raises EmptySampleError for a sample without an ASV of positive count and ValueError for counts that are not finite.
    """
    for sample in samples:
        check_sample(sample)
    rng = rng or np.random.default_rng(0)
    asvs, first, inverse = np.unique(
        np.concatenate([sample.asvs for sample in samples]), return_index=True, return_inverse=True
    )
    tokens = np.concatenate([sample.tokens for sample in samples])[first]
    slots = max(len(sample.asvs) for sample in samples)
    valid = np.arange(slots) < np.array([len(sample.asvs) for sample in samples])[:, None]
    index, counts = np.zeros(valid.shape, np.int64), np.zeros(valid.shape, np.float32)
    index[valid] = inverse
    counts[valid] = np.concatenate([sample.counts for sample in samples])
    hidden, uncounted = hide_slots(valid, hiding, rng)
    batch = {
        "asvs": asvs, "tokens": tokens, "index": index, "valid": valid, "counts": counts,
        "hidden": hidden, "uncounted": uncounted,
        **mask_bases(tokens, hiding, rng), **compute_targets(samples, asvs, targets, hiding, rng),
    }  # fmt: skip
    return Batch([s.sample_id for s in samples], **{k: torch.from_numpy(v) for k, v in batch.items()})


def check_sample(sample: Sample) -> None:
    """Raise for a sample without ASVs, with an ASV without sequence or reads, or with counts that are not finite."""
    counts = np.asarray(sample.counts)
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise ValueError(
            f"Sample {sample.sample_id} has counts that are negative, NaN or infinite; read it with aam.io.table"
        )
    if counts.size == 0 or not (counts > 0).any():
        raise EmptySampleError(sample.sample_id, counts.size, float(counts.sum()))
    if not (counts > 0).all() or not (sample.tokens != vocab.PAD).any(axis=1).all():
        raise ValueError(
            f"Sample {sample.sample_id} carries ASVs with count 0 or without a sequence; drop them before the collate"
        )


def target_arguments(samples: Sequence[Sample]) -> tuple[list[str], list[np.ndarray], list[np.ndarray]]:
    """Ids, ASVs [n] and counts [n] of each sample: the arguments of `TargetSource.__call__`."""
    return [s.sample_id for s in samples], [s.asvs for s in samples], [s.counts for s in samples]


def compute_targets(
    samples: Sequence[Sample],
    asvs: np.ndarray,
    targets: TargetSource | None,
    hiding: LossConfig | None,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Targets of a batch as float32: UniFrac [B, B] and Faith PD [B] of samples, tree distances [Q, Q] of some ASVs."""
    if targets is None:
        return {}
    found = targets(*target_arguments(samples))
    values, rows = {"unifrac": found.unifrac, "faith_pd": found.faith_pd}, {}
    if hiding is not None and hiding.patristic_asvs > 1:
        chosen = np.sort(rng.choice(len(asvs), min(hiding.patristic_asvs, len(asvs)), replace=False))
        values["patristic"] = targets.patristic(asvs[chosen], [s.sample_id for s in samples])
        rows = {} if values["patristic"] is None else {"patristic_rows": chosen}
    return {name: value.astype(np.float32) for name, value in values.items() if value is not None} | rows
