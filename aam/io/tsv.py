"""Tab-separated grids: ids in the first row and column, numbers between. Classic tables and distance matrices.

`biom` would treat a last column with one invalid number as taxonomy and drop the sample; here only a column named as
taxonomy is left out. Ids stay text: `1.10` is not `1.1` and `NA` is an id.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from aam.errors import InputError, TableError
from aam.io.files import read_lines
from aam.io.raw_table import RawTable, check_shape
from aam.text import one_line, quote

if TYPE_CHECKING:
    import pandas as pd

TAXONOMY = {"taxonomy", "consensus lineage", "consensuslineage"}
"""Names, in lower case, of a last column that is not a sample."""
_CELLS_AT_ONCE = 1 << 22
"""Cells of one block, so that a large table is never dense in memory."""


def read_table_tsv(path: Path, name: str) -> RawTable:
    """Classic table: features are rows, samples are columns, `#` lines before the header are comments.

    Raises `TableError` for a file without such a header, rows of unequal length, and cells that are no numbers.
    """
    columns, skip = _header(path, name, TableError)
    has_taxonomy = bool(columns) and columns[-1].strip().lower() in TAXONOMY
    samples = columns[:-1] if has_taxonomy else columns
    feature_ids: list[str] = []
    pieces = []
    for ids, values in _rows(path, name, skip, samples, has_taxonomy):
        feature_ids += ids
        pieces.append(sparse.csr_array(values))
    check_shape(len(samples), len(feature_ids), name)
    return RawTable(sparse.vstack(pieces, format="csr").T.tocsr(), samples, feature_ids)


def read_square_tsv(path: Path, name: str, error: type[InputError]) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """Column ids, row ids and values [rows, columns] of a matrix whose first line is a tab and the column ids."""
    columns, skip = _header(path, name, error)
    row_ids: list[str] = []
    pieces = [np.empty((0, len(columns)))]
    for ids, values in _rows(path, name, skip, columns, False, error):
        row_ids += ids
        pieces.append(values)
    return columns, row_ids, np.concatenate(pieces)


def _header(path: Path, name: str, error: type[InputError]) -> tuple[list[str], int]:
    """Column ids of the header (the last leading `#` line with a tab, else the first line) and the lines to skip."""
    columns: list[str] = []
    skip = 0
    for number, line in read_lines(path, name, error):
        comment = line.startswith("#")
        if columns and not comment:
            break
        if "\t" in line:
            columns, skip = line.split("\t")[1:], number
        if line.strip() and not comment:
            break
    if not columns:
        raise error(
            f"{name} is not a table: no header of tab-separated ids found; expected BIOM (HDF5 or JSON), QIIME 2 .qza, "
            "or tab-separated text with ids in the first row and column"
        )
    return columns, skip


def _rows(
    path: Path, name: str, skip: int, columns: list[str], extra: bool, error: type[InputError] = TableError
) -> Iterator[tuple[list[str], NDArray[np.float64]]]:
    """Pieces of (row ids, values [rows, columns]); `extra` says that a column to leave out follows the named ones."""
    import pandas as pd  # a quarter of a second, and most tables are BIOM

    fields = 1 + len(columns) + extra
    types = {0: str, fields - 1: str} if extra else {0: str}
    try:
        with pd.read_csv(
            path, sep="\t", header=None, skiprows=skip, quoting=csv.QUOTE_NONE, na_filter=False, low_memory=False,
            dtype=types, chunksize=max(1, _CELLS_AT_ONCE // fields), encoding="utf-8-sig",
        ) as reader:  # fmt: skip
            for frame in reader:
                if frame.shape[1] != fields:
                    raise error(
                        f"{name}: rows of {frame.shape[1]} fields under a header of {fields}; give rows all columns"
                    )
                ids = frame[0].tolist()
                yield ids, _numbers(frame.iloc[:, 1 : 1 + len(columns)], ids, columns, name, error)
    except pd.errors.EmptyDataError:
        return
    except pd.errors.ParserError as fault:
        raise error(f"{name}: {one_line(fault)}; every row needs as many fields as the header") from fault
    except UnicodeDecodeError:
        for _ in read_lines(path, name, error):  # raises with the number of the line
            pass
        raise


def _numbers(
    frame: pd.DataFrame, ids: list[str], columns: list[str], name: str, error: type[InputError]
) -> NDArray[np.float64]:
    """Float64 values [rows, columns] of a frame; raises for the first cell that is not a number, naming its place."""
    import pandas as pd

    for place, column in enumerate(columns):
        if frame.dtypes.iloc[place].kind in "iuf":
            continue
        wrong = pd.to_numeric(frame.iloc[:, place].astype(str), errors="coerce").isna().to_numpy()
        if not wrong.any():  # whole numbers beyond 64 bits
            continue
        row = int(wrong.argmax())
        cell = str(frame.iloc[row, place])
        found = f"{quote(cell)} is not a number" if cell else "a cell is empty or missing"
        raise error(
            f"{name}: {found} in row {quote(ids[row])}, column {quote(column)}; expected a number in every cell"
        )
    return frame.to_numpy(dtype=np.float64)
