"""Rows of a metadata file by the conventions of QIIME 2, in one pass that names lines.

scikit-bio reads the same format, but takes minutes for 50,000 columns, reads digits of all scripts as numbers and does
not say in which line it found what it refuses.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from aam.errors import MetadataError
from aam.io.files import check_file, read_lines
from aam.io.kinds import KINDS, sniff
from aam.text import name_few, quote

MISSING = {"", "na", "nan", "n/a", "#n/a", "null", "not applicable", "not available", "not collected", "not provided",
           "missing", "restricted access"}  # fmt: skip
"""Missing values, in lower case: blanks, the words of INSDC, and those that R, pandas, databases and Excel write."""
MISSING_BECAUSE = "missing:"
"""Prefix of the INSDC terms that give a reason, such as `missing: control sample`."""
CATEGORICAL, NUMERIC = "categorical", "numeric"
"""What a file may say of a column in a row that begins with `#q2:types`."""
TYPES = ("#q2:types", "#sk:types")
SAYINGS = (*TYPES, "#q2:missing", "#sk:missing")
"""First cells of rows that say something of the columns; what they say is missing is so here for all columns."""
ID_NAMES = {"id", "sampleid", "sample id", "sample-id", "featureid", "feature id", "feature-id"}
ID_NAMES_AS_WRITTEN = {"#SampleID", "#Sample ID", "#OTUID", "#OTU ID", "sample_name"}
"""Names of the column of ids, in any case or as written here."""
TABLES = ("zip", "hdf5", "json")
"""Kinds of files that feature tables come in, among them artifacts of QIIME 2."""
NAMED = 5
"""Columns that a message names."""


@dataclass
class MetadataRows:
    """Samples by row: `ids` [N], `cells` [N, C] of text or NaN, names of `columns` [C], `types` that are declared."""

    ids: list[str] = field(default_factory=list)
    cells: list[list[object]] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)


class KnownCells(dict[str, object]):
    """A cell as written -> its text without blanks around it, or NaN; each distinct text is looked at once."""

    def __missing__(self, cell: str) -> object:
        text = cell.strip()
        missing = text.lower() in MISSING or text.lower().startswith(MISSING_BECAUSE)
        found = self[cell] = math.nan if missing else text
        return found


def read_rows(path: Path) -> MetadataRows:
    """Read a metadata file; raises `MetadataError`, in one line with file and line, for what is not its format."""
    check_file(path, "--metadata", MetadataError)
    found, lines, cell_of = MetadataRows(), dict[str, int](), KnownCells()
    reader = csv.reader(lines_of(path), dialect="excel-tab", strict=True)
    header_seen, above = False, 0
    try:
        for row in reader:
            above = reader.line_num
            first = row[0].strip() if row else ""
            if not first and not any(map(str.strip, row)):
                continue
            where = f"{path}: line {reader.line_num}"
            if not header_seen:
                if is_header(first):
                    found.columns, header_seen = read_header(row, where), True
                elif not first.startswith("#"):
                    refuse_header(first, path)
            elif first.startswith("#"):
                say_of_columns(found, row, first, where)
            else:
                add_sample(found, row, first, where, cell_of)
                if first in lines:
                    raise MetadataError(
                        f"{where}: {quote(first)} stands in line {lines[first]} too; ids must be unique"
                    )
                lines[first] = reader.line_num
    except csv.Error as fault:
        raise MetadataError(f"{path}: line {above + 1}: {fault}; correct the quotes of this line") from fault
    if not found.ids:
        what = "no sample below its header" if header_seen else "no header"
        raise MetadataError(f"{path} has {what}; expected a line with 'sample-id' and names of columns, then samples")
    return found


def lines_of(path: Path) -> Iterator[str]:
    """The lines of the file; raises `MetadataError` for commas or semicolons in place of tabs."""
    if (kind := sniff(path)) in TABLES:
        raise MetadataError(
            f"{path} is {KINDS[kind].words}, expected sample metadata as tab-separated text; give a feature table as "
            "--table, and the metadata here"
        )
    begun = False
    for _, line in read_lines(path, str(path), MetadataError):
        if not begun and (first := line.strip()):
            begun = True
            if "\t" not in first and (sign := next((sign for sign in ",;" if sign in first), None)):
                raise MetadataError(
                    f"{path}: the first line, {quote(first)}, has {sign!r} and no tab; expected columns between tabs: "
                    "export it as tab-separated text"
                )
        yield f"{line}\n"


def is_header(name: str) -> bool:
    """Whether a first cell is a name of the column of ids."""
    return name in ID_NAMES_AS_WRITTEN or name.lower() in ID_NAMES


def refuse_header(first: str, path: Path) -> None:
    """Raise `MetadataError` for a first line that is no header."""
    raise MetadataError(f"{path}: the first column is named {quote(first)}, expected 'sample-id'; rename it")


def read_header(row: list[str], where: str) -> list[str]:
    """The names of the columns; raises `MetadataError` for names that are empty, repeat, or are kept for the ids."""
    names = [cell.strip() for cell in row]
    while not names[-1]:
        names.pop()
    columns = names[1:]
    if "" in columns:
        raise MetadataError(f"{where}: column {columns.index('') + 2} has no name; name it, or remove it")
    if len(set(columns)) < len(columns):
        twice = [quote(name) for name, times in Counter(columns).items() if times > 1]
        raise MetadataError(f"{where}: found more than once: {name_few(twice, NAMED)}; column names must be unique")
    if kept := next((name for name in columns if is_header(name)), None):
        raise MetadataError(f"{where}: a column is named {quote(kept)}, which is kept for the ids; rename it")
    return columns


def say_of_columns(found: MetadataRows, row: list[str], first: str, where: str) -> None:
    """Take what a row that begins with `#` says of the columns; other such rows are remarks.

    Raises `MetadataError` for a second header, words that are not known, and such a row below samples.
    """
    word = first.split(" ")[0]
    if is_header(first):
        refuse_second_header(first, where)
    if not word.startswith(("#q2:", "#sk:")):
        return
    if word not in SAYINGS:
        raise MetadataError(f"{where}: {quote(word)} is not known, expected one of {', '.join(SAYINGS)}")
    if found.ids:
        raise MetadataError(f"{where}: {quote(word)} stands below samples, expected right below the header; move it")
    if word not in TYPES:
        return
    for name, cell in zip(found.columns, row[1:], strict=False):
        kind = cell.strip().lower()
        if kind not in ("", CATEGORICAL, NUMERIC):
            raise MetadataError(
                f"{where}: column {quote(name)} is of type {quote(cell.strip())}, expected {CATEGORICAL} or {NUMERIC}"
            )
        if kind:
            found.types[name] = kind


def refuse_second_header(first: str, where: str) -> None:
    """Raise `MetadataError` for a sample that is named as the column of ids is."""
    raise MetadataError(f"{where}: a sample is named {quote(first)}, which is kept for the header; rename or remove it")


def add_sample(found: MetadataRows, row: list[str], first: str, where: str, cell_of: KnownCells) -> None:
    """Add the row of a sample; raises `MetadataError` for one without id or with more cells than columns."""
    if is_header(first):
        refuse_second_header(first, where)
    if not first:
        raise MetadataError(
            f"{where}: the first cell is empty, expected the id of a sample; fill it, or remove the line"
        )
    width = len(found.columns)
    if len(row) > 1 + width and any(cell.strip() for cell in row[1 + width :]):
        raise MetadataError(
            f"{where} (sample {quote(first)}): found {len(row)} cells, expected at most {1 + width} as in the header; "
            "remove tabs inside cells"
        )
    cells = [cell_of[cell] for cell in row[1 : 1 + width]]
    cells += [math.nan] * (width - len(cells))
    found.ids.append(first)
    found.cells.append(cells)
