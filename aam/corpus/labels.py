"""Labels of samples from a metadata file: targets, covariates and groups, checked column by column.

Values are read as written, so ids, subjects and classes such as `1.10` and `00123` stay what they are; columns that
must be numbers are turned into numbers here. N samples, T numeric targets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aam.config import NUMERIC_TASKS, TargetConfig
from aam.errors import ConfigError, MetadataError
from aam.io.metadata import read_text, refuse_unmatched, select_column
from aam.text import quote

DOUBTFUL = {"unknown", "unspecified", "undetermined", "-", "?", "."}
"""Values that are read as classes, although they may stand for a missing value."""


@dataclass(frozen=True)
class Labels:
    """Targets, covariates and groups of N samples; rows as in `sample_ids`.

    `numbers` [N, T] float64, NaN is missing; `classes` N texts or None; `covariates` N rows of text or NaN; `groups` N
    texts or None, or None if nothing groups the samples.
    """

    sample_ids: Sequence[str]
    numbers: NDArray[np.float64]
    classes: list[str | None]
    covariates: pd.DataFrame
    groups: list[str | None] | None

    def rows(self, chosen: NDArray[np.int64]) -> Labels:
        """The labels of some rows, numbers [n]."""
        return Labels(
            [self.sample_ids[row] for row in chosen],
            self.numbers[chosen],
            [self.classes[row] for row in chosen],
            self.covariates.iloc[chosen],
            None if self.groups is None else [self.groups[row] for row in chosen],
        )

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Which samples have a class, or at least one number [N]."""
        return ~np.isnan(self.numbers).all(axis=1) | np.array([label is not None for label in self.classes])


@dataclass(frozen=True)
class MetadataOverlap:
    """Counts of the samples that a metadata file and a table have in common."""

    table: int
    metadata: int
    both: int
    matching: int
    """Of both, those that `--where` keeps."""
    labelled: int
    """Of the matching, those with a target."""

    def text(self) -> str:
        return (
            f"{self.table} samples in the table, {self.metadata} in the metadata, {self.both} in both, "
            f"{self.matching} of the kind asked for, {self.labelled} of them with a target"
        )


def read_labels(
    path: Path, config: TargetConfig, group_column: str | None, table_ids: Sequence[str]
) -> tuple[Labels, MetadataOverlap]:
    """Read the labels of the samples that are in table and metadata and match `--where`, in table order.

    Samples without a label are included. Raises `MetadataError` or `ConfigError` for columns that are missing or do not
    suit the task, and if table and metadata have no sample in common.
    """
    if not config.target:
        raise ConfigError("no target; give --target COLUMN, a column of the metadata")
    if len(set(config.target)) < len(config.target):
        raise ConfigError(f"--target names a column twice ({' '.join(config.target)}); give each once")
    if len(config.target) > 1 and config.task not in NUMERIC_TASKS:
        found = len(config.target)
        raise ConfigError(f"--task {config.task} takes one --target, found {found}; train one model for each")
    frame = read_text(path)
    refuse_unmatched(frame, table_ids, path)
    known = set(frame.index)
    both = [sample for sample in table_ids if sample in known]
    kept = frame.loc[both]
    for condition in config.where:
        kept = filter_rows(kept, condition, path)
    numeric = config.task in NUMERIC_TASKS
    numbers = [require_numbers(select_column(kept, name, path), path) for name in config.target if numeric]
    classes: list[str | None] = (
        [None] * len(kept) if numeric else fill_missing_texts(select_column(kept, config.target[0], path))
    )
    labels = Labels(
        [str(sample) for sample in kept.index],
        np.column_stack(numbers) if numbers else np.full((len(kept), 0), np.nan),
        classes,
        pd.DataFrame({name: select_column(kept, name, path) for name in config.covariate}, index=kept.index),
        None if group_column is None else fill_missing_texts(select_column(kept, group_column, path)),
    )
    return labels, MetadataOverlap(len(table_ids), len(frame), len(both), len(kept), int(labels.labelled.sum()))


def filter_rows(frame: pd.DataFrame, condition: str, path: Path) -> pd.DataFrame:
    """The rows of a metadata frame that meet `COLUMN=VALUE`; raises `MetadataError` if none does."""
    name, equals, wanted = condition.partition("=")
    if not equals:
        raise ConfigError(f"--where is {condition!r}, expected COLUMN=VALUE")
    values = select_column(frame, name, path)
    found = frame[values == wanted]
    if found.empty:
        shown = ", ".join(map(repr, values.dropna().unique()[:5].tolist()))
        raise MetadataError(f"{path}: no sample of the table has {name} = {wanted!r}; found {shown}")
    return found


def require_numbers(values: pd.Series, path: Path) -> NDArray[np.float64]:
    """Convert a column [N] to float64, NaN for missing values; refuses text and numbers beyond single precision."""
    numbers = parse_numbers(values)
    wrong = np.flatnonzero(values.notna().to_numpy() & np.isnan(numbers))
    if len(wrong):
        raise MetadataError(
            f"{path}: column {values.name!r} has {len(wrong)} values that are not numbers below 3e38, first "
            f"{quote(str(values.iloc[wrong[0]]))} of sample {quote(str(values.index[wrong[0]]))}; correct them, leave "
            f"them blank, or use --task classification"
        )
    return numbers


def parse_numbers(values: pd.Series) -> NDArray[np.float64]:
    """Convert texts [N] to float64; NaN for a text that is not a number in the range of single precision."""
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64)
    with np.errstate(over="ignore"):
        return np.where(np.isfinite(numbers.astype(np.float32)), numbers, np.nan)


def fill_missing_texts(values: pd.Series) -> list[str | None]:
    """The texts of a column as written; None for missing values."""
    return [None if missing else str(value) for value, missing in zip(values, values.isna(), strict=True)]


def warn_of_doubtful_classes(classes: Sequence[str]) -> list[str]:
    """Yield warnings about classes that look like missing values, or that differ only in upper and lower case."""
    found = [
        f"{name!r} is learned as a class; if it means that nothing is known, leave these cells blank"
        for name in classes
        if name.lower() in DOUBTFUL
    ]
    alike = defaultdict(list)
    for name in classes:
        alike[name.casefold()].append(repr(name))
    return found + [
        f"{' and '.join(names)} are learned as classes of their own; if they mean the same, spell them alike"
        for names in alike.values()
        if len(names) > 1
    ]
