"""Baselines without learning: UniFrac from shared ASVs or from a clustered tree, bases from their frequencies.

Jaccard    1 - shared ASVs / all ASVs of a pair, by identity alone;
UPGMA      the same UniFrac as the target's, on a tree clustered from Hamming distances between the sequences.

Each is scaled by a line, fitted by least squares on pairs of training samples, because neither has the units of the
target (a Hamming distance is not a branch length). Both are used for every UniFrac metric: UPGMA with the weights of
the metric, Jaccard always on presence alone. Held-out samples do not influence the line; the UPGMA tree is built on
their sequences too, which a model also reads.
B samples, P = B (B - 1) / 2 pairs, A ASVs, L positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from aam.config import Metric
from aam.corpus.dataset import Sample, target_arguments
from aam.evaluation.metrics import PairScores, known_pairs, pair_scores
from aam.models.chunked_encoder import log_frequencies
from aam.phylogeny.targets import TreeTargets
from aam.phylogeny.upgma import MAX_ASVS, hamming_tree

BASELINES = ("jaccard", "upgma")
MAX_SCORED = 1000
"""Most samples whose pairs are scored, half a million; more are drawn down to this, seeded."""
FIT_SAMPLES = 300
"""Most training samples the lines are fitted on: 44,850 pairs for two parameters."""
MIN_FIT_SAMPLES = 3
"""Fewer samples make fewer than three pairs, and a line through two points says nothing."""
Pairwise = Callable[["DrawnSamples"], NDArray[np.float64]]


class NucleotideScores(NamedTuple):
    """Masked-nucleotide scores; cross-entropy is in nats per base."""

    accuracy: float
    cross_entropy: float


def score_consensus(
    train_tokens: NDArray[np.uint8], positions: NDArray[np.int64], bases: NDArray[np.int64]
) -> NucleotideScores:
    """Score the frequencies of tokens in training ASVs [A, L] on bases [T] that were hidden at these positions [T].

    Each distinct ASV counts once, as in the loss of the model. Both scores are 0 if no base was hidden.
    """
    if not len(bases):
        return NucleotideScores(0.0, 0.0)
    logs = log_frequencies(torch.from_numpy(train_tokens)).double().numpy()
    hits = logs.argmax(axis=1)[positions] == bases
    return NucleotideScores(float(hits.mean()), float(-logs[positions, bases].mean()))


@dataclass(frozen=True)
class DrawnSamples:
    """B samples as drawn from a table, in one order: `asvs` (column numbers) and `counts` of each, int64 [n].

    `unifrac` float64 [B, B] is their true distance, of these very draws; pairs where it is NaN are left out.
    """

    asvs: Sequence[NDArray[np.int64]]
    counts: Sequence[NDArray[np.int64]]
    unifrac: NDArray[np.float64]

    @classmethod
    def of(cls, samples: Sequence[Sample], unifrac: NDArray[np.float64]) -> DrawnSamples:
        """Drawn samples and their UniFrac [B, B]."""
        _, asvs, counts = target_arguments(samples)
        return cls(asvs, counts, unifrac)

    def take(self, rows: NDArray[np.int64]) -> DrawnSamples:
        """Those of these rows [n], in this order."""
        asvs, counts = ([column[row] for row in rows] for column in (self.asvs, self.counts))
        return DrawnSamples(asvs, counts, self.unifrac[np.ix_(rows, rows)])


class Line(NamedTuple):
    """The line from raw distances of a baseline to UniFrac: `slope * raw + intercept`."""

    slope: float
    intercept: float

    def of(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """Raw distances, any shape, on the scale of UniFrac."""
        return self.slope * raw + self.intercept


@dataclass(frozen=True)
class UnifracBaseline:
    """`raw` float64 [P] of the held-out pairs that have a distance, the line, and the `scores` after it."""

    scores: PairScores
    raw: NDArray[np.float64]
    line: Line

    @property
    def predicted(self) -> NDArray[np.float64]:
        """Predicted UniFrac of the held-out pairs [P], after the line."""
        return self.line.of(self.raw)


@dataclass(frozen=True)
class Skipped:
    """A baseline that could not be computed within its bounds, and why."""

    reason: str


def choose_scored(count: int, seed: int) -> NDArray[np.int64]:
    """Choose at most `MAX_SCORED` of `count` samples to score; their numbers [n], ascending."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:MAX_SCORED])


def choose_fit_samples(available: int, seed: int) -> NDArray[np.int64]:
    """Rows [n] of the training samples to fit on, at most `FIT_SAMPLES`, in a seeded random order."""
    return np.random.default_rng(seed).permutation(available)[:FIT_SAMPLES]


