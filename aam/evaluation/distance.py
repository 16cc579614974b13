"""Scores of predicted UniFrac and Faith PD against those of a tree, next to baselines. N samples."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
from aam.evaluation.ordination import agreement
from aam.observer import Progress
from aam.phylogeny.engines import full_faith_pd, full_matrix
from aam.phylogeny.unifrac import Measure, build_community

NO_LINES: Mapping[str, Line] = MappingProxyType({})
MIN_SCORED = 3
LINES_NOTE = (
    "A straight line turns the distances of a baseline into UniFrac. It is fitted on the scored pairs (at most 300 "
    "samples), which makes the baseline look better than it is; R2 with a fitted line is the same for the prediction."
)


class Truth(NamedTuple):
    """True UniFrac float64 [N, N] and Faith PD float64 [N], computed on a tree."""

    unifrac: NDArray[np.float64]
    faith_pd: NDArray[np.float64]


def compute_truth(samples: TableSamples, measure: Measure, progress: Progress) -> Truth:
    """Compute UniFrac and Faith PD of samples on their tree."""
    assert samples.tree is not None
    on_tree = build_community(samples.table.counts, samples.tips, samples.tree)
    return Truth(full_matrix(on_tree, measure, "torch", progress), full_faith_pd(on_tree, "torch", progress))


def score_distances(
    predicted: NDArray[np.float64],
    truth: Truth,
    samples: TableSamples,
    measure: Measure,
    seed: int,
    lines: Mapping[str, Line] = NO_LINES,
) -> dict[str, Any]:
    """Score the model and both baselines on all pairs of samples; a skipped baseline has its reason instead.

    `lines`, fitted in training, are scored besides those that are fitted here.
    """
    count = len(predicted)
    if count < MIN_SCORED:
        return {"samples": count, "skipped": f"{count} samples: at least {MIN_SCORED} are needed to score pairs"}
    rows = np.argsort(np.array(samples.table.sample_ids, dtype=object))[choose_scored(count, seed)]
    ours, true = predicted[np.ix_(rows, rows)], truth.unifrac[np.ix_(rows, rows)]
    pairs, true_pairs = upper_triangle(ours), upper_triangle(true)
    scores = pair_scores(pairs, true_pairs)._asdict()
    scores["r2_calibrated"] = pair_scores(fit_line(pairs, true_pairs).of(pairs), true_pairs).r2
    drawn = samples.drawn()
    whole = DrawnSamples.of([drawn[int(row)] for row in rows], true)
    fit = whole.take(np.sort(choose_fit_samples(len(rows), seed)))
    baselines = baseline_scores(fit, whole, samples.tokens, measure.metric, measure.alpha, lines)
    model = {f"unifrac_{name}": value for name, value in (scores | agreement(ours, true)._asdict()).items()}
    return {
        "metric": measure.metric,
        "samples": count,
        "scored_samples": len(rows),
        "pairs": len(pairs),
        **model,
        **baselines,
        "calibration": LINES_NOTE,
    }


def score_faith_pd(predicted: NDArray[np.float64], true: NDArray[np.float64]) -> dict[str, float]:
    """R2, mean absolute error (in units of the tree) and Pearson r of Faith PD [N]."""
    return {f"faith_pd_{name}": value for name, value in pair_scores(predicted, true)._asdict().items()}


def baseline_scores(
    fit: DrawnSamples,
    held_out: DrawnSamples,
    tokens: NDArray[np.uint8],
    metric: Metric,
    alpha: float,
    carried: Mapping[str, Line] = NO_LINES,
) -> dict[str, float | str]:
    """Metrics `baseline_NAME_SCORE` of calibrated Jaccard and UPGMA, with their lines, or why one was skipped.

    With `carried` lines, fitted elsewhere, also `baseline_NAME_carried_SCORE`.
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
