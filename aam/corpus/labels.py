"""Labels of samples from a metadata file: targets, covariates and groups, checked column by column.

Values are read as written, so ids, subjects and classes such as `1.10` and `00123` stay what they are; columns that
must be numbers are turned into numbers here. N samples, T numeric targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aam.config import NUMERIC_TASKS, TargetConfig
from aam.corpus.class_rules import classify, parse_rules, refuse_unfit_rules
from aam.corpus.covariates import read_covariates, tell_cells
from aam.corpus.likeness import warn_of_alike
from aam.errors import ConfigError, MetadataError
from aam.io.metadata import Metadata, fill_missing_texts, parse_numbers, refuse_unmatched, select_column
from aam.spelling import look_of, nearest

DOUBTFUL = {"unknown", "unspecified", "undetermined", "-", "?", "."}
"""Values that are read as classes, although they may stand for a missing value."""
NO_STUDY = ""
"""Study of a sample that none is known of."""


@dataclass(frozen=True)
class Labels:
    """Targets, covariates and groups of N samples; rows as in `sample_ids`.

    `numbers` [N, T] float64, NaN is missing; `classes` N texts or None; `covariates` N rows of text or NaN; `groups` N
    texts or None, or None if nothing groups the samples; `studies` N names, or None for one study.
    """

    sample_ids: Sequence[str]
    numbers: NDArray[np.float64]
    classes: list[str | None]
    covariates: pd.DataFrame
    groups: list[str | None] | None
    studies: list[str] | None = None

    def rows(self, chosen: NDArray[np.int64]) -> Labels:
        """The labels of some rows, numbers [n]."""
        return Labels(
            [self.sample_ids[row] for row in chosen],
            self.numbers[chosen],
            [self.classes[row] for row in chosen],
            self.covariates.iloc[chosen],
            None if self.groups is None else [self.groups[row] for row in chosen],
            None if self.studies is None else [self.studies[row] for row in chosen],
        )

    @property
    def study_numbers(self) -> NDArray[np.int64]:
        """Number of the study of each sample [N], by first appearance; 0 for all if there is one."""
        return number_names(self.studies if self.studies is not None else [""] * len(self.sample_ids))

    @property
    def subject_numbers(self) -> NDArray[np.int64]:
        """Number of the subject of each sample [N]; groups of several studies have names of their own, as ids have."""
        return number_names(self.groups if self.groups is not None else self.sample_ids)

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
        kept = "" if self.matching == self.both else f", {self.matching} of these kept by --where"
        return (
            f"{self.table} samples in the table, {self.metadata} in the metadata, {self.both} in both{kept}; "
            f"{self.labelled} have a target"
        )


def read_labels(
    metadata: Metadata,
    config: TargetConfig,
    group_column: str | None,
    table_ids: Sequence[str],
    study_of: Mapping[str, str] | None = None,
) -> tuple[Labels, MetadataOverlap]:
    """Read the labels of the samples that are in table and metadata and match `--where`, in table order.

    Samples without a label are included. `study_of` has the study of each sample, if there are several: a group is of
    one study then, and a sample without one is a group of its own. Raises `MetadataError` or `ConfigError` for columns
    that are missing or do not suit the task, and if table and metadata have no sample in common.
    """
    if not config.target:
        raise ConfigError("no target; give --target COLUMN, a column of the metadata")
    if len(set(config.target)) < len(config.target):
        raise ConfigError(f"--target names a column twice ({' '.join(config.target)}); give each once")
    if len(config.target) > 1 and config.task not in NUMERIC_TASKS:
        found = len(config.target)
        raise ConfigError(f"--task {config.task} takes one --target, found {found}; train one model for each")
    rules, (frame, source, entries, types, _) = parse_rules(config), metadata
    refuse_unmatched(frame, table_ids, source)
    known = set(frame.index)
    both = [sample for sample in table_ids if sample in known]
    kept = filter_rows(frame.loc[both], config.where, source)
    numeric, ids = config.task in NUMERIC_TASKS, [str(sample) for sample in kept.index]
    columns = [select_column(kept, name, source) for name in config.target]
    numbers = [require_numbers(column, source) for column in columns if numeric]
    refuse_unfit_rules(columns[0], rules, source)
    labels = Labels(
        ids,
        np.column_stack(numbers) if numbers else np.full((len(kept), 0), np.nan),
        [None] * len(kept) if numeric else classify(columns[0], rules),
        read_covariates([select_column(kept, name, source) for name in config.covariate], types, kept.index, source),
        None if group_column is None else name_groups(select_column(kept, group_column, source), ids, study_of),
        None if study_of is None else [study_of.get(sample, NO_STUDY) for sample in ids],
    )
    return labels, MetadataOverlap(len(table_ids), entries, len(both), len(kept), int(labels.labelled.sum()))


def name_groups(values: pd.Series, sample_ids: Sequence[str], study_of: Mapping[str, str] | None) -> list[str | None]:
    """The group of each sample [N]: of one study the values as written, else those that belong to its study alone."""
    groups = fill_missing_texts(values)
    if study_of is None:
        return groups
    return [
        f"sample {sample}" if group is None else f"{study_of.get(sample, NO_STUDY)} {group}"
        for sample, group in zip(sample_ids, groups, strict=True)
    ]


def filter_rows(frame: pd.DataFrame, conditions: Sequence[str], source: Path | str) -> pd.DataFrame:
    """The rows of a metadata frame that meet the conditions `COLUMN=VALUE`, of one column any, of all columns one.

    Raises `MetadataError` if none does.
    """
    wanted: dict[str, list[str]] = {}
    for condition in conditions:
        name, equals, value = condition.partition("=")
        if not equals:
            raise ConfigError(f"--where is {condition!r}, expected COLUMN=VALUE")
        wanted.setdefault(name, []).append(value)
    for name, accepted in wanted.items():
        values = select_column(frame, name, source)
        shown = ", ".join(map(repr, values.dropna().unique()[:5].tolist()))
        frame = frame[values.isin(accepted)]
        if frame.empty:
            close = next(filter(None, (nearest(value, map(str, values.dropna().unique())) for value in accepted)), "")
            raise MetadataError(
                f"{source}: no sample of the table has {name} = {' or '.join(map(repr, accepted))}; "
                f"{close or f'found {shown}'}"
            )
    return frame


def require_numbers(values: pd.Series, source: Path | str) -> NDArray[np.float64]:
    """Convert a column [N] to float64, NaN for missing values; refuses text and numbers beyond single precision."""
    numbers = parse_numbers(values)
    wrong = values.notna().to_numpy() & np.isnan(numbers)
    if wrong.any():
        classes, written = "use --task classification", "with digits 0-9 and a decimal point, or leave them blank"
        cure = f"{classes}, or write numbers {written}"
        if wrong.sum() < values.count():
            cure = f"write them {written}, or {classes}"
        raise MetadataError(f"{source}: column {values.name!r} {tell_cells(values, wrong)}; {cure}")
    return numbers


def warn_of_doubtful_classes(classes: Sequence[str]) -> list[str]:
    """Yield warnings about classes that look like missing values, or like each other."""
    found = [
        f"{name!r} is learned as a class; if it means that nothing is known, leave these cells blank"
        for name in classes
        if look_of(name) in DOUBTFUL
    ]
    return found + warn_of_alike(classes, "learned as classes of their own")


def number_names(names: Sequence[str | None]) -> NDArray[np.int64]:
    """Numbers [n] of names, by first appearance."""
    return pd.factorize(pd.Series(names, dtype=object), use_na_sentinel=False)[0].astype(np.int64)