def jaccard_baseline(fit: DrawnSamples, held_out: DrawnSamples) -> UnifracBaseline | Skipped:
    """Calibrated Jaccard distance of ASV sets; `Skipped` with fewer than three samples to fit on."""
    return _fit_and_score(fit, held_out, lambda drawn: jaccard_distances(drawn.asvs))


def upgma_baseline(
    fit: DrawnSamples,
    held_out: DrawnSamples,
    tokens: NDArray[np.uint8],
    metric: Metric,
    alpha: float,
) -> UnifracBaseline | Skipped:
    """Calibrated UniFrac on a UPGMA tree of the ASVs that occur in these samples; tokens uint8 [all ASVs, L].

    The tree has at most `MAX_ASVS` tips: with those of the held-out samples, only as many of the first `fit` samples
    are used as fit. Returns `Skipped` if these are fewer than three.
    """
    used = _samples_within(fit.asvs, _occurring_asvs(held_out.asvs, len(tokens)), MAX_ASVS)
    if used < MIN_FIT_SAMPLES <= len(fit.asvs):
        carried = int(_occurring_asvs(held_out.asvs, len(tokens)).sum())
        return Skipped(
            f"the held-out samples carry {carried:,} ASVs, which leaves no room for training samples in a "
            f"UPGMA tree of at most {MAX_ASVS:,}"
        )
    fit = fit.take(np.arange(used))
    present = np.flatnonzero(_occurring_asvs([*fit.asvs, *held_out.asvs], len(tokens)))
    names = [str(column) for column in present]
    tree = hamming_tree(tokens[present], names)
    targets = TreeTargets(tree, tree.leaves_of(names), metric, alpha)

    def on_the_tree(drawn: DrawnSamples) -> NDArray[np.float64]:
        ids = [str(row) for row in range(len(drawn.asvs))]
        return targets(ids, [np.searchsorted(present, asvs) for asvs in drawn.asvs], drawn.counts).unifrac

    return _fit_and_score(fit, held_out, on_the_tree)


def jaccard_distances(asvs: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
    """Jaccard distances float64 [B, B] between ASV sets (column numbers without repeats); two empty sets are at 0."""
    from scipy.sparse import csr_array

    sizes = np.array([len(columns) for columns in asvs])
    columns = np.concatenate(asvs)
    width = int(columns.max(initial=-1)) + 1
    member = csr_array((np.ones(len(columns)), columns, np.r_[0, np.cumsum(sizes)]), shape=(len(asvs), max(width, 1)))
    shared = (member @ member.T).toarray()
    union = sizes[:, None] + sizes[None, :] - shared
    return np.where(union > 0, 1.0 - shared / np.maximum(union, 1), 0.0)


def _fit_and_score(fit: DrawnSamples, held_out: DrawnSamples, distances: Pairwise) -> UnifracBaseline | Skipped:
    if len(fit.asvs) < MIN_FIT_SAMPLES:
        return Skipped(f"{len(fit.asvs)} training samples to fit a line on: at least {MIN_FIT_SAMPLES} are needed")
    raw, true = (known_pairs(matrix, fit.unifrac) for matrix in (distances(fit), fit.unifrac))
    line = fit_line(raw, true)
    held_out_raw = known_pairs(distances(held_out), held_out.unifrac)
    scores = pair_scores(line.of(held_out_raw), known_pairs(held_out.unifrac, held_out.unifrac))
    return UnifracBaseline(scores, held_out_raw, line)


def fit_line(raw: NDArray[np.float64], true: NDArray[np.float64]) -> Line:
    """Least-squares slope and intercept of `true` [P] on `raw` [P]; a constant `raw` gives slope 0 and the mean."""
    spread = raw - raw.mean()
    scale = float(spread @ spread)
    slope = float(spread @ true) / scale if scale > 0 else 0.0
    return Line(slope, float(true.mean() - slope * raw.mean()))


def _occurring_asvs(asvs: Sequence[NDArray[np.int64]], width: int) -> NDArray[np.bool_]:
    """Which of `width` ASVs occur in any of the samples."""
    present = np.zeros(width, dtype=bool)
    for columns in asvs:
        present[columns] = True
    return present


def _samples_within(asvs: Sequence[NDArray[np.int64]], present: NDArray[np.bool_], limit: int) -> int:
    """How many of the first samples can join those `present` before more than `limit` ASVs are present."""
    present = present.copy()
    for used, columns in enumerate(asvs):
        present[columns] = True
        if present.sum() > limit:
            return used
    return len(asvs)
