"""Lost samples: how they differ from kept ones, and how likely it is that two runs lost the same by chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from aam.errors import InputError
from aam.health.ledger import FILE_NAME, Item, Ledger, nan_counts, read_object
from aam.spelling import whole_of

DRAWS = 9999
"""Permutations of a categorical column: with the real one among them p is a multiple of 1 in 10,000."""
SIGNIFICANT = 0.05
"""Adjusted p below which a column is called biased."""


@dataclass(frozen=True)
class ColumnBias:
    """Difference of lost and kept samples in one column.

    The effect is the rank-biserial correlation of a numeric column (positive: lost samples are larger)
    or Cramér's V of a categorical one; both are 0 without bias and at most 1 in absolute value."""

    column: str
    kind: str  # numeric or categorical
    lost: int  # samples with a value
    kept: int
    effect: float
    p: float
    adjusted: float = math.nan  # p after Holm's correction for the number of columns

    @property
    def significant(self) -> bool:
        return self.adjusted < SIGNIFICANT

    @property
    def test(self) -> str:
        return "Mann-Whitney" if self.kind == "numeric" else "chi-squared, by permutation"


def find_bias(lost: set[str], kept: set[str], columns: Mapping[str, Mapping[str, Any]]) -> list[ColumnBias]:
    """Compare lost and kept samples in every column ({column: {sample id: value}}), smallest p value first.

    A column is numeric if all its values are numbers. Missing values (None, NaN, empty text) are left out, and columns
    that cannot be compared: one side is empty, there is a single value, or all categorical values are unique. P values
    are corrected for the number of columns (Holm 1979).
    """
    rows = [row for name, values in columns.items() if (row := _column(name, values, lost, kept)) is not None]
    rows.sort(key=lambda row: row.p)
    running, adjusted = 0.0, []
    for rank, row in enumerate(rows):
        running = max(running, min(1.0, row.p * (len(rows) - rank)))
        adjusted.append(replace(row, adjusted=running))
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


@dataclass(frozen=True)
class Lost:
    """Ids lost according to a run, a ledger or a plain list."""

    source: Path
    ids: frozenset[str]
    total: int | None  # how many there were; None for a plain list
    nan_counts: dict[str, int] = field(default_factory=dict)  # NaN values seen in an item, where recorded


@dataclass(frozen=True)
class LossOverlap:
    """Two sets of ids drawn from `total`."""

    size_a: int
    size_b: int
    both: int
    total: int | None
    expected: float | None  # mean size of the overlap if the two were independent
    p: float | None  # probability of an overlap at least this large, hypergeometric

    @property
    def containment(self) -> float:
        """Fraction of the smaller set that is in the other one; NaN if it is empty."""
        smaller = min(self.size_a, self.size_b)
        return self.both / smaller if smaller else float("nan")

    @property
    def jaccard(self) -> float:
        """Number of shared ids divided by that of all ids; NaN if both sets are empty."""
        union = self.size_a + self.size_b - self.both
        return self.both / union if union else float("nan")


def compare_losses(a: frozenset[str] | set[str], b: frozenset[str] | set[str], total: int | None = None) -> LossOverlap:
    """Overlap of two sets of lost ids out of `total` items that both runs saw; without any there is no p."""
    both = len(a & b)
    if total is not None and len(a | b) > total:
        raise InputError(f"--total {total} is smaller than the {len(a | b)} different ids of the two lists")
    if not total:
        return LossOverlap(len(a), len(b), both, total, None, None)
    from scipy.stats import hypergeom

    p = float(hypergeom.sf(both - 1, total, len(a), len(b)))
    return LossOverlap(len(a), len(b), both, total, len(a) * len(b) / total, p)


def common_total(a: Lost, b: Lost, total: int | None) -> int | None:
    """The number of items that both runs saw: `total`, or what the ledgers agree on; `InputError` if they do not."""
    known = {lost.total for lost in (a, b) if lost.total is not None}
    if total is None and len(known) > 1:
        raise InputError(f"{a.source} saw {a.total} items and {b.source} {b.total}; say with --total how many both saw")
    return total if total is not None else next(iter(known), None)


def read_lost(path: Path, item: Item = "sample") -> Lost:
    """What was lost: from a run directory, a ledger file, or a plain list with one id a line.

    A line of a plain list may carry a count of NaN after a tab. Raises `InputError` naming the file and, if
    possible, the line.
    """
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        hint = "this run directory holds no ledger" if path.is_dir() else "no such file"
        raise InputError(f"{path}: {hint}; give a run directory, its {FILE_NAME}, or a list with one id a line")
    with file.open("rb") as lines:
        is_ledger = read_object(lines.readline()) is not None
    if is_ledger:
        ledger = Ledger.read(file)
        counts = nan_counts(loss for loss in ledger.losses if loss.item == item)
        return Lost(path, frozenset(ledger.lost(item)), len(ledger.seen(item)), counts)
    return _read_list(file)


def _read_list(file: Path) -> Lost:
    ids: dict[str, int | None] = {}
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 text at byte {error.start}; expected a list with one id a line") from error
    for number, line in enumerate(text.splitlines(), 1):
        name, _, count = line.partition("\t")
        name, count = name.strip(), count.strip()
        if not name:
            continue
        if name in ids:
            raise InputError(f"{file}, line {number}: id {name!r} stands twice; a list of lost ids names each once")
        ids[name] = whole_of(count)
        if count and ids[name] is None:
            raise InputError(f"{file}, line {number}: expected a number of NaN after the tab, found {count!r}")
    return Lost(file, frozenset(ids), None, {name: count for name, count in ids.items() if count is not None})
