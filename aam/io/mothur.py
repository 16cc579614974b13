"""The compressed count tables of mothur: pairs of a group's number and its reads, behind each sequence's total."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from scipy import sparse

from aam.errors import TableError
from aam.io.files import read_lines
from aam.io.raw_table import RawTable, check_shape
from aam.text import quote

_BEGINNING = b"#compressed format"
_PAIR = re.compile("([0-9]{1,9}),([0-9]{1,12})")
_GROUP = re.compile("#?([0-9]{1,9}),(.+)")


def is_compressed(path: Path) -> bool:
    """Whether a file is such a table."""
    with path.open("rb") as handle:
        return handle.read(len(_BEGINNING)).lower() == _BEGINNING


def read_compressed(path: Path, name: str) -> RawTable:
    """The counts of a compressed count table; the totals are checked and left out. Raises `TableError`."""
    groups, feature_ids = list[str](), list[str]()
    cells = list[tuple[int, int, float]]()
    for number, line in read_lines(path, name, TableError):
        row = line.rstrip("\t ").split("\t")
        if line.startswith("#"):
            if _GROUP.fullmatch(row[0]):
                groups = _groups(row, f"{name}: line {number}")
        elif line.strip() and row[0].lower() != "representative_sequence":
            pairs = [_PAIR.fullmatch(cell) for cell in row[2:]]
            found = {int(pair[1]) - 1: int(pair[2]) for pair in pairs if pair and 1 <= int(pair[1]) <= len(groups)}
            if len(found) < len(pairs):
                raise TableError(
                    f"{name}: line {number} holds {quote(' '.join(row[2:]))}, expected pairs of a group (1 to "
                    f"{len(groups)}, each once) and its reads, such as 1,6; write the table again"
                )
            if row[1:2] != [str(sum(found.values()))]:
                raise TableError(
                    f"{name}: line {number} has {sum(found.values())} reads in all, expected its total, "
                    f"{quote(''.join(row[1:2]))}; write the table again"
                )
            cells += [(group, len(feature_ids), reads) for group, reads in found.items()]
            feature_ids.append(row[0])
    check_shape(len(groups), len(feature_ids), name)
    rows, columns, values = (list(some) for some in zip(*cells, strict=True)) if cells else ([], [], [])
    counts = sparse.csr_array((np.array(values, np.float64), (rows, columns)), shape=(len(groups), len(feature_ids)))
    return RawTable(counts, groups, feature_ids)


def _groups(row: list[str], place: str) -> list[str]:
    """The names of the groups, of a line such as `#1,A  2,B`."""
    groups = list[str]()
    for cell in row:
        found = _GROUP.fullmatch(cell)
        if found is None or int(found[1]) != len(groups) + 1:
            raise TableError(f"{place} holds {quote(cell)}, expected group {len(groups) + 1} as number,name")
        groups.append(found[2])
    return groups
