"""The targets y of the estimators: numbers or classes, read and checked, as labels of `aam train`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import assert_all_finite, check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from aam.corpus.label_schema import check_spread
from aam.corpus.labels import Labels
from aam.errors import MetadataError


@dataclass(frozen=True)
class TargetValues:
    """Targets of N samples: `numbers` [N, T], or `codes` [N] of classes from 0; the other is None."""

    numbers: NDArray[np.float64]
    codes: NDArray[np.int64] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the targets, for internal use."""
        return tuple(f"y{place}" for place in range(max(1, self.numbers.shape[1])))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their codes."""
        return () if self.codes is None else tuple(str(code) for code in range(int(self.codes.max()) + 1))

    def rows(self, rows: NDArray[np.int64]) -> TargetValues:
        """Those of some samples."""
        return TargetValues(self.numbers[rows], None if self.codes is None else self.codes[rows])

    def labels(self, ids: Sequence[str]) -> Labels:
        """The targets as labels of `aam train` of samples `ids` [N]."""
        classes: list[str | None] = [None] * len(ids) if self.codes is None else [str(code) for code in self.codes]
        return Labels(list(ids), self.numbers, classes, pd.DataFrame(index=list(ids)), None)


def read_numbers(y: Any, asked: BaseEstimator) -> NDArray[np.float64]:
    """y [N] or [N, T] as numbers; raises an error that names the estimator, or the column that does not vary."""
    numbers = check_array(require_y(y, asked), ensure_2d=False, dtype=np.float64, input_name="y", estimator=asked)
    for place, values in enumerate(numbers.reshape(len(numbers), -1).T):
        check_spread("y" if numbers.ndim == 1 else f"column {place} of y", values)
    return numbers


def read_classes(y: Any, asked: BaseEstimator) -> NDArray[Any]:
    """y [N] as classes of any type; raises an error for missing ones."""
    labels = column_or_1d(require_y(y, asked), warn=True)
    if labels.dtype == object and (missing := np.flatnonzero(pd.isna(labels))).size:
        raise MetadataError(
            f"y has no class for {missing.size} of {len(labels)} samples, first that of row {missing[0]}; leave these "
            "rows out of X and y"
        )
    check_classification_targets(labels)
    assert_all_finite(labels, input_name="y", estimator_name=type(asked).__name__)
    return labels


def require_y(y: Any, asked: BaseEstimator) -> Any:
    """y, which supervised estimators need."""
    if y is None:
        raise ValueError(f"{type(asked).__name__} requires y to be passed, but the target y is None")
    return y
