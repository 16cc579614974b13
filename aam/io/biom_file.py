"""BIOM files of HDF5 (version 2.1).

Arrays are checked and passed from h5py to scipy. `biom` is not used: it would build a second copy with fixed-width
ids, and an index out of range would crash the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from aam.errors import TableError
from aam.io.hdf5 import HDF5File, check_indices, check_row_bounds, check_unpacked_size, dataset, open_hdf5, read_strings
from aam.io.raw_table import RawRows, RawTable, check_shape, cut_rows

_NUMBERS = {"data": "iuf", "indices": "iu", "indptr": "iu"}
"""Arrays of a BIOM matrix group and the types they may have."""
_ENTRIES_AT_ONCE = 1 << 18
"""Entries of the second copy of a matrix in memory at a time."""
_HASHED_AT_ONCE = 1 << 15
"""Entries hashed at a time, few enough for the cache of a processor."""


@contextmanager
def open_biom_hdf5(path: Path, name: str) -> Iterator[RawRows]:
    """Table of a BIOM 2.1 file; `name` stands for the file in messages. Raises `TableError`, also between blocks."""
    with open_hdf5(path, name, TableError) as source:
        features, samples = _claimed_shape(source)
        check_shape(samples, features, name)
        ids = {axis: dataset(source, f"{axis}/ids", "S") for axis in ("sample", "observation")}
        arrays = {
            axis: {part: dataset(source, f"{axis}/matrix/{part}", kinds) for part, kinds in _NUMBERS.items()}
            for axis in ids
        }
        check_unpacked_size(source, [*ids.values(), *arrays["sample"].values(), *arrays["observation"].values()])
        for axis, expected in (("sample", samples), ("observation", features)):
            if ids[axis].size != expected:
                raise source.fail(f"{ids[axis].size} {axis} ids for a shape of {features} x {samples}")
        sample_ids, feature_ids = (read_strings(source, ids[axis]) for axis in ("sample", "observation"))

        def blocks(entries: int) -> Iterator[RawTable]:
            read = 0
            for rows, values in _read_compressed(source, "sample", arrays["sample"], (samples, features), entries):
                read += _fingerprint(values, rows.start, by_sample=True)
                yield RawTable(_sort_columns(source, values), sample_ids[rows], feature_ids)
            for rows, values in _read_compressed(
                source, "observation", arrays["observation"], (features, samples), _ENTRIES_AT_ONCE
            ):
                read -= _fingerprint(values, rows.start, by_sample=False)
            if read % 2**64:
                raise source.fail("the matrices stored by sample and by observation disagree")

        yield RawRows(sample_ids, feature_ids, blocks)


def _claimed_shape(source: HDF5File) -> tuple[int, int]:
    """(features, samples) of the `shape` attribute, which every BIOM file has."""
    attributes = source.file.attrs
    if "shape" not in attributes:
        raise source.error(
            f"{source.name} is HDF5 but not a BIOM table (attribute 'shape' is missing); give a BIOM 2.1 feature table"
        )
    claimed = attributes.get_id("shape")
    if claimed.shape != (2,) or claimed.dtype.kind not in "iu":
        raise source.fail(f"attribute 'shape' is {claimed.dtype} {claimed.shape}, expected two whole numbers")
    features, samples = (int(size) for size in attributes["shape"])
    if min(features, samples) < 0:
        raise source.fail(f"attribute 'shape' is {features} x {samples}")
    return features, samples


def _read_compressed(
    source: HDF5File, axis: str, arrays: dict[str, Any], shape: tuple[int, int], entries: int
) -> Iterator[tuple[slice, sparse.csr_array]]:
    """Checked sparse rows of one axis, about so many entries at a time, and which rows they are."""
    group, (rows, columns) = f"{axis}/matrix", shape
    count = arrays["data"].size
    if arrays["indices"].size != count or arrays["indptr"].size != rows + 1 or count > rows * columns:
        raise source.fail(
            f"{group} has {count} values, {arrays['indices'].size} indices and {arrays['indptr'].size} row bounds "
            f"for {rows} rows and {columns} columns"
        )
    indptr = arrays["indptr"][:]
    check_row_bounds(source, group, indptr, count)
    indptr = indptr.astype(np.int64, copy=False)
    for piece in cut_rows(indptr, entries):
        bounds = indptr[piece.start : piece.stop + 1]
        indices, data = (arrays[part][bounds[0] : bounds[-1]] for part in ("indices", "data"))
        check_indices(source, group, indices, columns)
        index = np.int32 if max(len(data), columns) < 2**31 else np.int64
        parts = (data, indices.astype(index, copy=False), (bounds - bounds[0]).astype(index))
        yield piece, sparse.csr_array(parts, shape=(len(bounds) - 1, columns))


def _sort_columns(source: HDF5File, values: sparse.csr_array) -> sparse.csr_array:
    """Rows with sorted columns; refuses a cell that is given twice, which would be summed."""
    values.sort_indices()
    if not values.has_canonical_format:
        raise source.fail("sample/matrix gives a cell more than once")
    return values


def _fingerprint(values: sparse.csr_array, start: int, by_sample: bool) -> int:
    """Sum of a 64-bit hash of each cell: tells whether two copies of a matrix hold the same cells in any order.

    `start` is the number of the first row, which is a sample or else a feature.
    """
    total = 0
    for rows in cut_rows(values.indptr, _HASHED_AT_ONCE):
        bounds = values.indptr[rows.start : rows.stop + 1]
        cells = slice(bounds[0], bounds[-1])
        numbers = np.repeat(np.arange(start + rows.start, start + rows.stop), np.diff(bounds))
        columns = values.indices[cells]
        samples, features = (numbers, columns) if by_sample else (columns, numbers)
        total += _hashes(samples, features, values.data[cells])
    return total


def _hashes(samples: NDArray[np.integer], features: NDArray[np.integer], values: NDArray[np.number]) -> int:
    """Sum of the hashes of cells. NaN equals NaN, since it gets a refusal of its own; 0 equals -0."""
    numbers = values.astype(np.float64) + 0.0
    numbers[np.isnan(numbers)] = np.nan
    cell = (samples.astype(np.uint64) << np.uint64(32)) ^ features.astype(np.uint64)
    return int(_mix_bits(_mix_bits(cell) ^ numbers.view(np.uint64)).sum(dtype=np.uint64))


def _mix_bits(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Bits that all depend on all: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
