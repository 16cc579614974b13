"""Tables of results as tab-separated text. Texts that a spreadsheet would run as formulas are escaped in the files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aam.atomic import replace_file
from aam.io.output import open_text

if TYPE_CHECKING:
    import pandas as pd

FORMULA = re.compile(r"'*([=@]|[+-].*[(|!])")
"""Beginning of a text that a spreadsheet runs, or that is escaped; `-`, `+/+` and `-80C`, names of classes, do not."""


def escape(cell: Any) -> Any:
    """A text that would run as a formula with a `'` in front; all else as it is."""
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell


def unescape(cell: Any) -> Any:
    """What `escape` was given."""
    return cell[1:] if isinstance(cell, str) and cell.startswith("'") and FORMULA.match(cell[1:]) else cell


EXACT = 15
"""Digits with which every number of a user's file comes back as it was: what a double holds of a decimal number."""


def write_frame(path: Path, frame: pd.DataFrame | pd.Series, digits: int = 6) -> None:
    """Write a table as tab-separated text, numbers with so many digits; ids and other texts are escaped."""
    table = (frame.to_frame() if frame.ndim == 1 else frame).map(escape)
    table.index = table.index.map(escape)
    table.index.name = frame.index.name
    with open_text(path) as file:
        table.to_csv(file, sep="\t", float_format=f"%.{digits}g", lineterminator="\n")


def replace_frame(path: Path, frame: pd.DataFrame | pd.Series) -> None:
    """Write a table that is read back, in place of an older file: whole or not at all, numbers `EXACT`."""
    with replace_file(path) as partial:
        write_frame(partial, frame, EXACT)


def read_frame(path: Path, **options: Any) -> pd.DataFrame:
    """A table that `write_frame` wrote, its texts as they were; `options` are those of `pandas.read_csv`."""
    import pandas as pd

    return pd.read_csv(path, sep="\t", keep_default_na=False, **options).map(unescape)
