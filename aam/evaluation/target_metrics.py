"""How well a metadata column is predicted: errors in the column's own units, with bootstrap intervals.

Rows of one group (a subject, a study) are resampled together, because they are not independent.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aam.config import NUMERIC_TASKS, Task
from aam.evaluation.metrics import Interval, bootstrap_interval, pair_scores

Score = Callable[[NDArray[Any], NDArray[Any]], float]


class Estimate(NamedTuple):
    """A metric and its 95 % bootstrap interval."""

    value: float
    interval: Interval


def balanced_accuracy(predicted: NDArray[Any], true: NDArray[Any]) -> float:
    """Mean over the classes of `true` [N] of their recall."""
    return float(np.mean(_per_class(predicted, true).recall))


REGRESSION: Mapping[str, Score] = {
    "mae": lambda predicted, true: float(np.abs(predicted - true).mean()),
    "rmse": lambda predicted, true: float(np.sqrt(np.square(predicted - true).mean())),
    "median_error": lambda predicted, true: float(np.median(np.abs(predicted - true))),
    "r2": lambda predicted, true: pair_scores(predicted, true).r2,
    "pearson": lambda predicted, true: pair_scores(predicted, true).pearson,
}
"""Functions of (predicted [N], true [N]); the first three in units of the target."""
CLASSIFICATION: Mapping[str, Score] = {
    "accuracy": lambda predicted, true: float((predicted == true).mean()),
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": lambda predicted, true: float(np.mean(_per_class(predicted, true).f1)),
}
"""Functions of labels (predicted [N], true [N])."""


def metrics_of(task: Task) -> Mapping[str, Score]:
    """The metrics of a task."""
    return REGRESSION if task in NUMERIC_TASKS else CLASSIFICATION


def estimate(
    metrics: Mapping[str, Score],
    predicted: ArrayLike,
    true: ArrayLike,
    groups: Sequence[Hashable] | None,
    seed: int,
) -> dict[str, Estimate]:
    """Each metric over all rows at once, with its interval; rows are those of all folds together, each tested once."""
    predicted, true = to_comparable_arrays(predicted, true)
    if predicted.shape != true.shape or predicted.ndim != 1:
        raise ValueError(f"predicted has shape {predicted.shape}, true has {true.shape}: expected one value a sample")
    units = range(len(true)) if groups is None else groups
    found = {}
    for name, metric in metrics.items():
        on_rows = partial(_on_rows, metric, predicted, true)
        found[name] = Estimate(metric(predicted, true), bootstrap_interval(on_rows, units, seed))
    return found


def paired_difference(
    metric: Score,
    predictions: tuple[ArrayLike, ArrayLike],
    true: ArrayLike,
    groups: Sequence[Hashable] | None,
    seed: int,
) -> Estimate:
    """`metric` of the first predictions minus that of the second, and its interval; each resample is the same for both.

    Both predictions find the same rows hard, so this interval is much narrower than those of the two metrics.
    """
    first, second, truth = to_comparable_arrays(*predictions, true)
    if not first.shape == second.shape == truth.shape:
        raise ValueError(f"shapes {first.shape}, {second.shape}, {truth.shape}: expected the same rows three times")

    def difference(rows: NDArray[np.int64]) -> float:
        return metric(first[rows], truth[rows]) - metric(second[rows], truth[rows])

    units = range(len(truth)) if groups is None else groups
    return Estimate(difference(np.arange(len(truth))), bootstrap_interval(difference, units, seed))


def to_comparable_arrays(*columns: ArrayLike) -> list[NDArray[Any]]:
    """Columns [N] as arrays; class names as numbers, which a thousand resamples compare faster."""
    arrays = [np.asarray(column) for column in columns]
    if all(array.dtype.kind in "fiu" for array in arrays):
        return arrays
    _, codes = np.unique(np.concatenate([array.ravel() for array in arrays]), return_inverse=True)
    parts = np.split(codes, np.cumsum([array.size for array in arrays])[:-1])
    return [part.reshape(array.shape) for part, array in zip(parts, arrays, strict=True)]


def _on_rows(metric: Score, predicted: NDArray[Any], true: NDArray[Any], rows: NDArray[np.int64]) -> float:
    return metric(predicted[rows], true[rows])


class _PerClass(NamedTuple):
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]


def _per_class(predicted: NDArray[Any], true: NDArray[Any]) -> _PerClass:
    """Recall and F1 of each class in `true`; written out because scikit-learn takes fifty times as long a resample."""
    labels = np.unique(true)
    said, is_one = predicted[:, None] == labels, true[:, None] == labels
    hits, members = (said & is_one).sum(axis=0), is_one.sum(axis=0)
    return _PerClass(hits / members, 2 * hits / (members + said.sum(axis=0)))
