"""BIOM files: HDF5 (version 2.1) and JSON (version 1).

HDF5 arrays go from h5py straight to scipy after the pre-flight: `biom` would build a second copy with fixed-width ids,
and it trusts what it reads (an index out of range ends the process). JSON cells are checked before they become a
matrix, since `biom` sums a cell that is given twice and counts negative positions from the end.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from aam.data.hdf5_check import Source, check_size, check_sparse, dataset, open_hdf5
from aam.data.hdf5_strings import read_strings
from aam.data.ids import quote
from aam.data.raw_table import RawTable, check_shape
from aam.errors import TableError

_NUMBERS = {"data": "iuf", "indices": "iu", "indptr": "iu"}
"""Arrays of a BIOM matrix group and the types they may have."""
_PIECE = 1 << 20
"""Entries of the second copy of a matrix that are in memory at a time."""


def read_biom_hdf5(path: Path, name: str) -> RawTable:
    """Table of a BIOM 2.1 file; `name` stands for the file in messages. Raises `TableError`."""
    with open_hdf5(path, name, TableError) as source:
        features, samples = _claimed_shape(source)
        check_shape(samples, features, name)
        ids = {axis: dataset(source, f"{axis}/ids", "S") for axis in ("sample", "observation")}
        arrays = {
            axis: {part: dataset(source, f"{axis}/matrix/{part}", kinds) for part, kinds in _NUMBERS.items()}
            for axis in ids
        }
        check_size(source, [*ids.values(), *arrays["sample"].values(), *arrays["observation"].values()])
        for axis, expected in (("sample", samples), ("observation", features)):
            if ids[axis].size != expected:
                raise source.fail(f"{ids[axis].size} {axis} ids for a shape of {features} x {samples}")
        sample_ids, feature_ids = (read_strings(source, ids[axis]) for axis in ("sample", "observation"))
        by_sample = _compressed(source, "sample", arrays["sample"], (samples, features))
        _check_other_axis(source, arrays["observation"], by_sample)
        return RawTable(by_sample, sample_ids, feature_ids)


def _claimed_shape(source: Source) -> tuple[int, int]:
    """(features, samples) of the file's `shape` attribute; a BIOM file without it is none."""
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


def _compressed(source: Source, axis: str, arrays: dict[str, Any], shape: tuple[int, int]) -> sparse.csr_array:
    """Sparse rows of one axis, checked and with sorted columns."""
    group, (rows, columns) = f"{axis}/matrix", shape
    entries = arrays["data"].size
    if arrays["indices"].size != entries or arrays["indptr"].size != rows + 1 or entries > rows * columns:
        raise source.fail(
            f"{group} has {entries} values, {arrays['indices'].size} indices and {arrays['indptr'].size} row bounds "
            f"for {rows} rows and {columns} columns"
        )
    indptr, indices = arrays["indptr"][:], arrays["indices"][:]
    check_sparse(source, group, indptr, indices, columns)
    index = np.int32 if max(entries, columns) < 2**31 else np.int64
    data = arrays["data"][:]
    matrix = sparse.csr_array((data, indices.astype(index, copy=False), indptr.astype(index, copy=False)), shape=shape)
    matrix.sort_indices()
    if not matrix.has_canonical_format:
        raise source.fail(f"{group} gives a cell more than once")
    return matrix


def _check_other_axis(source: Source, arrays: dict[str, Any], by_sample: sparse.csr_array) -> None:
    """Refuse a file whose second copy of the matrix, by observation, is another one.

    The copy is compared piece by piece and only taken into memory where its columns are not sorted.
    """
    expected = by_sample.T.tocsr()
    if arrays["indptr"].size == expected.indptr.size and arrays["data"].size == arrays["indices"].size == expected.nnz:
        pieces = [slice(start, start + _PIECE) for start in range(0, expected.nnz, _PIECE)]
        if np.array_equal(arrays["indptr"][:], expected.indptr) and all(
            np.array_equal(arrays["indices"][piece], expected.indices[piece])
            and _equal(arrays["data"][piece], expected.data[piece])
            for piece in pieces
        ):
            return
    other = _compressed(source, "observation", arrays, expected.shape)
    if not (
        np.array_equal(other.indptr, expected.indptr)
        and np.array_equal(other.indices, expected.indices)
        and _equal(other.data, expected.data)
    ):
        raise source.fail("the matrices stored by sample and by observation disagree")


