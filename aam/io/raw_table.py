"""Unchecked content of a table file, as the readers of all formats return it, and the check of its counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from aam.errors import TableError
from aam.text import quote

MAX_READS = 10**9 - 1
"""Most reads of a sample in numpy's exact hypergeometric draw (rarefaction); no sequencer gives as many."""


@dataclass(frozen=True)
class RawTable:
    """Unchecked content of a table file: `values` [samples, features] of any number type, zeros may be stored."""

    values: sparse.csr_array
    sample_ids: list[str]
    feature_ids: list[str]


@dataclass(frozen=True)
class RawRows:
    """An open, unchecked table file: its ids, and its samples in order, which `blocks(entries)` yields as tables.

    A block has at most `entries` stored values, but at least one sample. The file is read block by block. `dropped` has
    the ids of what was left out before, by reason.
    """

    sample_ids: list[str]
    feature_ids: list[str]
    blocks: Callable[[int], Iterator[RawTable]]
    dropped: Mapping[str, Sequence[str]] = field(default_factory=dict)


def rows_of(raw: RawTable, dropped: Mapping[str, Sequence[str]]) -> RawRows:
    """Wrap a table in memory as `RawRows`; `dropped` has the ids of what was left out of it, by reason."""

    def blocks(entries: int) -> Iterator[RawTable]:
        for rows in cut_rows(raw.values.indptr, entries):
            yield RawTable(raw.values[rows], raw.sample_ids[rows], raw.feature_ids)

    return RawRows(raw.sample_ids, raw.feature_ids, blocks, dropped)


def cut_rows(indptr: NDArray[np.integer], entries: int) -> Iterator[slice]:
    """Consecutive rows of a CSR matrix, `indptr` [rows + 1], of at most `entries` stored values, or one row alone."""
    start = 0
    while start < len(indptr) - 1:
        most = min(int(indptr[start]) + entries, int(indptr[-1]))
        stop = max(start + 1, int(np.searchsorted(indptr, most, side="right")) - 1)
        yield slice(start, stop)
        start = stop


def check_shape(samples: int, features: int, name: str) -> None:
    """Raise `TableError` for a table without samples or without features."""
    if samples == 0 or features == 0:
        raise TableError(
            f"{name}: the table is empty ({samples} samples, {features} features); expected at least one of each"
        )


def whole_counts(raw: RawTable, name: str) -> sparse.csr_array:
    """The table's values as int64 counts [samples, features].

    Raises `TableError` for values that are NaN, infinite, negative, fractional, or too many for one sample; the message
    names the first sample and feature and how many values are wrong.
    """
    values = raw.values.data
    if values.dtype.kind == "f":
        _refuse(raw, name, np.isnan(values), "NaN", "replace missing values by counts")
        _refuse(
            raw, name, np.isinf(values), "infinite", "the file is damaged or overflowed: write it again from the reads"
        )
    _refuse(raw, name, values < 0, "negative", "counts of reads cannot be: give the table before any transformation")
    if values.dtype.kind == "f":
        advice = "give raw counts of reads, not relative abundances or transformed values"
        _refuse(raw, name, values != np.floor(values), "fractional", advice)
    _refuse(
        raw, name, values > MAX_READS, f"above {MAX_READS:,}", "no sample has as many reads: is this a count table?"
    )
    counts = sparse.csr_array((values.astype(np.int64), raw.values.indices, raw.values.indptr), shape=raw.values.shape)
    reads = counts.sum(axis=1)
    if reads.max(initial=0) > MAX_READS:
        worst = int(reads.argmax())
        raise TableError(
            f"{name}: sample {quote(raw.sample_ids[worst])} has {reads[worst]:,} reads in all, at most {MAX_READS:,} "
            "are possible; is this a count table?"
        )
    return counts


def _refuse(raw: RawTable, name: str, wrong: NDArray[np.bool_], what: str, advice: str) -> None:
    """Raise for the first value marked `wrong` (bool, one per stored value)."""
    number = int(np.count_nonzero(wrong))
    if not number:
        return
    first = int(wrong.argmax())
    sample = int(np.searchsorted(raw.values.indptr, first, side="right")) - 1
    feature = int(raw.values.indices[first])
    raise TableError(
        f"{name}: {number:,} of {wrong.size:,} counts are {what}, first {raw.values.data[first]} in sample "
        f"{quote(raw.sample_ids[sample])}, feature {quote(raw.feature_ids[feature])}; "
        f"expected whole numbers >= 0; {advice}"
    )
