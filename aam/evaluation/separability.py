"""How well the study of a sample, and its label, can be told from the same numbers.

    signal = (a - 1/C) / (1 - 1/C)      a: balanced accuracy of C classes

0 is what chance gives, 1 is always right, whatever the number of classes. The classes are told by the nearest class
mean (the linear discriminant of `aam.evaluation.audit`), in folds with no subject on both sides. Labels are told from
numbers less the mean of their study, so that knowing the study does not help. N samples, D numbers of each.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aam.evaluation.audit import MIN_AUDIT_SAMPLES, Unusable, audit_folds, predict_held_out, rows_of_classes
from aam.evaluation.target_metrics import balanced_accuracy


def class_signal(
    points: NDArray[np.floating], classes: Sequence[str | None], subjects: Sequence[Hashable], seed: int
) -> float | None:
    """The signal of classes [N] in `points` [N, D]; None where there are too few samples or subjects."""
    column, units = pd.Series(list(classes), dtype=object), np.array([str(one) for one in subjects], dtype=object)
    try:
        rows = rows_of_classes(column, units)
    except Unusable:
        return None
    if len(rows) < MIN_AUDIT_SAMPLES:
        return None
    values = column.to_numpy(object)[rows]
    (found,) = predict_held_out(points[rows], [values], audit_folds(values, units[rows], seed))
    chance = 1 / len(set(values))
    return float((balanced_accuracy(found, values) - chance) / (1 - chance))


def within(points: NDArray[np.floating], studies: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float64]:
    """Points [N, D] less the mean of their study; `studies` are the rows of each."""
    found = np.array(points, np.float64)
    for rows in studies.values():
        found[rows] -= found[rows].mean(axis=0)
    return found


def halves(numbers: NDArray[np.float64], studies: Mapping[str, NDArray[np.int64]]) -> list[str | None]:
    """Numbers [N] as classes: above the median of their study or not; None for missing ones."""
    found: list[str | None] = [None] * len(numbers)
    for rows in studies.values():
        middle = np.nanmedian(numbers[rows]) if (~np.isnan(numbers[rows])).any() else np.nan
        for row in rows[~np.isnan(numbers[rows])].tolist():
            found[row] = "high" if numbers[row] > middle else "low"
    return found
