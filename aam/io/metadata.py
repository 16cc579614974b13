"""Sample metadata by the conventions of QIIME 2, read by scikit-bio; ids stay text."""

from __future__ import annotations

import csv
import difflib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.errors import MetadataError
from aam.io.files import check_file, read_lines
from aam.text import counted, name_few, quote

if TYPE_CHECKING:
    import pandas as pd

MISSING = {"", "na", "nan", "n/a", "#n/a", "null", "not applicable", "not available", "not collected", "not provided",
           "missing", "restricted access"}  # fmt: skip
"""Missing values, in lower case: blanks, the words of INSDC, and those that R, pandas, databases and Excel write."""
MISSING_BECAUSE = "missing:"
"""Prefix of the INSDC terms that give a reason, such as `missing: control sample`."""
IN_PLAIN_WORDS = {
    "Found unrecognized ID column name '(.*?)' while": "the first column is named {}, expected 'sample-id'; rename it",
    "Metadata column name '(.*?)' conflicts with": "a column is named {}, which is kept for the ids; rename it",
}
"""Long messages of scikit-bio for the commonest faults, such as tables that pandas has written, and ours."""
COLUMNS_LISTED = 10
"""Columns that a message lists where the requested one is absent."""


class Metadata(NamedTuple):
    """Columns of text by sample id, the file or files they came from in words, and the rows of these files."""

    frame: pd.DataFrame
    source: Path | str
    entries: int

    @classmethod
    def read(cls, path: Path) -> Metadata:
        """The metadata of one file; raises `MetadataError` as `read_metadata`."""
        frame = read_text(path)
        return cls(frame, path, len(frame))


def read_metadata(path: Path | str) -> pd.DataFrame:
    """Columns of a metadata file, indexed by sample id (text); numbers are float64, the rest text.

    Missing values (`MISSING`) are NaN, and leave a column of numbers one of numbers.
    Raises `MetadataError`, in one line, for what scikit-bio refuses: no id column, ids or columns that repeat, rows
    longer than the header; and for text that is not UTF-8.
    """
    return _load(path, None)


def read_text(path: Path | str) -> pd.DataFrame:
    """As `read_metadata`, but all columns are text as written: `1.10` and `00123` stay what they are."""
    return _load(path, dict.fromkeys(map(str, read_metadata(path).columns), "categorical"))


def _is_missing(value: object) -> bool:
    text = str(value).strip().lower()
    return text in MISSING or text.startswith(MISSING_BECAUSE)


def _load(path: Path | str, types: dict[str, str] | None) -> pd.DataFrame:
    """The frame that scikit-bio reads, with the columns named in `types` read as these types."""
    from skbio.metadata import SampleMetadata
    from skbio.metadata.io import MetadataFileError

    path = Path(path)
    check_file(path, "--metadata", MetadataError)
    first = ""
    for _, line in read_lines(path, str(path), MetadataError):  # names lines that are not UTF-8, as scikit-bio does not
        first = first or line.strip()
    if "\t" not in first and (sign := next((sign for sign in ",;" if sign in first), None)):
        raise MetadataError(
            f"{path}: the first line, {quote(first)}, has {sign!r} and no tab; expected columns between tabs: export "
            "it as tab-separated text"
        )
    try:
        read = SampleMetadata.load(str(path), column_types=types, default_missing_scheme="INSDC:missing")
    except (MetadataFileError, csv.Error) as fault:
        reason = " ".join(str(fault).split("\n\nThere may be more errors")[0].split())
        for theirs, ours in IN_PLAIN_WORDS.items():
            if found := re.match(theirs, reason):
                raise MetadataError(f"{path}: {ours.format(quote(found[1]))}") from fault
        reason = re.sub("'[^']{40,}'", lambda found: quote(found.group()[1:-1]), reason)  # a line may be a whole file
        raise MetadataError(
            f"{path}: {reason.rstrip('.')}; correct the file (tab-separated, QIIME 2 conventions)"
        ) from fault
    frame = read.to_dataframe().map(lambda value: math.nan if _is_missing(value) else value)
    frame.index = frame.index.astype(str)
    return frame


def refuse_unmatched(frame: pd.DataFrame, table_ids: Sequence[str], path: Path | str) -> None:
    """Raise `MetadataError` if none of the table's samples is in the metadata, read from `path`."""
    known = set(frame.index)
    if not any(sample in known for sample in table_ids):
        raise MetadataError(
            f"{path}: none of its {counted(len(frame), 'samples')} is among the {len(table_ids)} of the table "
            f"(metadata: {quote(str(frame.index[0]))}, table: {quote(table_ids[0])}); use the metadata of this table"
        )


def select_column(frame: pd.DataFrame, name: str, path: Path | str) -> pd.Series:
    """One column of the metadata that came from `path`; raises `MetadataError` with the known names for another."""
    if name in frame.columns:
        return frame[name]
    known = [str(other) for other in frame.columns]
    close = difflib.get_close_matches(name, known, n=1)
    shown = name_few([repr(other) for other in known], COLUMNS_LISTED) or "none but the ids"
    hint = f"did you mean {close[0]!r}?" if close else f"it has {shown}"
    raise MetadataError(f"{path} has no column {name!r}; {hint}")


def parse_numbers(values: pd.Series) -> NDArray[np.float64]:
    """Convert texts [N] to float64; NaN for a text that is not a number in the range of single precision."""
    import pandas as pd  # half a second that commands without numbers do not wait for

    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
    with np.errstate(over="ignore"):
        return np.where(np.isfinite(numbers.astype(np.float32)), numbers, np.nan)


def fill_missing_texts(values: pd.Series) -> list[str | None]:
    """The texts of a column as written; None for missing values."""
    return [None if missing else str(value) for value, missing in zip(values, values.isna(), strict=True)]


def read_groups(path: Path | str, name: str, table_ids: Sequence[str]) -> dict[str, str]:
    """Value of a metadata column for each sample that has one, as written: `01` and `1` are different subjects.

    Raises `MetadataError` if none of the table's samples is in the metadata.
    """
    frame = read_text(path)
    refuse_unmatched(frame, table_ids, path)
    return {str(sample): str(value) for sample, value in select_column(frame, name, path).dropna().items()}
