"""How far predicted UniFrac and Faith PD are from those of a tree, beside baselines that learn nothing. N samples."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.config import Metric
from aam.evaluation.agreement import agreement
from aam.evaluation.baselines import (
    DrawnSamples,
    Skipped,
    choose_fit_samples,
    fit_line,
    jaccard_baseline,
    upgma_baseline,
)
from aam.evaluation.embed import Progress
from aam.evaluation.metrics import pair_scores, upper_triangle
from aam.evaluation.samples import TableSamples
from aam.phylogeny.community import community
from aam.phylogeny.engines import full_faith_pd, full_matrix
from aam.phylogeny.unifrac import Measure

MAX_SCORED = 1000
"""Most samples whose pairs are scored; more are drawn down to this, seeded. All distances are written."""
MIN_SCORED = 3
CALIBRATION = (
    "each baseline's line is fitted on these very pairs (at most 300 samples), which flatters it: the study has no "
    "training samples; r2_calibrated is the model's R2 with the same favour"
)


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
    predicted: NDArray[np.float64], truth: Truth, samples: TableSamples, measure: Measure, seed: int
) -> dict[str, Any]:
    """The model and both baselines on the pairs of the samples; `Skipped` becomes its reason."""
    count = len(predicted)
    if count < MIN_SCORED:
        return {"samples": count, "skipped": f"{count} samples: at least {MIN_SCORED} are needed to score pairs"}
    rows = np.sort(np.random.default_rng(seed).permutation(count)[:MAX_SCORED])
    ours, true = predicted[np.ix_(rows, rows)], truth.unifrac[np.ix_(rows, rows)]
    pairs, true_pairs = upper_triangle(ours), upper_triangle(true)
    slope, intercept = fit_line(pairs, true_pairs)
    scores = pair_scores(pairs, true_pairs)._asdict()
    scores["r2_calibrated"] = pair_scores(slope * pairs + intercept, true_pairs).r2
    drawn = samples.drawn()
    picked = [drawn[int(row)] for row in rows]
    whole = DrawnSamples([s.asvs for s in picked], [s.counts for s in picked], true)
    fit = np.sort(choose_fit_samples(len(rows), seed))
    some = DrawnSamples([whole.asvs[i] for i in fit], [whole.counts[i] for i in fit], true[np.ix_(fit, fit)])
    baselines = baseline_figures(some, whole, samples.tokens, measure.metric, measure.alpha)
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
    """R2, mean absolute error and Pearson r of Faith PD."""
    return {f"faith_pd_{name}": value for name, value in pair_scores(predicted, true)._asdict().items()}


def baseline_figures(
    fit: DrawnSamples, held_out: DrawnSamples, tokens: NDArray[np.uint8], metric: Metric, alpha: float
) -> dict[str, float | str]:
    """Calibrated Jaccard and UPGMA as flat figures `baseline_NAME_SCORE`, or why one was skipped."""
    results = {
        "jaccard": jaccard_baseline(fit, held_out),
        "upgma": upgma_baseline(fit, held_out, tokens, metric, alpha),
    }
    found: dict[str, float | str] = {}
    for name, result in results.items():
        if isinstance(result, Skipped):
            found[f"baseline_{name}_skipped"] = result.reason
        else:
            found |= {f"baseline_{name}_{key}": value for key, value in result.scores._asdict().items()}
    return found
