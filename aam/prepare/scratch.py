"""One pass over a table: its counts go to scratch files, in memory stays what is said once a sample or an ASV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from aam.data.raw_table import cut_rows
from aam.data.sequences import sequences_of
from aam.data.store_writer import GrowingArray
from aam.data.table import EMPTY_ASVS, clean, open_rows, refuse_empty
from aam.prepare.sources import Source

ENTRIES = 1 << 18
"""Counts that are in memory at a time: about 35 MB of work, mostly that of the checks."""


class Scratch:
    """Counts [samples, features] of one table on disk, for as long as the block lasts."""

    def __init__(self, folder: Path):
        types = {"indptr": "<i8", "indices": "<i4", "data": "<i4"}
        self.arrays = {name: GrowingArray(folder / f"scratch.{name}.npy", kind, (), 0) for name, kind in types.items()}
        self.arrays["indptr"].append(np.zeros(1, np.int64))

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *fault: object) -> None:
        for array in self.arrays.values():
            array.file.close()
            array.path.unlink()

    def append(self, counts: sparse.csr_array) -> None:
        """Add samples, counts [n, features]."""
        self.arrays["indptr"].append(self.arrays["data"].rows + counts.indptr[1:].astype(np.int64))
        self.arrays["indices"].append(counts.indices)
        self.arrays["data"].append(counts.data)

    def blocks(self, columns: int) -> Iterator[sparse.csr_array]:
        """The samples in order, some [rows, columns] at a time."""
        indptr = self.arrays["indptr"].read()
        for rows in cut_rows(indptr, ENTRIES):
            bounds = np.array(indptr[rows.start : rows.stop + 1])
            data, indices = (self.arrays[name].read(int(bounds[0]), int(bounds[-1])) for name in ("data", "indices"))
            yield sparse.csr_array((data, indices, bounds - bounds[0]), shape=(len(bounds) - 1, columns))


class Read(NamedTuple):
    """What a table is about, less samples and features without reads: `features` int64 [A] are the numbers of its ASVs.

    `dropped` tells what was left out: reason -> ids.
    """

    sample_ids: list[str]
    features: NDArray[np.int64]
    asv_ids: list[str]
    sequences: list[str]
    dropped: dict[str, list[str]]


def read_counts(source: Source, scratch: Scratch) -> Read:
    """Read the table of a study once, checking each block as `aam.data.table.read_table` checks the whole."""
    path, fasta = source.files["table"], source.files.get("sequences")
    dropped: dict[str, list[str]] = {}
    sample_ids: list[str] = []
    with open_rows(path, fasta is not None) as rows:
        seen = np.zeros(len(rows.feature_ids), dtype=bool)
        for raw in rows.blocks(ENTRIES):
            found = clean(raw, str(path))
            seen[found.counts.indices] = True
            scratch.append(found.counts)
            sample_ids += found.sample_ids
            for reason, ids in found.dropped.items():
                dropped.setdefault(reason, []).extend(ids)
    refuse_empty(sample_ids, rows.sample_ids, path)
    features = np.flatnonzero(seen)
    asv_ids = [rows.feature_ids[feature] for feature in features]
    dropped[EMPTY_ASVS] = [rows.feature_ids[feature] for feature in np.flatnonzero(~seen)]
    found_ids = {reason: ids for reason, ids in dropped.items() if ids}
    return Read(sample_ids, features, asv_ids, sequences_of(asv_ids, fasta, str(path)), found_ids)
