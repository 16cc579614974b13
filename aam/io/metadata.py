"""Sample metadata as a frame, its columns and numbers; ids stay text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.errors import MetadataError
from aam.io.metadata_rows import CATEGORICAL, read_rows
from aam.spelling import alike_strangers, nearest, number_of, tell_apart
from aam.text import counted, name_few, quote

if TYPE_CHECKING:
    import pandas as pd

COLUMNS_LISTED = 10
"""Columns that a message lists where the requested one is absent."""


class Metadata(NamedTuple):
    """Columns of text by sample id, the file or files they came from in words, and the rows of these files.

    `types` has the types that the file declares, categorical or numeric, by column; `doubts` are warnings.
    """

    frame: pd.DataFrame
    source: Path | str
    entries: int
    types: Mapping[str, str] = {}
    doubts: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path | str) -> Metadata:
        """The metadata of one file; raises `MetadataError` as `read_rows`."""
        import pandas as pd  # half a second that commands without metadata do not wait for

        rows = read_rows(Path(path))
        cells = np.empty((len(rows.ids), len(rows.columns)), dtype=object)
        if rows.columns:
            cells[:] = rows.cells
        ids, columns = pd.Index(rows.ids, dtype=object), pd.Index(rows.columns, dtype=object)
        return cls(pd.DataFrame(cells, index=ids, columns=columns), Path(path), len(rows.ids), rows.types)


def read_metadata(path: Path | str) -> pd.DataFrame:
    """Columns of a metadata file, indexed by sample id (text): float64 if all values are numbers, else text.

    Missing values are NaN. Raises `MetadataError` as `read_rows`.
    """
    import pandas as pd

    found = Metadata.read(path)
    typed = {}
    for name, values in found.frame.items():
        numbers = parse_numbers(values)
        as_text = found.types.get(str(name)) == CATEGORICAL or (np.isnan(numbers) & values.notna().to_numpy()).any()
        typed[name] = values if as_text else numbers
    return pd.DataFrame(typed, index=found.frame.index)


def read_text(path: Path | str) -> pd.DataFrame:
    """As `read_metadata`, but all columns are text as written: `1.10` and `00123` stay what they are."""
    return Metadata.read(path).frame


def refuse_unmatched(frame: pd.DataFrame, table_ids: Sequence[str], path: Path | str) -> None:
    """Raise `MetadataError` if none of the table's samples is in the metadata, read from `path`."""
    known = set(frame.index)
    if any(sample in known for sample in table_ids):
        return
    alike, advice = alike_strangers(table_ids, known), "use the metadata of this table"
    ours, theirs = quote(table_ids[0]), quote(str(frame.index[0]))
    if alike:
        ours, theirs = tell_apart(alike[0])
        advice = f"{counted(len(alike), 'ids')} look alike: spell them alike"
    raise MetadataError(
        f"{path}: none of its {counted(len(frame), 'samples')} is among the {len(table_ids)} of the table "
        f"(metadata: {theirs}, table: {ours}); {advice}"
    )


def select_column(frame: pd.DataFrame, name: str, path: Path | str) -> pd.Series:
    """One column of the metadata that came from `path`; raises `MetadataError` with the known names for another."""
    if name in frame.columns:
        return frame[name]
    known = [str(other) for other in frame.columns]
    shown = name_few([repr(other) for other in known], COLUMNS_LISTED) or "none but the ids"
    hint = nearest(name, known) or f"it has {shown}"
    raise MetadataError(f"{path} has no column {name!r}; {hint}")


def parse_wide_numbers(values: Iterable[object]) -> NDArray[np.float64]:
    """As `parse_numbers`, but also numbers that single precision does not hold."""
    given = (number_of(each) if isinstance(each, str) else math.nan if each is None else each for each in values)
    return np.fromiter(given, np.float64)


def parse_numbers(values: Iterable[object]) -> NDArray[np.float64]:
    """Convert texts [N], or numbers, to float64; NaN for what is not a number in the range of single precision."""
    numbers = parse_wide_numbers(values)
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
