"""Covariates of a metadata file: which are numbers and which are categories, said or refused by cell.

A column is read as numbers if all its values are, and as categories if its file says so in a row `#q2:types`, or if
most of its values are no numbers. What is neither, numbers with a few other cells, is refused: silently it would become
a category for each number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aam.config import TargetSchema
from aam.errors import MetadataError
from aam.io.metadata import parse_numbers, parse_wide_numbers
from aam.io.metadata_rows import CATEGORICAL, NUMERIC
from aam.spelling import look_of, plain_number, tell_apart
from aam.text import counted, name_few, quote

CELLS_NAMED = 3
"""Cells that a refusal names."""
CATEGORIES_NAMED = 8
"""Categories that a message names."""


def read_covariates(
    columns: Sequence[pd.Series], types: Mapping[str, str], index: pd.Index, source: Path | str
) -> pd.DataFrame:
    """Columns of text from `source` as numbers (float64) or as text; `types` are declared, by name.

    Raises `MetadataError` for a column of numbers with cells that are none.
    """
    read = {str(values.name): read_covariate(values, types.get(str(values.name)), source) for values in columns}
    return pd.DataFrame(read, index=index)


def read_covariate(values: pd.Series, declared: str | None, source: Path | str) -> pd.Series:
    """One covariate [N], as `read_covariates`."""
    if declared == CATEGORICAL:
        return values
    numbers, there = parse_numbers(values), values.notna().to_numpy()
    wrong = there & np.isnan(numbers)
    if wrong.any() and (declared == NUMERIC or is_meant_as_numbers(values.to_numpy()[there], wrong[there])):
        refuse_cells(values, wrong, source)
    return values if wrong.any() else pd.Series(numbers, index=values.index, name=values.name)


def is_meant_as_numbers(values: NDArray[np.object_], wrong: NDArray[np.bool_]) -> bool:
    """Whether half of the values [n], or of the different ones, are numbers, or would be but for their signs."""
    alike = wrong & np.array([np.isnan(plain_number(str(value))) for value in values])
    kinds = dict(zip(values.tolist(), alike.tolist(), strict=True))
    return bool(2 * alike.sum() <= len(values) or 2 * sum(kinds.values()) <= len(kinds))


def refuse_cells(values: pd.Series, wrong: NDArray[np.bool_], source: Path | str) -> None:
    """Raise `MetadataError` for the cells `wrong` [N] of a covariate that are no numbers."""
    raise MetadataError(
        f"{source}: covariate {values.name!r} {tell_cells(values, wrong)}; expected digits 0-9 and a decimal point: "
        f"correct them or leave them blank; if these are names of categories, put a row '#q2:types' below the header, "
        f"with {CATEGORICAL!r} in this column"
    )


def tell_cells(values: pd.Series, wrong: NDArray[np.bool_]) -> str:
    """How many cells `wrong` [N] of a column are no numbers, and the first of them with their samples."""
    cells = zip(values[wrong], values.index[wrong], strict=True)
    named = name_few([f"{quote(str(cell))} of sample {quote(str(sample))}" for cell, sample in cells], CELLS_NAMED)
    large = " below 3e38" if (~np.isnan(parse_wide_numbers(values[wrong]))).any() else ""
    return f"has {wrong.sum()} of {values.count()} values that are not numbers{large}, first {named}"


def describe_covariates(frame: pd.DataFrame) -> tuple[str, ...]:
    """What each covariate was read as, with its range or its categories, for the start of a run and its plan."""
    return tuple(describe_covariate(frame[name]) for name in frame.columns)


def describe_covariate(values: pd.Series) -> str:
    """One covariate [N] in words."""
    known = values.dropna()
    gone = f", {counted(len(values) - len(known), 'samples')} without" if len(known) < len(values) else ""
    if known.empty:
        return f"covariate {values.name!r}: no value"
    if values.dtype.kind == "f":
        return f"covariate {values.name!r}: numbers from {known.min():g} to {known.max():g}{gone}"
    kinds = [quote(str(name)) for name in sorted(set(known))]
    return f"covariate {values.name!r}: {len(kinds)} categories, {name_few(kinds, CATEGORIES_NAMED)}{gone}"


def warn_of_alike_categories(frame: pd.DataFrame, schema: TargetSchema) -> list[str]:
    """Warnings of categories of new samples that were not in training, where one that looks like them was."""
    found = []
    for covariate in schema.covariates:
        looks = {look_of(name): name for name in covariate.categories}
        new = [str(name) for name in frame[covariate.name].dropna().unique() if name not in covariate.categories]
        for name in (name for name in new if covariate.categories and look_of(name) in looks):
            ours, theirs = tell_apart([name, looks[look_of(name)]])
            found.append(
                f"covariate {covariate.name!r}: {ours} is read as unknown, but looks like {theirs} of training; spell "
                "them alike"
            )
    return found


def warn_of_texts(truth: pd.DataFrame) -> list[str]:
    """Warnings of cells in columns of targets that are no numbers, with which no prediction is compared."""
    wrong = {name: values.notna().to_numpy() & np.isnan(parse_numbers(values)) for name, values in truth.items()}
    return [
        f"column {name!r} {tell_cells(truth[name], cells)}; the predictions of these samples are not scored"
        for name, cells in wrong.items()
        if cells.any()
    ]
