"""Scores of predicted against true distances, and bootstrap intervals over independent groups.

N is a number of samples, P = N (N - 1) / 2 the number of their pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aam.errors import NonFiniteError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

RESAMPLES = 1000
LEVEL = 0.95
PAIR_LABELS = {"r2": "R²", "mae": "MAE", "pearson": "Pearson r"}
PAIR_FORMATS = {"r2": "{:.3f}", "mae": "{:.4f}", "pearson": "{:.3f}"}
"""Columns of a table of `PairScores`: their titles, and how the scores are written."""
UNIFRAC_LABELS = {
    "unifrac": "this model",
    "euclidean": "this model, by sample embeddings",
    "baseline_upgma": "calibrated UPGMA on Hamming",
    "baseline_jaccard": "calibrated Jaccard",
}
"""What predicts UniFrac, by the beginning of its metrics."""
METRIC_LABELS = {
    "mae": "mean absolute error",
    "rmse": "root mean square error",
    "median_error": "median absolute error",
    "r2": "R²",
    "pearson": "Pearson r",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "roc_auc": "area under the ROC curve",
    "auc_over_subjects": "area under the ROC curve, over subjects",
    "auc_mean_over_studies": "area under the ROC curve in a study, over subjects, mean over studies",
    "spearman_mean_over_studies": "rank correlation in a study, over subjects, mean over studies",
    "mae_mean_over_studies": "mean absolute error in a study, over subjects, mean over studies",
    "nll": "negative log-likelihood, nats",
    "nll_uncalibrated": "negative log-likelihood before calibration, nats",
    "ece": "expected calibration error",
    "ece_uncalibrated": "expected calibration error before calibration",
    "interval_nominal": "nominal coverage of the intervals",
    "interval_coverage": "coverage of the intervals on held-out samples",
    "interval_width": "mean width of the intervals",
}
"""Metrics of a fine-tuning in words, in the order of its tables."""
MODEL, MODEL_MINUS_BASELINE = "model", "model_minus_baseline"
"""Name of the run that is compared, and key of paired differences, in baselines.json."""
CONSTANT = "constant"
"""Name of the predictor that always says the median or the most common class of training."""
PREDICTOR_LABELS = {
    MODEL: "this model",
    "random_forest": "random forest on relative abundance",
    "random_forest_weighted": "random forest, classes of studies weighted alike",
    "study_forests": "random forests of single studies, ranks averaged",
    "gradient_boosting": "gradient boosting on relative abundance",
    "linear": "linear model on centred log-ratios",
    "logistic_l1": "L1 logistic regression on centred log-ratios",
    "logistic_l2": "L2 logistic regression on centred log-ratios",
    "within_ridge_clades": "ridge within studies on clades",
    "within_ridge_presence": "ridge within studies on presence of ASVs",
    "knn": "nearest neighbours on UniFrac",
    CONSTANT: "median or most common class",
}
"""Predictors of a metadata column in words; other runs go by the name of their folder."""
MAIN_METRICS = (
    *("auc_mean_over_studies", "spearman_mean_over_studies", "mae_mean_over_studies"),
    *("balanced_accuracy", "mae"),
)
"""Metrics by which predictors are compared: the first one that they have."""


def predictor_words(name: str, numeric: bool, several_studies: bool) -> str:
    """A predictor in words, for a target of numbers or classes, of one study or several."""
    if name == CONSTANT:
        return "the median" if numeric else "the most common class"
    words = PREDICTOR_LABELS.get(name, name)
    return words if several_studies or name not in PREDICTOR_LABELS else words.replace(" within studies", "")


class PairScores(NamedTuple):
    """How close predictions come to the truth; see `pair_scores`."""

    r2: float
    mae: float
    pearson: float


class Interval(NamedTuple):
    """Bounds of a bootstrap interval, in the units of the statistic."""

    low: float
    high: float


def upper_triangle(matrix: ArrayLike) -> NDArray:
    """The pairs above the diagonal of a square matrix [N, N], row by row (scipy's condensed order) -> [P]."""
    square = np.asarray(matrix)
    if square.ndim != 2 or square.shape[0] != square.shape[1]:
        raise ValueError(f"expected a square matrix, found shape {square.shape}")
    return square[np.triu_indices(len(square), 1)]


def known_pairs(matrix: ArrayLike, true: ArrayLike) -> NDArray:
    """As `upper_triangle`, without the pairs whose `true` distance [N, N] is NaN (samples of different trees)."""
    return upper_triangle(matrix)[~np.isnan(upper_triangle(true))]


def pair_scores(predicted: ArrayLike, true: ArrayLike) -> PairScores:
    """R2, mean absolute error and Pearson r of two equally long arrays.

    R2 = 1 - sum (true - predicted)^2 / sum (true - mean(true))^2, so a wrong offset or scale lowers R2, but not r.
    Always finite, so that it can be written as JSON: if `true` is constant, R2 is 1 for exact predictions and else 0
    (the convention of scikit-learn); if either side is constant, Pearson r is 0, because it is undefined.

    Raises ValueError for empty or unequal arrays and NonFiniteError for NaN or Inf.
    """
    predicted, true = _checked(predicted, "predicted"), _checked(true, "true")
    if predicted.shape != true.shape:
        raise ValueError(f"predicted has shape {predicted.shape}, true has {true.shape}: expected one value for each")
    error = predicted - true
    return PairScores(_r2(error, true), float(np.abs(error).mean()), _pearson(predicted, true))


def pair_cells(metrics: Mapping[str, Any], key: str) -> list[str]:
    """R2, MAE and Pearson r of the metrics that begin with `key`, as text; a dash for each that is missing."""
    found = [(metrics.get(f"{key}_{name}"), form) for name, form in PAIR_FORMATS.items()]
    return ["–" if value is None else form.format(value) for value, form in found]


def bootstrap_interval(statistic: Callable[[IntArray], float], groups: Sequence[Hashable], seed: int) -> Interval:
    """Percentile interval (95 %) of `statistic(rows)` when whole groups of rows are drawn with replacement.

    `groups` has the group of each row, e.g. its subject; if all rows are independent, a range of their number.
    `statistic` gets row numbers, repeated if a group was drawn twice, and returns a finite number. With a single group
    both bounds are the statistic itself.
    """
    from scipy.stats import bootstrap

    members = _members(groups)
    if len(members) == 1:
        value = float(statistic(members[0]))
        return Interval(value, value)
    alone = all(len(rows) == 1 for rows in members)

    def resampled(units: IntArray) -> float:
        return float(statistic(units if alone else np.concatenate([members[unit] for unit in units])))

    draws = bootstrap(
        (np.arange(len(members)),),
        resampled,
        vectorized=False,
        method="percentile",
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        rng=np.random.default_rng(seed),
    )
    return Interval(float(draws.confidence_interval.low), float(draws.confidence_interval.high))


def _checked(values: ArrayLike, name: str) -> FloatArray:
    array = np.asarray(values, dtype=np.float64).ravel()
    if not array.size:
        raise ValueError(f"{name} is empty: at least one value is needed")
    bad = int((~np.isfinite(array)).sum())
    if bad:
        raise NonFiniteError(f"{bad} of {array.size} values of {name} are NaN or infinite: expected finite numbers")
    return array


def _centred(values: FloatArray) -> FloatArray:
    # Zero for a constant by definition: in floating point 0.1 minus the mean of many 0.1 is not.
    return np.zeros_like(values) if values.max() == values.min() else values - values.mean()


def _r2(error: FloatArray, true: FloatArray) -> float:
    spread = float(np.square(_centred(true)).sum())
    if spread == 0.0:
        return 0.0 if error.any() else 1.0
    with np.errstate(over="ignore"):  # a spread of 1e-320 is none to speak of, but not 0
        return float(1.0 - np.minimum((error @ error) / spread, np.finfo(np.float64).max))


def _pearson(predicted: FloatArray, true: FloatArray) -> float:
    left, right = _centred(predicted), _centred(true)
    scale = float(np.linalg.norm(left) * np.linalg.norm(right))
    return 0.0 if scale == 0.0 else float(np.clip(left @ right / scale, -1.0, 1.0))


def _members(groups: Sequence[Hashable]) -> list[IntArray]:
    """Row numbers of each group, groups in order of first appearance."""
    rows: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    if not rows:
        raise ValueError("there is nothing to resample: 0 rows")
    return [np.array(of_group) for of_group in rows.values()]
