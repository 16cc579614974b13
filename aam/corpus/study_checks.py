"""What each of several studies contributes to a training, and checks of their labels against each other."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from aam.config import NUMERIC_TASKS, TargetConfig
from aam.corpus.class_rules import parse_rules
from aam.corpus.labels import Labels
from aam.corpus.likeness import warn_of_alike, warn_of_left_out
from aam.errors import MetadataError
from aam.spelling import look_alike, look_of, tell_apart
from aam.text import counted

FOLD_OF_MEDIANS = 10.0
"""Ratio of the medians of a target in two studies from which other units are likely, e.g. of mg/dl and mmol/l."""


@dataclass(frozen=True)
class Contribution:
    """What a study brings into a training: labelled `samples`, `subjects` if groups are known, and their labels.

    `classes` has the samples of each class of a classification, `medians` that of each numeric target.
    """

    study: str
    samples: int
    subjects: int | None = None
    classes: Mapping[str, int] = field(default_factory=dict)
    medians: Mapping[str, float] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """The entry of the manifest."""
        return {
            "study": self.study, "samples": self.samples, "subjects": self.subjects,
            "classes": dict(self.classes), "medians": dict(self.medians),
        }  # fmt: skip

    @property
    def labels_text(self) -> str:
        """The labels in words."""
        classes = [f"{name} {count:,}" for name, count in self.classes.items()]
        return ", ".join([*classes, *(f"median {name} {value:g}" for name, value in self.medians.items())])

    def text(self) -> str:
        """The contribution in one line, with what is wrong with it."""
        if self.samples == 0:
            return f"{self.study}: contributes no label"
        subjects = "" if self.subjects is None else f" of {counted(self.subjects, 'subjects')}"
        alone = "; one class alone, which teaches no contrast within the study" if len(self.classes) == 1 else ""
        return f"{self.study}: {counted(self.samples, 'samples')}{subjects}: {self.labels_text}{alone}"


def list_contributions(labels: Labels, target: TargetConfig, names: Sequence[str]) -> list[Contribution]:
    """The contribution of each of the studies `names`, also of those without a sample among `labels`."""
    rows = rows_of_studies(labels)
    return [contribution(name, labels.rows(rows.get(name, np.arange(0))), target) for name in names]


def rows_of_studies(labels: Labels) -> dict[str, np.ndarray]:
    """Row numbers [n] of the samples of each study, in order of first appearance; empty if there is one study."""
    studies = np.array(labels.studies if labels.studies is not None else [], dtype=object)
    return {str(name): np.flatnonzero(studies == name) for name in dict.fromkeys(studies)}


def contribution(name: str, own: Labels, target: TargetConfig) -> Contribution:
    """The contribution of the study `name` with the labels `own`."""
    subjects = None if own.groups is None else len(set(own.groups))
    if target.task not in NUMERIC_TASKS:
        counts = Counter(label for label in own.classes if label is not None)
        return Contribution(name, len(own.sample_ids), subjects, {label: counts[label] for label in sorted(counts)})
    columns = zip(target.target, own.numbers.T, strict=True)
    medians = {column: float(np.nanmedian(values)) for column, values in columns if not np.isnan(values).all()}
    return Contribution(name, len(own.sample_ids), subjects, {}, medians)


def is_scored(own: Labels, target: TargetConfig) -> bool:
    """Whether a study with these labels can be scored: it has two classes, or two samples of a numeric target."""
    if target.task in NUMERIC_TASKS:
        return len(own.sample_ids) > 1
    return len(set(own.classes)) > 1


def doubts_between_studies(labels: Labels, target: TargetConfig) -> tuple[str, ...]:
    """Warnings about labels that differ between studies: medians far apart, spellings of classes.

    Raises `MetadataError` for classes of two studies that differ only in case, blanks, hyphens and underscores.
    """
    rows = rows_of_studies(labels)
    if len(rows) < 2:
        return ()
    if target.task not in NUMERIC_TASKS:
        refuse_other_spellings({name: {labels.classes[row] for row in own} for name, own in rows.items()})
        return ()
    found = []
    for column, values in zip(target.target, labels.numbers.T, strict=True):
        medians = {name: float(np.nanmedian(values[own])) for name, own in rows.items() if known(values[own])}
        positive = sorted((median, name) for name, median in medians.items() if median > 0)
        if positive and positive[-1][0] > FOLD_OF_MEDIANS * positive[0][0]:
            (low, one), (high, other) = positive[0], positive[-1]
            found.append(
                f"the median of {column!r} is {low:g} in study {one} and {high:g} in study {other}; if their units "
                "differ, bring them to one"
            )
    return tuple(found)


def doubts_of_names(
    labels: Labels, target: TargetConfig, metadata: pd.DataFrame, columns: Mapping[str, str | None]
) -> tuple[str, ...]:
    """Warnings of names that look alike: categories, groups, studies, values left out by an option, columns.

    `metadata` has the samples of table and metadata; `columns` are those of groups and of studies, by their option.
    """
    found = []
    for name, values in labels.covariates.items():
        if values.dtype.kind != "f":
            found += warn_of_alike(values.dropna(), f"categories of their own of covariate {name!r}")
    found += warn_of_alike(filter(None, labels.groups or ()), "groups of their own")
    found += warn_of_alike(filter(None, labels.studies or ()), "studies of their own")
    wanted = defaultdict(list)
    for condition in target.where:
        name, _, value = condition.partition("=")
        wanted[name].append(value)
    for name, accepted in wanted.items():
        found += warn_of_left_out(metadata[name].dropna(), accepted, f"--where {name}={accepted[0]}")
    if named := [rule.value for rule in parse_rules(target) if not rule.is_range]:
        found += warn_of_left_out(metadata[target.target[0]].dropna(), named, "--as-class")
    read = dict.fromkeys(target.target, "--target") | dict.fromkeys(target.covariate, "--covariate")
    read |= {name: option for option, name in columns.items() if name is not None}
    for group in look_alike(map(str, metadata.columns)):
        for name in read.keys() & group:
            found.append(
                f"{read[name]} reads column {tell_apart([name, *(set(group) - {name})])[0]}, but others look alike"
            )
    return tuple(found)


def known(values: np.ndarray) -> bool:
    """Whether any of these values [n] is known."""
    return bool((~np.isnan(values)).any())


def refuse_other_spellings(classes: Mapping[str, set[str | None]]) -> None:
    """Raise `MetadataError` for a class that two studies spell differently; `classes` are those of each study."""
    for (one, of_one), (other, of_other) in combinations(classes.items(), 2):
        for name in sorted(filter(None, of_one - of_other)):
            for like in sorted(filter(None, of_other - of_one)):
                if plain(name) == plain(like):
                    raise MetadataError(
                        f"class {name!r} of study {one} and {like!r} of study {other} differ only in spelling; make "
                        f"them one class, e.g. --as-class {name}={name} --as-class {name}={like} and so on for all "
                        "classes, or correct the metadata"
                    )


def plain(name: str) -> str:
    """What a class looks like without blanks, hyphens and underscores, where something else is left."""
    return re.sub(r"[\s_-]+", "", look_of(name)) or name


def notes_on_columns(
    frame: pd.DataFrame, studies: Mapping[str, str], labels: Labels, target: TargetConfig, group_column: str | None
) -> tuple[str, ...]:
    """Messages on columns that studies lack, wholly or in part; `frame` is the joined metadata."""
    members = frame.groupby(frame.index.map(studies), sort=False)
    wanted = dict.fromkeys(target.target, "whose samples have no label")
    wanted |= {condition.partition("=")[0]: "so --where keeps none of its samples" for condition in target.where}
    wanted |= dict.fromkeys(target.covariate, "which is read as unknown there")
    absent = {name: members[name].count() == 0 for name in wanted if name in frame}
    found = [
        f"study {study} has no value of {name!r}, {wanted[name]}"
        for name, missing in absent.items()
        for study in missing.index[missing]
    ]
    if group_column is None:
        return tuple(found)
    groups = frame[group_column].reindex(labels.sample_ids)
    for study, rows in rows_of_studies(labels).items():
        if count := int(groups.iloc[rows].isna().sum()):
            what = "all" if count == len(rows) else f"{count:,}"
            found.append(
                f"study {study}: {what} of {counted(len(rows), 'samples')} have no {group_column!r}, and are groups of "
                "their own"
            )
    return tuple(found)
