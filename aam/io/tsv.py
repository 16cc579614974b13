"""Tables of text: ids in the first row and column, numbers between. Classic tables and distance matrices.

`biom` would treat a last column with one invalid number as taxonomy and drop the sample; here only a column named as
taxonomy is left out. Ids stay text: `1.10` is not `1.1` and `NA` is an id.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from aam.errors import InputError, TableError
from aam.io.files import read_lines
from aam.io.layout import Layout, find_layout
from aam.io.mothur import is_compressed, read_compressed
from aam.io.raw_table import RawTable, check_shape
from aam.io.sequences import are_columns_dna
from aam.text import one_line, quote

if TYPE_CHECKING:
    import pandas as pd

METADATA = "; rows of samples look like metadata, which are given as --metadata, and the counts as --table"
_CELLS_AT_ONCE = 1 << 22
"""Cells of one block, so that a large table is never dense in memory."""
_WIDE_ROW = re.compile("in line ([0-9]+), saw ([0-9]+)")
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}([.'][0-9]{3})+")
"""A number of a program that separates columns by semicolons: there `1.000` may be a thousand."""


def read_table_tsv(path: Path, name: str) -> RawTable:
    """Classic table: features are rows, samples are columns, `#` lines before the header are comments.

    Also as R writes it, without a name above the ids, between commas, semicolons or blanks; with samples as rows, if
    the columns are named by DNA; and the count tables and .shared files of mothur. Raises `TableError` for a file
    without such a header, rows of unequal length, and cells that are no numbers.
    """
    if is_compressed(path):
        return read_compressed(path, name)
    layout = find_layout(path, name, TableError)
    row_ids, labels = list[str](), set[str]()
    pieces = []
    for ids, values, firsts in _rows(path, name, layout, TableError):
        row_ids += ids
        pieces.append(sparse.csr_array(values))
        labels |= set(firsts) if layout.shared else set()
    if len(labels) > 1:
        raise TableError(
            f"{name}: a .shared file of mothur with {len(labels)} labels, such as {quote(min(labels))} and "
            f"{quote(max(labels))}, each with the same samples; give one of them (get.label)"
        )
    columns = list(layout.columns.values())
    samples, features = (row_ids, columns) if layout.shared else (columns, row_ids)
    check_shape(len(samples), len(features), name)
    values = sparse.vstack(pieces, format="csr")
    if layout.shared or are_columns_dna(columns, row_ids):  # samples are rows, as in the tables of DADA2
        return RawTable(values, row_ids, columns)
    return RawTable(values.T.tocsr(), columns, row_ids)


def read_square_tsv(path: Path, name: str, error: type[InputError]) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """Column ids, row ids and values [rows, columns] of a matrix whose first line has the column ids."""
    layout = find_layout(path, name, error)
    row_ids: list[str] = []
    pieces = [np.empty((0, len(layout.columns)))]
    for ids, values, _ in _rows(path, name, layout, error):
        row_ids += ids
        pieces.append(values)
    return list(layout.columns.values()), row_ids, np.concatenate(pieces)


def _rows(
    path: Path, name: str, layout: Layout, error: type[InputError]
) -> Iterator[tuple[list[str], NDArray[np.float64], list[str]]]:
    """Pieces of (row ids, values [rows, columns], first cells of the rows)."""
    import pandas as pd  # a quarter of a second, and most tables are BIOM

    texts = set(range(layout.fields)) - (set() if layout.separator == ";" else set(layout.columns))
    quoting = csv.QUOTE_MINIMAL if layout.quoted else csv.QUOTE_NONE
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as handle:
            for _ in range(layout.skip):  # by pandas, a quote in a comment would begin a cell of many lines
                handle.readline()
            with pd.read_csv(
                handle, sep=layout.separator, header=None, quoting=quoting, na_filter=False, low_memory=False,
                dtype=dict.fromkeys(texts, str), chunksize=max(1, _CELLS_AT_ONCE // layout.fields),
            ) as reader:  # fmt: skip
                for frame in reader:
                    if frame.shape[1] != layout.fields:
                        raise error(
                            f"{name}: rows of {frame.shape[1]} fields under a header of {layout.fields}; give rows all "
                            "columns"
                        )
                    ids = frame[layout.ids].tolist()
                    _refuse_unnamed(frame, ids, layout, name, error)
                    yield ids, _numbers(frame[list(layout.columns)], ids, layout, name, error), frame[0].tolist()
    except pd.errors.EmptyDataError:
        return
    except pd.errors.ParserError as fault:
        if found := _WIDE_ROW.search(str(fault)):
            raise error(
                f"{name}: line {layout.skip + int(found[1])} has {found[2]} fields under a header of {layout.fields}; "
                "every row needs as many fields as the header"
            ) from fault
        raise error(f"{name}: {one_line(fault)}; every row needs as many fields as the header") from fault
    except UnicodeDecodeError:
        for _ in read_lines(path, name, error):  # raises with the number of the line
            pass
        raise


def _refuse_unnamed(frame: pd.DataFrame, ids: list[str], layout: Layout, name: str, error: type[InputError]) -> None:
    """Refuse a value in the last column if that has no name."""
    if layout.blank is None:
        return
    filled = frame[layout.blank].fillna("").astype(str).str.strip() != ""
    if filled.any():
        row = int(filled.to_numpy().argmax())
        raise error(
            f"{name}: column {layout.blank + 1} has no name, but {quote(str(frame[layout.blank].iloc[row]))} in row "
            f"{quote(ids[row])}; name it, or remove it"
        )


def _numbers(
    frame: pd.DataFrame, ids: list[str], layout: Layout, name: str, error: type[InputError]
) -> NDArray[np.float64]:
    """Float64 values [rows, columns] of a frame; raises for the first cell that is not a number, naming its place."""
    import pandas as pd

    values = np.empty(frame.shape)
    for number, (place, column) in enumerate(layout.columns.items()):
        found = frame[place]
        if found.dtype.kind not in "iuf":
            cells = found.fillna("").astype(str)
            found = pd.to_numeric(cells, errors="coerce")  # among others whole numbers beyond 64 bits
            wrong = found.isna().to_numpy()
            if layout.separator == ";":
                wrong = wrong | cells.str.strip().str.fullmatch(_THOUSANDS).to_numpy(bool)
            if wrong.any():
                row = int(wrong.argmax())
                text = (
                    f"{name}: {_fault_of(cells.iloc[row])} in row {quote(ids[row])}, column {quote(column)}; expected "
                    "a number in every cell, with '.' for decimals and nothing between thousands, and no other columns"
                )
                raise error(text + METADATA * (layout.of_samples and error is TableError))
        values[:, number] = found
    return values


def _fault_of(cell: str) -> str:
    """What is wrong with a cell that is no number."""
    if not cell.strip():
        return "a cell is empty or missing"
    if _THOUSANDS.fullmatch(cell.strip()):
        return f"{quote(cell)} may be thousands or decimals"
    if any(letter.isdigit() and not letter.isascii() for letter in cell):
        return f"{quote(cell)} has digits of another script"
    return f"{quote(cell)} is not a number"
