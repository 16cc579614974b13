"""How a table of text is written: separator, quotes, header, and which columns hold ids, numbers, or neither."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aam.errors import InputError
from aam.io.files import read_lines
from aam.text import quote

SEPARATORS = "\t;, "
"""In the order in which they are tried; one that another also fits is never reached."""
TAXONOMY = {"taxonomy", "consensuslineage", "lineage", "taxon", "confidence"}
"""Names, in lower case and without blanks, points and `_`, of columns that are no sample."""
_SAMPLES = re.compile(r"#?sample[ _.-]*(id|name)", re.IGNORECASE)
_CORNER = re.compile(
    r"#.*|(feature|otu|zotu|asv|sv|sequence|seq|sample|row|group|representative|taxon|taxa|variant)?[ _.-]*"
    r"(id|name|table|sequence|label)?s?|index|x|v1|unnamed: 0",
    re.IGNORECASE,
)
"""Names of the column of ids. A header that is one name short and begins otherwise lacks this name, as R writes it."""
_NUMBER = re.compile(r"\s*[+-]?[0-9]+([.,][0-9]*)?([eE][+-]?[0-9]+)?\s*")


@dataclass(frozen=True)
class Layout:
    """How the rows of a text are written: `skip` lines come before them, each has `fields` cells.

    `ids`: the position of the ids of rows. `columns`: the position and name of each column of numbers. `blank`: the
    position of a last column without a name, which has to be empty. `shared`: the text is a .shared file of mothur,
    whose rows are samples. `of_samples`: the name above the ids is that of samples.
    """

    separator: str
    quoted: bool
    skip: int
    fields: int
    ids: int
    columns: dict[int, str]
    blank: int | None
    shared: bool
    of_samples: bool


def find_layout(path: Path, name: str, error: type[InputError]) -> Layout:
    """The layout of a text by its header and first row; raises `error` for a text that is no table.

    The header is the last leading `#` line with the separator, else the first line.
    """
    comment, lines = _first_lines(path, name, error)
    header, first = lines[0], lines[1]
    for (skip, text), (_, row) in ((comment, header), (header, first)):
        for separator in SEPARATORS:
            if _separates(separator, text, row):
                return _layout(separator, skip, text, row, name, error)
    raise error(
        f"{name} is not a table: no header of tab-separated ids found; expected BIOM (HDF5 or JSON), QIIME 2 .qza, "
        "or tab-separated text with ids in the first row and column"
    )


def _first_lines(path: Path, name: str, error: type[InputError]) -> tuple[tuple[int, str], list[tuple[int, str]]]:
    """The last leading `#` line and the first two other lines that are not blank, each with its number."""
    comments, lines = [(0, "")], list[tuple[int, str]]()
    for number, line in read_lines(path, name, error):
        if "\r" in line:
            raise error(f"{name}: line {number} has a carriage return inside; end lines by a line feed, as Unix does")
        if line.startswith("#") and not lines:
            comments.append((number, line))
        elif line.strip():
            lines.append((number, line))
        if len(lines) == 2:
            break
    with_tab = [found for found in comments if "\t" in found[1]]
    named = [found for found in with_tab if not _holds_numbers(found[1].split("\t"))]  # others may be rows of an id #x
    return (named or with_tab or comments)[-1], [*lines, (0, ""), (0, "")]


def _holds_numbers(cells: Sequence[str]) -> bool:
    """Whether all cells but the first are numbers, as in a row."""
    return all(map(_NUMBER.fullmatch, cells[1:]))


def split_line(line: str, separator: str, quoted: bool) -> list[str]:
    """The cells of one line."""
    if not quoted:
        return line.split(separator)
    try:
        return next(csv.reader([line], delimiter=separator), []) or [line]
    except csv.Error:  # a carriage return, or a very long cell
        return [line]


def _separates(separator: str, header: str, row: str) -> bool:
    """Whether a separator makes a header and a row of these lines.

    A tab in the header suffices, so that messages can name the faults of such a table. Others have to give as many
    cells in both, or one more in the row, and blanks and headers of one name also numbers.
    """
    if separator == "\t" and separator in header:
        return True
    names, cells = split_line(header, separator, True), split_line(row, separator, True)
    if not header.strip() or len(cells) < 2 or len(cells) not in (len(names), len(names) + 1):
        return False
    return (separator in header and separator != " ") or _holds_numbers(cells)


def _layout(separator: str, skip: int, header: str, row: str, name: str, error: type[InputError]) -> Layout:
    """The layout of the rows after line `skip`, the header, of which `row` is the first."""
    quoted = separator != "\t" or _is_quoted(header)
    names, cells = split_line(header, separator, quoted), split_line(row, separator, quoted)
    has_corner = _CORNER.fullmatch(names[0].strip()) is not None
    if len(cells) == len(names) + 1 and not has_corner:
        names = ["", *names]  # as write.table of R writes it
    elif len(cells) == len(names) + 1 and not cells[-1].strip():
        names = [*names, ""]  # as mothur ends its rows
    elif not has_corner and _holds_numbers(names):
        raise error(f"{name}: the first line, {quote(header)}, holds numbers, expected ids of columns; add a header")
    mothur = [text.strip().lower() for text in names[:3]]
    shared = mothur[:2] == ["label", "group"] and mothur[2:] != [] and mothur[2].startswith("num")
    last = len(names) - 1
    blank = last if last > 1 and not names[last].strip() else None
    columns = {
        place: text
        for place, text in enumerate(names)
        if place >= (3 if shared else 1) and place != blank and re.sub(r"[\s._-]", "", text).lower() not in TAXONOMY
    }
    return Layout(
        separator, quoted, skip, len(names), int(shared), columns, blank, shared, _SAMPLES.match(names[0]) is not None
    )


def _is_quoted(header: str) -> bool:
    """Whether all names of a header between tabs are in double quotes, as R writes text."""
    names: Sequence[str] = [name for name in header.split("\t") if name]
    return all(len(name) > 1 and name[0] == name[-1] == '"' for name in names)