def _equal(one: NDArray[np.number], other: NDArray[np.number]) -> bool:
    """Equal value for value; NaN equals NaN, since it gets a refusal of its own."""
    return np.array_equal(one, other, equal_nan=one.dtype.kind == other.dtype.kind == "f")


def read_biom_json(path: Path, name: str) -> RawTable:
    """Table of a BIOM 1 file, sparse or dense; `name` stands for the file in messages. Raises `TableError`."""

    def refuse(literal: str) -> NoReturn:
        raise TableError(f"{name}: a count is {literal}; expected whole numbers >= 0; replace missing values by counts")

    try:
        content = json.loads(path.read_bytes(), parse_constant=refuse)
        sample_ids = [_text(column["id"]) for column in content["columns"]]
        feature_ids = [_text(row["id"]) for row in content["rows"]]
        dense = content.get("matrix_type") == "dense"
        cells = np.asarray(content["data"], dtype=np.float64)
        features, samples = (int(size) for size in content["shape"])
    except TableError:
        raise
    except (KeyError, TypeError, AttributeError) as fault:
        raise TableError(f"{name} is JSON but not a BIOM table ({fault} is missing or has another form)") from fault
    except (ValueError, OverflowError, RecursionError) as fault:
        raise TableError(
            f"{name} is damaged JSON, not a BIOM table ({fault}); write or fetch the file again"
        ) from fault
    check_shape(samples, features, name)
    if (features, samples) != (len(feature_ids), len(sample_ids)):
        raise TableError(
            f"{name}: shape {features} x {samples}, but {len(feature_ids)} rows and {len(sample_ids)} columns have "
            "ids; the file is damaged: write or fetch it again"
        )
    values = _from_dense(cells, name, features, samples) if dense else _from_cells(cells, name, feature_ids, sample_ids)
    return RawTable(values, sample_ids, feature_ids)


def _text(found: Any) -> str:
    """An id as text; some writers give numbers."""
    if not isinstance(found, str | int):
        raise TypeError(f"id {found!r}")
    return str(found)


def _from_dense(cells: NDArray[np.float64], name: str, features: int, samples: int) -> sparse.csr_array:
    """Sparse [samples, features] of the dense rows [features, samples]."""
    if cells.shape != (features, samples):
        raise TableError(
            f"{name}: dense data of shape {cells.shape}, expected {features} x {samples}; write the file again"
        )
    return sparse.csr_array(cells.T)


def _from_cells(
    cells: NDArray[np.float64], name: str, feature_ids: list[str], sample_ids: list[str]
) -> sparse.csr_array:
    """Sparse [samples, features] of triples [cells, (feature, sample, value)]."""
    features, samples = len(feature_ids), len(sample_ids)
    cells = cells.reshape(-1, 3) if cells.size == 0 else cells
    if cells.ndim != 2 or cells.shape[1] != 3:
        raise TableError(f"{name}: sparse data of shape {cells.shape}, expected triples of row, column, count")
    place, value = cells[:, :2], cells[:, 2]
    outside = ~((place >= 0) & (place < (features, samples)) & (place == np.floor(place))).all(axis=1)
    if outside.any():
        row, column = place[outside.argmax()]
        raise TableError(
            f"{name}: {int(np.count_nonzero(outside))} cells lie outside the {features} x {samples} table, first row "
            f"{row:g}, column {column:g}; the file is damaged: write or fetch it again"
        )
    row, column = place.astype(np.int64).T
    order = np.argsort(row * samples + column, kind="stable")
    row, column, value = row[order], column[order], value[order]
    twice = (row[1:] == row[:-1]) & (column[1:] == column[:-1])
    if twice.any():
        first = int(twice.argmax())
        raise TableError(
            f"{name}: {int(np.count_nonzero(twice))} cells are given more than once, first sample "
            f"{quote(sample_ids[column[first]])}, feature {quote(feature_ids[row[first]])}; keep one count each"
        )
    return sparse.csr_array((value, (column, row)), shape=(samples, features))
