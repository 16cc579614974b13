"""Samples and features of a table that are the sum of all others, as spreadsheets and mothur add them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from aam.errors import TableError
from aam.io.raw_table import RawTable
from aam.text import quote

TOTAL_SAMPLES = "samples that are the sum of all others"
TOTAL_FEATURES = "features that are the sum of all others"
_NAME = re.compile(r"(^|[^a-z])(totals?|(row|col|column)?[_. ]?sums?)($|[^a-z])", re.IGNORECASE)
"""Names that may be of a sum."""
_EXACT = re.compile(r"(grand[_. -]?)?(totals?|sums?)([_. -]?(reads|counts?))?", re.IGNORECASE)
"""Names that can be of nothing else."""
_LONGEST_NAME = 40
LEAST_FEATURES = 10
"""Features, each with reads in two other samples, that a sample without such a name has to sum: less may be chance."""


class WithoutTotals(NamedTuple):
    """A table without what is the sum of others, and the ids that were left out by reason."""

    table: RawTable
    dropped: Mapping[str, Sequence[str]]


def may_be_totals(ids: Iterable[str]) -> NDArray[np.bool_]:
    """Which ids [n] may name sums."""
    return np.array([len(text) <= _LONGEST_NAME and _NAME.search(text) is not None for text in ids], dtype=bool)


def drop_totals(raw: RawTable, name: str) -> WithoutTotals:
    """Leave out samples that are the sum of all others, by their counts, and features that are and are named so.

    Raises `TableError` for a sample that is named as a sum and is none, and for a table of a sum alone.
    """
    sums = _named_sums(raw.values, may_be_totals(raw.sample_ids))
    sums = sums if sums.any() else _unnamed_sums(raw.values)
    for row in np.flatnonzero(~sums):
        if _EXACT.fullmatch(raw.sample_ids[row].strip()):
            found = "not the sum of the others" if len(raw.sample_ids) > 1 else "the only sample"
            raise TableError(
                f"{name}: sample {quote(raw.sample_ids[row])} is named as a sum but is {found}; remove it, or rename "
                "it if it is a sample"
            )
    gone = np.zeros(len(raw.feature_ids), dtype=bool)
    if (named := may_be_totals(raw.feature_ids)).any():
        gone = _named_sums(raw.values.T.tocsr(), named)
    if not sums.any() and not gone.any():
        return WithoutTotals(raw, {})
    samples, features = np.flatnonzero(~sums), np.flatnonzero(~gone)
    dropped = {
        TOTAL_SAMPLES: [raw.sample_ids[row] for row in np.flatnonzero(sums)],
        TOTAL_FEATURES: [raw.feature_ids[row] for row in np.flatnonzero(gone)],
    }
    table = RawTable(
        raw.values[samples][:, features],
        [raw.sample_ids[row] for row in samples],
        [raw.feature_ids[row] for row in features],
    )
    return WithoutTotals(table, {reason: ids for reason, ids in dropped.items() if ids})


def _named_sums(values: sparse.csr_array, named: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the `named` rows of a matrix [n, m] are the sum of all others, or of those that are not named."""
    found = np.zeros(len(named), dtype=bool)
    if len(named) > 1:
        everything, others = (rows.sum(axis=0, dtype=np.float64) for rows in (values, values[np.flatnonzero(~named)]))
        for row in np.flatnonzero(named):
            own = values[[row]].toarray()[0].astype(np.float64)
            found[row] = own.any() and (np.array_equal(own, others) or np.array_equal(2 * own, everything))
    return found


def _unnamed_sums(values: sparse.csr_array) -> NDArray[np.bool_]:
    """Which rows of a matrix [n, m] are the sum of all others, as no sample is by chance."""
    found = np.zeros(values.shape[0], dtype=bool)
    depths, everything = values.sum(axis=1, dtype=np.float64), values.sum(axis=0, dtype=np.float64)
    shared = np.bincount(values.indices[values.data != 0], minlength=values.shape[1]) > 2  # the sum and two others
    for row in np.flatnonzero((2 * depths == depths.sum()) & (depths > 0)):
        own = values[[row]].toarray()[0].astype(np.float64)
        found[row] = np.count_nonzero(shared) >= LEAST_FEATURES and np.array_equal(2 * own, everything)
    return found
