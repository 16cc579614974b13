"""BIOM files of JSON (version 1), dense and sparse, decided by the shape of the data and not by one spelling.

Packages of R write numbers and words as lists of one, and `matrix_type` in several ways or not at all. Cells are
checked before they become a matrix: `biom` sums a cell that is given twice and counts negative positions from the end.
"""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from aam.errors import TableError
from aam.io.raw_table import RawTable, check_shape
from aam.text import one_line, quote


def read_biom_json(path: Path, name: str) -> RawTable:
    """Table of a BIOM 1 file; `name` stands for the file in messages. Raises `TableError`."""
    content = _load(path, name)
    try:
        sample_ids = [_id(column["id"]) for column in content["columns"]]
        feature_ids = [_id(row["id"]) for row in content["rows"]]
        declared = str(_unboxed(content.get("matrix_type", ""))).strip().lower()
        cells = _cells(content["data"])
        features, samples = (_size(size) for size in np.asarray(content["shape"]).ravel().tolist())
    except (KeyError, TypeError, AttributeError) as fault:
        raise TableError(
            f"{name} is JSON but not a BIOM table ({one_line(fault)} is missing or has another form); give a BIOM table"
        ) from fault
    except (ValueError, OverflowError) as fault:
        raise TableError(
            f"{name} is damaged JSON, not a BIOM table ({one_line(fault)}); write or fetch the file again"
        ) from fault
    check_shape(samples, features, name)
    if (features, samples) != (len(feature_ids), len(sample_ids)):
        raise TableError(
            f"{name}: shape {features} x {samples}, but {len(feature_ids)} rows and {len(sample_ids)} columns have "
            "ids; the file is damaged: write or fetch it again"
        )
    if _is_dense(cells, (features, samples), declared, name):
        return RawTable(sparse.csr_array(cells.T), sample_ids, feature_ids)
    return RawTable(_from_triples(cells, name, feature_ids, sample_ids), sample_ids, feature_ids)


def _load(path: Path, name: str) -> dict[str, Any]:
    """The object of the file; refuses a key that is given twice, of which the parser would keep the last."""

    def refuse(literal: str) -> NoReturn:
        raise TableError(f"{name}: a count is {literal}; expected whole numbers >= 0; replace missing values by counts")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise TableError(f"{name}: the key {quote(twice)} is given twice in one JSON object; keep one")
        return found

    try:
        content = json.loads(path.read_bytes(), parse_constant=refuse, object_pairs_hook=unique)
    except TableError:
        raise
    except (ValueError, RecursionError) as fault:
        raise TableError(
            f"{name} is damaged JSON, not a BIOM table ({one_line(fault)}); write or fetch the file again"
        ) from fault
    if not isinstance(content, dict):
        raise TableError(f"{name} is JSON but not a BIOM table (a list, expected an object); give a BIOM table")
    return content


def _unboxed(found: Any) -> Any:
    """A value, also if it is written as a list of one, as jsonlite of R does."""
    return found[0] if isinstance(found, list) and len(found) == 1 else found


def _id(found: Any) -> str:
    """An id as text; some writers give whole numbers."""
    found = _unboxed(found)
    if isinstance(found, bool) or not isinstance(found, str | int):
        raise TypeError(f"id {found!r}")
    return str(found)


def _size(found: Any) -> int:
    if isinstance(found, bool) or int(found) != found:
        raise ValueError(f"size {found!r}")
    return int(found)


def _cells(data: Any) -> NDArray[np.float64]:
    """The data as an array of numbers; refuses texts, which numpy would convert, and lists of unlike lengths."""
    if not isinstance(data, list):
        raise TypeError(f"data {type(data).__name__}")
    cells = np.asarray(data) if data else np.empty((0, 3))
    rows = (row if isinstance(row, list) else [row] for row in data)
    if cells.dtype.kind in "USb" or bool in set(map(type, chain.from_iterable(rows))):  # numpy reads true as 1
        raise ValueError("data of texts or truth values, expected numbers")
    if cells.dtype.kind == "O":  # null, or whole numbers beyond 64 bits
        odd = next((cell for cell in cells.ravel() if isinstance(cell, str | bool | list | dict)), None)
        if odd is not None:
            raise ValueError(f"data with {odd!r:.40}, expected numbers")
    cells = cells.astype(np.float64)
    return cells[:, :, 0] if cells.ndim == 3 and cells.shape[2] == 1 else cells


def _is_dense(cells: NDArray[np.float64], shape: tuple[int, int], declared: str, name: str) -> bool:
    """Whether the data are rows of all counts of a table [features, samples], not triples; by their shape.

    With three samples both may fit: then `declared`, the word of `matrix_type`, decides, or that they cannot be
    triples of this table. Raises `TableError` for data that are neither, and for those that may be both.
    """
    dense, triples = cells.shape == shape, cells.ndim == 2 and cells.shape[1] == 3
    if not dense and (not triples or declared == "dense" and shape[1] == 3):  # then it may lack rows of counts
        words = {"dense": "dense data", "sparse": "sparse data"}.get(declared, "data")
        raise TableError(
            f"{name}: {words} of shape {cells.shape}, expected {shape[0]} x {shape[1]} counts, or triples of row, "
            "column, count; write the file again"
        )
    if dense and triples and declared not in ("dense", "sparse"):
        if not (_outside(cells, shape).any() or len(np.unique(cells[:, :2], axis=0)) < len(cells)):
            raise TableError(
                f"{name}: matrix_type is {quote(declared)} and the data may be {shape[0]} x {shape[1]} counts as well "
                'as triples of row, column, count; write the file with "matrix_type": "dense" or "sparse"'
            )
        return True
    return declared == "dense" if dense and triples else dense


def _outside(cells: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Which triples [n, 3] name no cell of a table of this shape."""
    place = cells[:, :2]
    return ~((place >= 0) & (place < shape) & (place == np.floor(place))).all(axis=1)


def _from_triples(
    cells: NDArray[np.float64], name: str, feature_ids: list[str], sample_ids: list[str]
) -> sparse.csr_array:
    """Sparse [samples, features] of triples [cells, (feature, sample, value)]."""
    features, samples = len(feature_ids), len(sample_ids)
    outside = _outside(cells, (features, samples))
    place, value = cells[:, :2], cells[:, 2]
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
