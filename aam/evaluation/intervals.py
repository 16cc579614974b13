"""Prediction intervals of numbers, from the residuals of held-out samples with like predictions.

N samples, O targets, Q quantiles, n residuals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aam.text import counted

BIN_RESIDUALS, MOST_BINS = 100, 10
"""Fewest residuals of a bin of like predictions, and the most bins. A single bin with fewer has ends of one margin."""
COVERAGE_PARTS = 6
"""Parts of the range, each with as many samples, whose coverage is told."""


@dataclass(frozen=True)
class Residuals:
    """Of samples whose truth is known: how far it lies `below` the lowest and `above` the highest quantile, each [n].

    `predicted` [n] is the number, or middle quantile; NaN in older calibrations. Without quantiles `below` is -`above`.
    """

    predicted: NDArray[np.float64]
    below: NDArray[np.float64]
    above: NDArray[np.float64]

    def to_dict(self) -> dict[str, list[float]]:
        """JSON values."""
        return {name: column.tolist() for name, column in vars(self).items()}

    @classmethod
    def parse(cls, record: Mapping[str, Any] | Sequence[float]) -> Residuals:
        """Residuals from the result of `to_dict`, or from sizes alone, which older calibrations have."""
        if isinstance(record, Mapping):
            return cls(*(np.array(record[name], np.float64) for name in ("predicted", "below", "above")))
        sizes = np.array(record, np.float64)
        return cls(np.full(len(sizes), np.nan), sizes, sizes)


def find_residuals(values: NDArray[np.float64], true: NDArray[np.float64]) -> tuple[Residuals, ...]:
    """Residuals of each target, of predictions [N, O, Q] against truths [N, O]; NaN truths have none.

    Of quantiles they are the scores of conformalised quantile regression (Romano, Patterson and Candès 2019), of each
    end apart.
    """
    lowest, middle, highest = values[..., 0], values[..., values.shape[-1] // 2], values[..., -1]
    known = ~np.isnan(true)
    return tuple(
        Residuals(middle[rows, o], (lowest - true)[rows, o], (true - highest)[rows, o])
        for o, rows in enumerate(known.T)
    )


def conformal_margin(scores: NDArray[np.float64], coverage: float) -> float:
    """Margin that holds new scores: the ceil((n + 1) coverage)-th smallest of scores [n].

    Split conformal prediction (Lei et al. 2018); infinite if n is too small for this coverage. With an ensemble
    of folds it follows the CV+ idea (Barber et al. 2021), whose guarantee is weaker than its usual coverage.
    """
    rank = math.ceil((len(scores) + 1) * coverage)
    return float(np.partition(scores, rank - 1)[rank - 1]) if rank <= len(scores) else math.inf


def interval_margins(known: Residuals, predicted: NDArray[np.float64], coverage: float) -> NDArray[np.float64]:
    """Margins [N, 2] below and above predictions [N], from the residuals of like predictions.

    Residuals are put into bins of their predictions, as many in each, and the two ends of a bin are set apart, each to
    be missed by half of what may be missed. So intervals are as wide as errors are at a prediction, and follow where
    predictions are drawn to the mean; coverage holds in each bin (Mondrian conformal prediction, Vovk et al. 2005).
    With too few residuals for that there is one margin.
    """
    edges = bin_edges(known.predicted, max(BIN_RESIDUALS, math.ceil(2 / (1 - coverage))))
    if edges is None:
        return np.full((len(predicted), 2), conformal_margin(np.maximum(known.below, known.above), coverage))
    own, sides = np.searchsorted(edges, known.predicted), (known.below, known.above)
    margins = [[conformal_margin(side[own == b], (1 + coverage) / 2) for side in sides] for b in range(len(edges) + 1)]
    return np.array(margins)[np.searchsorted(edges, predicted)]


def bin_edges(predicted: NDArray[np.float64], least: int) -> NDArray[np.float64] | None:
    """Inner edges of as many bins as hold `least` of the predictions [n] each, at most `MOST_BINS`; None if none does.

    A bin reaches up to its upper edge. Equal predictions share a bin.
    """
    for bins in range(min(MOST_BINS, len(predicted) // least), 0, -1):
        edges = np.quantile(predicted, np.arange(1, bins) / bins)
        if (
            np.bincount(np.searchsorted(edges, predicted), minlength=bins).min() >= least
            and not np.isnan(predicted).any()
        ):
            return edges
    return None


def prediction_intervals(
    values: NDArray[np.float64], known: Sequence[Residuals], coverage: float
) -> NDArray[np.float64]:
    """Lower and upper ends [N, O, 2] around values [N, O, Q]; each holds the middle value."""
    middle = values[..., values.shape[-1] // 2]  # a negative margin must not turn an interval inside out
    margins = np.stack([interval_margins(one, middle[:, o], coverage) for o, one in enumerate(known)], axis=1)
    lower, upper = values[..., 0] - margins[..., 0], values[..., -1] + margins[..., 1]
    return np.stack([np.minimum(lower, middle), np.maximum(upper, middle)], axis=-1)


def warn_of_infinite_intervals(residuals: Sequence[Residuals], targets: Sequence[str], coverage: float) -> list[str]:
    """One warning per target with infinite intervals; it names the possible coverage. See `conformal_margin`."""
    counts = [len(one.predicted) for one in residuals]
    return [
        f"intervals of {name} are infinite: {counted(count, 'residuals')} of held-out samples can "
        f"guarantee --coverage {math.floor(1000 * count / (count + 1)) / 1000:g} at most, not {coverage:g}"
        for name, count in zip(targets, counts, strict=False)  # classes have none
        if math.ceil((count + 1) * coverage) > count
    ]


def warn_of_negative_predictions(true: pd.DataFrame, predicted: pd.DataFrame) -> list[str]:
    """One warning per numeric target that is never below 0 but predicted so; `predicted` has its columns and more."""
    below = {str(name): int((predicted[name] < 0).sum()) for name in true.columns if true[name].min() >= 0}
    return [
        f"{count:,} of {len(predicted):,} predictions of {name} are below 0, which no sample is: read them as 0, or "
        "train with --target-transform log-zscore, which learns log(1 + value) and stays above -1"
        for name, count in below.items()
        if count
    ]


def measure_coverage(true: pd.Series, lower: pd.Series, upper: pd.Series) -> tuple[float, float]:
    """Fraction of the truths [N] inside the intervals, NaN left out, and mean width of all intervals."""
    inside = true.between(lower, upper)[true.notna()]
    return float(inside.mean()), float((upper - lower).mean())


def coverage_by_size(by: pd.Series, true: pd.Series, ends: tuple[pd.Series, pd.Series]) -> pd.DataFrame:
    """Coverage and width of intervals in parts of like `by` [N], with as many samples each.

    Columns: `low` and `high` of `by`, `samples`, `coverage`, `width`. Equal values are in one part.
    """
    parts = pd.qcut(by, COVERAGE_PARTS, duplicates="drop", labels=False) if by.nunique() > 1 else by * 0
    rows = []
    for _, own in by.groupby(parts):
        there = own.index
        covered, width = measure_coverage(true[there], *(end[there] for end in ends))
        rows.append((own.min(), own.max(), len(own), covered, width))
    return pd.DataFrame(rows, columns=["low", "high", "samples", "coverage", "width"])
