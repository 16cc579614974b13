"""The same ASV is one ASV: ids with one DNA are merged, and ASVs stand in an order that no file decides.

The order is that of hashes of the DNA. Whatever is drawn of a sample, or cut by its ASVs, then depends on its counts by
DNA alone, not on the order of the columns of a file, nor on which other samples and ASVs the file has.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from aam.corpus.asv_index import hash_texts
from aam.io.ids import find_wanted
from aam.io.table import Table
from aam.text import counted


def merged_texts(sequences: Sequence[str], fewer: int) -> list[str]:
    """How many ASVs there are `fewer` because of those that are equal, as they are read (`sequences`) or by now."""
    same = len(sequences) - len(set(sequences))
    texts = [f"merged: {counted(same, 'ASVs')} with the DNA of another one, under another id"] if same else []
    return texts + ([f"merged: {counted(fewer - same, 'ASVs')} that became equal to another one"] * (fewer > same))


def number_sequences(sequences: Sequence[str]) -> NDArray[np.int64]:
    """A number for each sequence, int64 [A], from 0 in the order of first occurrence; equal ones have one number."""
    number: dict[str, int] = {}
    return np.fromiter((number.setdefault(text, len(number)) for text in sequences), np.int64, len(sequences))


def most_read(groups: NDArray[np.int64], reads: NDArray[np.integer], ids: Sequence[str]) -> NDArray[np.int64]:
    """Of each group of ASVs, numbers from 0 [A], the ASV with the most reads [A]; of several that of the first id.

    int64 [G].
    """
    order = np.lexsort((np.array(ids, dtype=object), -np.asarray(reads, np.int64), groups))
    return order[np.unique(groups[order], return_index=True)[1]]


def merge_equal_asvs(table: Table, tips: Collection[str] = ()) -> Table:
    """Add up the counts of ASVs with one sequence; id and original sequence are those of the one with most reads.

    An ASV whose id is among the `tips` of a tree goes before the others.
    """
    groups = number_sequences(table.sequences)
    count = int(groups.max(initial=-1)) + 1
    if count == len(groups):
        return table
    reads = np.asarray(table.counts.sum(axis=0)).ravel().astype(np.int64)
    chosen = most_read(groups, reads + find_wanted(table.asv_ids, tips) * (1 + reads.max()), table.asv_ids)
    ones = np.ones(len(groups), table.counts.dtype)
    joins = sparse.csr_array((ones, groups, np.arange(len(groups) + 1)), shape=(len(groups), count))
    counts = sparse.csr_array(table.counts @ joins)
    counts.sort_indices()
    return replace(table.select(asvs=chosen), stored=counts, rows=None)


def order_of(sequences: Sequence[str], ids: Sequence[str]) -> NDArray[np.int64]:
    """Numbers of ASVs in the order of hashes of their DNA; of one DNA in the order of their ids."""
    keys = hash_texts(sequences)
    order = np.argsort(keys, kind="stable")
    if (keys[order[1:]] == keys[order[:-1]]).any():
        order = np.lexsort((np.array(ids, dtype=object), keys))
    return order


def order_asvs(table: Table) -> Table:
    """The table with its ASVs in the order of `order_of`."""
    order = order_of(table.sequences, table.asv_ids)
    return table if (order == np.arange(len(order))).all() else table.select(asvs=order)


def order_by_id(table: Table) -> NDArray[np.int64]:
    """Numbers of the samples in the order of their ids."""
    return np.array(sorted(range(len(table.sample_ids)), key=table.sample_ids.__getitem__), np.int64)
