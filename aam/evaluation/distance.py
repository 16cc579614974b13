"""How far predicted UniFrac and Faith PD are from those of a tree, beside baselines that learn nothing. N samples."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aam.config import Metric
from aam.corpus.samples import TableSamples
from aam.evaluation.baselines import (
    BASELINES,
    DrawnSamples,
    Line,
    Skipped,
    choose_fit_samples,
    choose_scored,
    fit_line,
    jaccard_baseline,
    upgma_baseline,
)
from aam.evaluation.metrics import known_pairs, pair_scores, upper_triangle
from aam.evaluation.pcoa import pcoa
from aam.observer import Progress
from aam.phylogeny.engines import full_faith_pd, full_matrix
from aam.phylogeny.unifrac import Measure, community

NEIGHBOURS = 10
PROCRUSTES_AXES = 10
NO_LINES: Mapping[str, Line] = MappingProxyType({})
MIN_SCORED = 3
CALIBRATION = (
    "each baseline's line is fitted on these very pairs (at most 300 samples), which flatters it; r2_calibrated is "
    "the model's R2 with the same favour; a baseline carried over has the line that was fitted on the training samples "
    "of the run, and no favour"
)


class Agreement(NamedTuple):
    """`mantel` and `neighbour_recall`: 1 is perfect; `stress` and `procrustes`: 0 is perfect."""

    mantel: float
    stress: float
    procrustes: float
    neighbour_recall: float


def agreement(predicted: ArrayLike, true: ArrayLike) -> Agreement:
    """All four figures of two matrices [N, N], N >= 3, rows and columns in the same order of samples."""
    return Agreement(
        mantel=mantel_r(predicted, true),
        stress=stress(predicted, true),
        procrustes=procrustes(predicted, true),
        neighbour_recall=neighbour_recall(predicted, true),
    )


def mantel_r(predicted: ArrayLike, true: ArrayLike) -> float:
    """Pearson r over pairs (Mantel 1967), by scikit-bio without its permutations; 0 where either matrix is constant."""
    from skbio.stats.distance import DistanceMatrix, mantel

    pair = [DistanceMatrix(np.array(matrix, dtype=np.float64)) for matrix in (predicted, true)]
    if any(np.ptp(matrix.condensed_form()) == 0 for matrix in pair):
        return 0.0
    return float(mantel(*pair, permutations=0)[0])


def stress(predicted: ArrayLike, true: ArrayLike) -> float:
    """sqrt(sum (predicted - true)^2 / sum true^2) over pairs: Kruskal's stress-1, in the target's own scale.

    Nothing is rescaled or made monotone first, so a biased prediction is not forgiven. 0 where both are all zero,
    1, as if nothing had been predicted, where only the truth is.
    """
    pairs, truth = upper_triangle(predicted).astype(np.float64), upper_triangle(true).astype(np.float64)
    error, size = np.linalg.norm(pairs - truth), np.linalg.norm(truth)
    if size == 0:
        return 0.0 if error == 0 else 1.0
    return float(error / size)


def procrustes(predicted: ArrayLike, true: ArrayLike) -> float:
    """Disparity m^2 (Gower 1975), by scipy, between the leading principal coordinates: 0 alike, 1 unrelated.

    Shift, scale and rotation are taken out. Where one matrix is all zero its points coincide and the disparity is 1,
    or 0 where both are.
    """
    from scipy.spatial import procrustes as scipy_procrustes

    ids = [str(row) for row in range(len(np.asarray(true)))]
    left, right = (pcoa(matrix, ids, PROCRUSTES_AXES).coordinates for matrix in (predicted, true))
    if not left.any() or not right.any():
        return float(left.any() != right.any())
    return float(scipy_procrustes(right, left)[2])


def neighbour_recall(predicted: ArrayLike, true: ArrayLike) -> float:
    """Mean fraction of a sample's `NEIGHBOURS` true nearest (at most N - 1) that are also its predicted ones.

    Ties count for the earlier sample, in both matrices.
    """
    count = min(NEIGHBOURS, len(np.asarray(true)) - 1)
    if count < 1:
        raise ValueError("a single sample has no neighbours: at least 2 samples are needed")
    found, wanted = _nearest(predicted, count), _nearest(true, count)
    shared = [len(np.intersect1d(ours, theirs)) for ours, theirs in zip(found, wanted, strict=True)]
    return float(np.mean(shared)) / count


def _nearest(matrix: ArrayLike, count: int) -> NDArray[np.int64]:
    """Rows of the `count` nearest others of each sample [N, count]."""
    others = np.array(matrix, dtype=np.float64)
    np.fill_diagonal(others, np.inf)
    return np.argsort(others, axis=1, kind="stable")[:, :count]


class Truth(NamedTuple):
    """UniFrac float64 [N, N] and Faith PD float64 [N] by the tree."""

    unifrac: NDArray[np.float64]
    faith_pd: NDArray[np.float64]


def truth(samples: TableSamples, measure: Measure, progress: Progress) -> Truth:
    """What the tree of the samples says of them; there must be one."""
    assert samples.tree is not None
    on_tree = community(samples.table.counts, samples.tips, samples.tree)
    return Truth(full_matrix(on_tree, measure, "torch", progress), full_faith_pd(on_tree, "torch", progress))


def distance_figures(
    predicted: NDArray[np.float64],
    truth: Truth,
    samples: TableSamples,
    measure: Measure,
    seed: int,
    lines: Mapping[str, Line] = NO_LINES,
) -> dict[str, Any]:
    """The model and both baselines on the pairs of the samples; `Skipped` becomes its reason.

    `lines` of the training, by baseline, are tried beside those that are fitted here.
    """
    count = len(predicted)
    if count < MIN_SCORED:
        return {"samples": count, "skipped": f"{count} samples: at least {MIN_SCORED} are needed to score pairs"}
    rows = choose_scored(count, seed)
    ours, true = predicted[np.ix_(rows, rows)], truth.unifrac[np.ix_(rows, rows)]
    pairs, true_pairs = upper_triangle(ours), upper_triangle(true)
    scores = pair_scores(pairs, true_pairs)._asdict()
    scores["r2_calibrated"] = pair_scores(fit_line(pairs, true_pairs).of(pairs), true_pairs).r2
    drawn = samples.drawn()
    whole = DrawnSamples.of([drawn[int(row)] for row in rows], true)
    fit = whole.take(np.sort(choose_fit_samples(len(rows), seed)))
    baselines = baseline_figures(fit, whole, samples.tokens, measure.metric, measure.alpha, lines)
    model = {f"unifrac_{name}": value for name, value in (scores | agreement(ours, true)._asdict()).items()}
    return {
        "metric": measure.metric,
        "samples": count,
        "scored_samples": len(rows),
        "pairs": len(pairs),
        **model,
        **baselines,
        "calibration": CALIBRATION,
    }


def diversity_figures(predicted: NDArray[np.float64], true: NDArray[np.float64]) -> dict[str, float]:
    """R2, mean absolute error (in units of the tree) and Pearson r of Faith PD [N]."""
    return {f"faith_pd_{name}": value for name, value in pair_scores(predicted, true)._asdict().items()}


def baseline_figures(
    fit: DrawnSamples,
    held_out: DrawnSamples,
    tokens: NDArray[np.uint8],
    metric: Metric,
    alpha: float,
    carried: Mapping[str, Line] = NO_LINES,
) -> dict[str, float | str]:
    """Calibrated Jaccard and UPGMA as flat figures `baseline_NAME_SCORE`, their lines too, or why one was skipped.

    With `carried` lines also `baseline_NAME_carried_SCORE`: the same distances by a line from elsewhere.
    """
    results = (jaccard_baseline(fit, held_out), upgma_baseline(fit, held_out, tokens, metric, alpha))
    true = known_pairs(held_out.unifrac, held_out.unifrac)
    found: dict[str, float | str] = {}
    for name, result in zip(BASELINES, results, strict=True):
        if isinstance(result, Skipped):
            found[f"baseline_{name}_skipped"] = result.reason
            continue
        values = result.scores._asdict() | result.line._asdict()
        if name in carried:
            scores = pair_scores(carried[name].of(result.raw), true)
            values |= {f"carried_{key}": value for key, value in scores._asdict().items()}
        found |= {f"baseline_{name}_{key}": value for key, value in values.items()}
    return found
