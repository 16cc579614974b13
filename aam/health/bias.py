"""Are the lost samples like the kept ones? One test for each column of metadata, with its size of effect."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

DRAWS = 9999
"""Permutations of a categorical column: with the real one among them p is a multiple of 1 in 10,000."""


@dataclass(frozen=True)
class ColumnBias:
    """One column. The effect is the rank-biserial correlation of a numeric column (positive: lost samples are larger)
    or Cramér's V of a categorical one; both are 0 without any bias and 1 in size at the most."""

    column: str
    kind: str  # numeric or categorical
    lost: int  # samples with a value
    kept: int
    effect: float
    p: float
    adjusted: float = math.nan  # p after Holm's correction for the number of columns

    @property
    def test(self) -> str:
        return "Mann-Whitney" if self.kind == "numeric" else "chi-squared, by permutation"


def bias(lost: set[str], kept: set[str], columns: Mapping[str, Mapping[str, Any]]) -> list[ColumnBias]:
    """Compare lost and kept samples in every column ({column: {sample id: value}}), the clearest bias first.

    A column is numeric where all its values are numbers; missing values (None, NaN, empty text) are left out. Columns
    in which no comparison is possible (one side empty, one single value, or every categorical value unique) are left
    out. P values are corrected for their number (Holm 1979).
    """
    rows = [row for name, values in columns.items() if (row := _column(name, values, lost, kept)) is not None]
    rows.sort(key=lambda row: row.p)
    running, adjusted = 0.0, []
    for rank, row in enumerate(rows):
        running = max(running, min(1.0, row.p * (len(rows) - rank)))
        adjusted.append(ColumnBias(**{**vars(row), "adjusted": running}))
    return adjusted


def _column(name: str, values: Mapping[str, Any], lost: set[str], kept: set[str]) -> ColumnBias | None:
    present = {sample: value for sample, value in values.items() if not _missing(value)}
    gone = [present[sample] for sample in sorted(lost) if sample in present]
    stay = [present[sample] for sample in sorted(kept) if sample in present]
    distinct = set(map(str, gone + stay))
    if not gone or not stay or len(distinct) < 2:
        return None
    if all(isinstance(value, (int, float, np.number)) and not isinstance(value, bool) for value in gone + stay):
        return ColumnBias(name, "numeric", len(gone), len(stay), *_rank_biserial(gone, stay))
    if len(distinct) == len(gone) + len(stay):
        return None  # names, not categories
    return ColumnBias(name, "categorical", len(gone), len(stay), *_cramer(gone, stay))


def _missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, (float, np.floating)) and math.isnan(value))


def _rank_biserial(gone: Sequence[float], stay: Sequence[float]) -> tuple[float, float]:
    """Effect 2 U / (n m) - 1 and p of the Mann-Whitney test."""
    from scipy.stats import mannwhitneyu

    result = mannwhitneyu(gone, stay)
    return 2 * float(result.statistic) / (len(gone) * len(stay)) - 1, float(result.pvalue)


def _cramer(gone: Sequence[Any], stay: Sequence[Any]) -> tuple[float, float]:
    """Cramér's V of lost x category, and p by permuting who was lost (the tables are too sparse for a formula)."""
    labels, codes = np.unique([str(value) for value in [*gone, *stay]], return_inverse=True)
    sizes = np.bincount(codes)
    expected = sizes * len(gone) / len(codes)

    def statistic(counts: np.ndarray) -> np.ndarray:
        """Chi-squared of tables with these counts of lost samples per category, [..., C]."""
        part = (counts - expected) ** 2
        return (part / expected + part / (sizes - expected)).sum(axis=-1)

    observed = statistic(np.bincount(codes[: len(gone)], minlength=len(labels)))
    drawn = np.random.default_rng(0).multivariate_hypergeometric(sizes, len(gone), size=DRAWS, method="marginals")
    p = (1 + int((statistic(drawn) >= observed * (1 - 1e-9)).sum())) / (1 + DRAWS)
    return math.sqrt(float(observed) / len(codes)), p  # with two rows, V = sqrt(chi2 / n)
