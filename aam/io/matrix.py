"""Precomputed distances between samples: .npy, HDF5 as `ssu` writes it, text as scikit-bio writes it, QIIME 2 .qza."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray

from aam.errors import MatrixError
from aam.io.hdf5 import check_unpacked_size, dataset, open_hdf5, read_strings
from aam.io.ids import check_ids, read_ids
from aam.io.kinds import sniff
from aam.io.output import ids_path
from aam.io.packed import plain_file
from aam.io.tsv import read_square_tsv
from aam.text import one_line, quote

OPTION, MATRIX_TYPE = "--unifrac-matrix", "DistanceMatrix"
SYMMETRY_TOLERANCE = 1e-6
"""Asymmetry, diagonal and excess over the largest value that single precision and rounded text may cause."""
_ROWS_AT_ONCE = 512
"""Rows compared with their transpose at a time, so that checking takes little memory."""


@dataclass(frozen=True)
class DistanceRecord:
    """Distances `values` [n, n] (symmetric, zero diagonal, finite, >= 0) between the samples `ids` [n]."""

    ids: list[str]
    values: NDArray[np.float64]


def read_matrix(path: Path | str, largest: float = math.inf) -> DistanceRecord:
    """Read and check a distance matrix; the content decides on the format, not the name.

    Raises `MatrixError` naming the file and the pair of samples, also for distances above the `largest` that there can
    be: 1 for unweighted, normalised and generalised UniFrac.
    """
    path = Path(path)
    with plain_file(path, OPTION, MATRIX_TYPE) as plain:
        kind = sniff(plain)
        if kind == "hdf5":
            ids, values = _from_hdf5(plain, str(path))
        elif kind == "npy":
            ids, values = _from_npy(plain, path)
        else:
            ids, values = _from_text(plain, str(path))
    check_ids(ids, "sample id", str(path), MatrixError)
    if values.shape != (len(ids), len(ids)):
        raise MatrixError(
            f"{path}: matrix of shape {values.shape} with {len(ids)} ids; expected one row and column for each id"
        )
    _check_values(ids, values, str(path), largest)
    return DistanceRecord(ids, values)


DAMAGED = (
    *(ValueError, OSError, EOFError, SyntaxError, TokenError, TypeError),
    *(MemoryError, RecursionError, OverflowError),
)
"""What numpy raises for the head of a damaged .npy."""


def _from_npy(plain: Path, path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Array of numbers and the ids beside the given file; mapped first, so that a false shape costs no memory."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of headers that Python 2 wrote, and of odd ones
            mapped = np.load(plain, mmap_mode="r", allow_pickle=False)
    except DAMAGED as fault:
        raise MatrixError(f"{path} is no sound .npy array of numbers ({one_line(fault)}); write it again") from fault
    if mapped.dtype.kind not in "iuf":
        raise MatrixError(f"{path} holds {mapped.dtype}, expected numbers; write it again")
    return read_ids(ids_path(path), MatrixError, f"the ids of {path}"), np.array(mapped, dtype=np.float64)


def _from_hdf5(path: Path, name: str) -> tuple[list[str], NDArray[np.float64]]:
    """`matrix` and `order` of an HDF5 file, the names that `ssu` and `unifrac` use."""
    with open_hdf5(path, name, MatrixError) as source:
        values, order = dataset(source, "matrix", "iuf", dimensions=2), dataset(source, "order", "S")
        check_unpacked_size(source, [values, order])
        return read_strings(source, order), values[:].astype(np.float64, copy=False)


def _from_text(path: Path, name: str) -> tuple[list[str], NDArray[np.float64]]:
    """Tab-separated matrix whose rows and columns carry the same ids in the same order."""
    columns, rows, values = read_square_tsv(path, name, MatrixError)
    if columns != rows:
        raise MatrixError(
            f"{name}: {len(rows)} row ids and {len(columns)} column ids that differ; "
            "expected the same ids in the same order"
        )
    return columns, values


def _check_values(ids: list[str], values: NDArray[np.float64], name: str, largest: float) -> None:
    """Raise for the first block of rows with a value that is not a valid distance."""
    for start in range(0, len(ids), _ROWS_AT_ONCE):
        block = values[start : start + _ROWS_AT_ONCE]
        mirror = values[:, start : start + _ROWS_AT_ONCE].T
        own = np.arange(start, start + len(block))
        wrong = {
            "not finite": ~np.isfinite(block),
            "negative": block < 0,
            f"above {largest:g}, the most that this UniFrac can be": block > largest + SYMMETRY_TOLERANCE,
            "not the same in both directions": ~np.isclose(block, mirror, rtol=0, atol=SYMMETRY_TOLERANCE),
            "not 0 from a sample to itself": (block > SYMMETRY_TOLERANCE) & (np.arange(len(ids)) == own[:, None]),
        }
        for what, where in wrong.items():
            if where.any():
                row, column = np.argwhere(where)[0]
                raise MatrixError(
                    f"{name}: distance {block[row, column]:g} between {quote(ids[start + row])} and "
                    f"{quote(ids[column])} is "
                    f"{what}; compute the matrix again"
                )
