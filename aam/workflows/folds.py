"""Folds of `aam train` and `aam baseline`: which samples of a study are for training and which for testing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aam.config import NUMERIC_TASKS, DataConfig, FinetuneConfig
from aam.corpus.labels import Labels, warn_of_doubtful_classes
from aam.corpus.split import (
    MIN_SIDE,
    Fold,
    Scheme,
    count_possible_folds,
    groups_on_both_sides,
    keep_label_fraction,
    make_folds,
    split_samples,
)
from aam.corpus.study import Study, find_likely_groups
from aam.corpus.study_checks import is_scored, list_contributions, rows_of_studies
from aam.errors import ConfigError
from aam.text import counted, name_few, quote

HELD_OUT = "held-out"
"""Name of the only fold where nothing is cross-validated."""
STUDIES_NAMED = 5
"""Studies that a warning names."""


def scheme_of(config: FinetuneConfig) -> Scheme:
    """The scheme of the folds: by group if there are groups, stratified if there are classes."""
    grouped = config.data.group_column is not None
    stratified = config.fold.stratify and config.target.task not in NUMERIC_TASKS
    if config.fold.leave_one_group_out:
        return "leave-one-group-out"
    if grouped:
        return "stratified-grouped" if stratified else "grouped"
    return "stratified" if stratified else "k-fold"


def study_folds(config: FinetuneConfig, study: Study) -> list[Fold]:
    """The folds of the options, with --label-fraction; without cross-validation a single one, called `held-out`.

    Raises ConfigError for folds that cannot be made or have too few training samples.
    """
    folds = keep_labels(config, study, whole_folds(config, study))
    for fold in folds:
        refuse_untrainable(fold, study.labels.classes if study.classes else None)
    return folds


def refuse_untrainable(fold: Fold, classes: Sequence[str | None] | None) -> None:
    """Raise ConfigError for a fold that trains on less than two samples, or, of `classes` [N], on a single one."""
    if len(fold.train) < MIN_SIDE:
        raise ConfigError(
            f"fold {fold.name} has {counted(len(fold.train), 'samples')} to train on, expected at least {MIN_SIDE}; "
            "give more samples, or a larger --label-fraction"
        )
    if classes is not None and len(trained := {classes[row] for row in fold.train}) < 2:
        raise ConfigError(
            f"fold {fold.name} would train on class {quote(str(trained.pop()))} alone, expected at least two classes; "
            "use other folds, or a --group-column whose groups have samples of several classes"
        )


def keep_labels(config: FinetuneConfig, study: Study, folds: list[Fold]) -> list[Fold]:
    """Keep the fraction --label-fraction of the training samples of each fold."""
    target, fraction = class_of_samples(config, study), config.fold.label_fraction
    return [keep_label_fraction(fold, target, fraction, config.run.seed) for fold in folds]


def class_of_samples(config: FinetuneConfig, study: Study) -> list[str | None]:
    """The class of each sample; a single class for numeric targets."""
    labels = study.labels
    return labels.classes if config.target.task not in NUMERIC_TASKS else [None] * len(labels.sample_ids)


def whole_folds(config: FinetuneConfig, study: Study) -> list[Fold]:
    """The folds before --label-fraction removes training samples."""
    labels, seed, target = study.labels, config.run.seed, class_of_samples(config, study)
    if config.fold.leave_one_study_out:
        return leave_studies_out(config, labels)
    if config.fold.folds is not None or config.fold.leave_one_group_out:
        if config.data.validation_samples is not None:
            raise ConfigError("found both folds and --validation-samples, expected one of them")
        return make_folds(scheme_of(config), target, labels.groups, config.fold.folds or 0, seed)
    count = round(1 / config.data.validation_fraction)
    if config.data.validation_samples is None and scheme_of(config).startswith("stratified") and count > 1:
        return [hold_out_part(config, study, count)]
    gone = [sample for ids in study.dropped.values() for sample in ids]
    sides = split_samples(labels.sample_ids, config.data, seed, group_of(labels), gone)
    return [Fold(HELD_OUT, sides.train, sides.validation)]


def leave_studies_out(config: FinetuneConfig, labels: Labels) -> list[Fold]:
    """One fold for each study, named as it, of the studies that can be scored (`is_scored`); the others only train.

    Raises ConfigError for a single study, no study that can be left out, and options of other folds.
    """
    given = {"--folds": config.fold.folds, "--leave-one-group-out": config.fold.leave_one_group_out}
    for option, value in (given | {"--validation-samples": config.data.validation_samples}).items():
        if value:
            raise ConfigError(f"found both --leave-one-study-out and {option}, expected one of them")
    rows = rows_of_studies(labels)
    if len(rows) < 2:
        raise ConfigError(
            f"--leave-one-study-out, but the samples with a label are of {counted(max(1, len(rows)), 'studies')}; give "
            "--table and --metadata of several studies, or a --study-column with several"
        )
    scored = {name: own for name, own in rows.items() if is_scored(labels.rows(own), config.target)}
    if not scored:
        raise ConfigError(
            f"--leave-one-study-out: none of the {len(rows)} studies has samples of two classes, so none can be "
            "scored; give studies with cases and controls"
        )
    every = np.arange(len(labels.sample_ids))
    return [Fold(name, np.setdiff1d(every, own), own) for name, own in scored.items()]


def group_of(labels: Labels) -> dict[str, str | None] | None:
    """The group of each sample, if there are groups."""
    return None if labels.groups is None else dict(zip(labels.sample_ids, labels.groups, strict=True))


def hold_out_part(config: FinetuneConfig, study: Study, count: int) -> Fold:
    """Hold out one of `count` equal parts, stratified by class."""
    scheme, target, groups = scheme_of(config), class_of_samples(config, study), study.labels.groups
    units, what = count_possible_folds(scheme, target, groups)
    if units < count:
        raise ConfigError(
            f"--validation-fraction {config.data.validation_fraction:g} holds out one of {count} like parts, but there "
            f"are {units} {what}; give a larger fraction, --no-stratify, or leave the rare ones out"
        )
    return make_folds(scheme, target, groups, count, config.run.seed)[0]._replace(name=HELD_OUT)


def inner_split(config: FinetuneConfig, study: Study, fold: Fold) -> Fold:
    """Split the training rows of a fold: rows to train on, and rows to choose the best checkpoint on."""
    fraction = config.fold.selection_fraction
    if fraction == 0:
        return Fold(fold.name, fold.train, fold.train[:0])
    labels = study.labels.rows(fold.train)
    part = DataConfig(validation_fraction=fraction)
    sides = split_samples(labels.sample_ids, part, config.run.seed, group_of(labels))
    return Fold(fold.name, fold.train[sides.train], fold.train[sides.validation])


def list_doubts(config: FinetuneConfig, study: Study, folds: list[Fold]) -> list[str]:
    """Reasons to doubt the metrics: suspicious counts or classes, untrained classes, subjects on both sides."""
    return [
        *study.table.doubts(),
        *study.doubts,
        *warn_of_studies_without_contrast(config, study),
        *warn_of_doubtful_classes(study.classes),
        *warn_of_untrained_classes(config, study, folds),
        *warn_of_split_subjects(config, study, folds),
    ]


def warn_of_studies_without_contrast(config: FinetuneConfig, study: Study) -> list[str]:
    """A warning about studies with samples of one class, which are trained on, but cannot be scored."""
    if config.target.task in NUMERIC_TASKS:
        return []
    found = list_contributions(study.labels, config.target, study.names)
    alone = [f"{own.study} ({own.labels_text})" for own in found if len(own.classes) == 1]
    if not alone:
        return []
    return [
        f"{counted(len(alone), 'studies')} with one class alone, which a model may learn as the study itself: "
        f"{name_few(alone, STUDIES_NAMED)}; trained on, but neither left out as a fold nor scored by AUC"
    ]


def warn_of_untrained_classes(config: FinetuneConfig, study: Study, folds: list[Fold]) -> list[str]:
    """A warning about folds with test classes that are not in training; raises ConfigError if no fold has others."""
    classes = class_of_samples(config, study)
    tested = [{classes[row] for row in fold.test} for fold in folds]
    missed = [own - {classes[row] for row in fold.train} for own, fold in zip(tested, folds, strict=True)]
    if missed == tested:
        groups = config.data.group_column
        raise ConfigError(
            f"no held-out sample is of a class of {' and '.join(config.target.target)} that its training samples have, "
            "so all would be predicted wrongly"
            + (f"; give another --group-column than {groups}, in which groups have several classes" if groups else "")
        )
    names = sorted({str(name) for kinds in missed for name in kinds})
    if not names:
        return []
    return [
        f"{sum(map(bool, missed))} of {len(folds)} folds test classes that they do not train on, first "
        f"{quote(names[0])}, and can only get them wrong; use fewer folds, or groups with several classes each"
    ]


def warn_of_split_subjects(config: FinetuneConfig, study: Study, folds: list[Fold]) -> list[str]:
    """A warning about subjects with samples on both sides of a split."""
    if config.data.group_column is not None:
        return []
    found = find_likely_groups(study.metadata, study.labels.sample_ids)
    if found is None:
        return []
    name, groups = found
    if study.labels.studies is not None:  # subjects are of one study
        groups = [f"{own} {group}" for own, group in zip(study.labels.studies, groups, strict=True)]
    both = max(len(groups_on_both_sides(fold, groups)) for fold in folds)
    if both == 0:
        return []
    return [
        f"samples of {both} values of {name!r} sit on both sides of a split, so the metrics are too good; "
        f"--group-column {name} keeps them together"
    ]
