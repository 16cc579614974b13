"""Encoding of labels as arrays, by the classes, scales and categories of the training samples; checks of targets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aam.config import NUMERIC_TASKS, Covariate, NumericTarget, TargetConfig, TargetSchema
from aam.corpus.labels import Labels
from aam.errors import ConfigError, MetadataError
from aam.io.metadata import parse_numbers
from aam.text import quote

UNKNOWN = 0
"""Number of a category that is missing or did not occur in training."""
NO_CLASS = -1
"""Number of the class of a sample without one."""
PERFECT = 0.999
"""Rank correlation, or fraction of variance explained, from which a covariate is taken for the target itself."""
FINEST = 1e-12
"""Range of a target in proportion to its size below which rounding decides it."""
MIN_EVIDENCE = 8
"""With fewer samples no covariate is refused for what it predicts."""


@dataclass(frozen=True)
class EncodedLabels:
    """`numbers` [N, T] float32 on the learned scale (0 if not `known` [N, T]), `classes` [N] int64 (-1 unknown),
    `numeric` [N, 2 X] float32 (values and which were missing), `categories` [N, X] int64 (0 unknown)."""

    numbers: NDArray[np.float32]
    known: NDArray[np.bool_]
    classes: NDArray[np.int64]
    numeric: NDArray[np.float32]
    categories: NDArray[np.int64]


def class_names(labels: Labels, config: TargetConfig, path: Path | str) -> tuple[str, ...]:
    """The classes of labels that came from `path`, in the order of the model's outputs: --class-order, number or name.

    Raises `MetadataError` for one class or a class of one sample, `ConfigError` for an order that does not fit.
    """
    if config.task in NUMERIC_TASKS:
        return ()
    found = [label for label in labels.classes if label is not None]
    counts = {label: found.count(label) for label in sorted(set(found))}
    if len(counts) < 2:
        only = f"one class, {next(iter(counts))!r}," if counts else "no class"
        raise MetadataError(
            f"{path}: column {config.target[0]!r} has {only} in the {len(found)} samples in use, expected at least "
            "two; choose another --target or --where"
        )
    single = [label for label, count in counts.items() if count < 2]
    if single:
        raise MetadataError(
            f"{path}: column {config.target[0]!r} has {len(single)} of {len(counts)} classes with one sample, first "
            f"{quote(single[0])}, expected two or more in each; join classes, or drop them with --where"
        )
    return order_classes(list(counts), config)


def order_classes(classes: list[str], config: TargetConfig) -> tuple[str, ...]:
    """Classes from lowest to highest; an ordinal target of words needs --class-order."""
    if config.class_order:
        if sorted(config.class_order) != sorted(classes):
            raise ConfigError(
                f"--class-order names {', '.join(map(repr, config.class_order))}, but the classes are "
                f"{', '.join(map(repr, classes))}; name each once"
            )
        return config.class_order
    numbers = parse_numbers(classes)
    if not np.isnan(numbers).any():
        return tuple(classes[place] for place in np.argsort(numbers, kind="stable"))
    if config.task == "ordinal":
        raise ConfigError(
            f"--task ordinal: how are {', '.join(map(repr, classes[:4]))} ordered? say so with --class-order"
        )
    return tuple(classes)


def fit_schema(labels: Labels, config: TargetConfig, classes: tuple[str, ...], depth: int | None) -> TargetSchema:
    """Scales of the targets and categories of the covariates of `labels`, those of the training samples."""
    numbers = [fit_number(name, column, config) for name, column in zip(config.target, labels.numbers.T, strict=False)]
    covariates = [fit_covariate(labels.covariates[name]) for name in config.covariate]
    return TargetSchema(depth, tuple(numbers), classes, tuple(covariates))


def fit_number(name: str, values: NDArray[np.float64], config: TargetConfig) -> NumericTarget:
    """Fit the scale of one target by --target-transform, on values [N] of training samples (NaN: missing).

    Raises `MetadataError` if no value is known, `ConfigError` if a logarithm is undefined.
    """
    known, transform = values[~np.isnan(values)], config.target_transform
    if len(known) == 0:
        raise MetadataError(f"column {name!r} has no value in a training part; use fewer folds or other groups")
    if transform == "none":
        return NumericTarget(name, transform)
    if transform.startswith("log"):
        if known.min() <= -1:
            raise ConfigError(
                f"--target-transform {transform} is log(1 + y), but column {name!r} goes down to {known.min():g}; "
                "use zscore"
            )
        known = np.log1p(known)
    center, scale = (known.min(), np.ptp(known)) if transform.endswith("minmax") else (known.mean(), known.std())
    return NumericTarget(name, transform, float(center), float(scale) if scale > 0 else 1.0)


def scale_values(values: NDArray[np.float64], target: NumericTarget) -> NDArray[np.float64]:
    """Convert values [N] from target units to the learned scale."""
    with np.errstate(invalid="ignore", divide="ignore"):  # test samples may lie where a logarithm does not reach
        values = np.log1p(np.maximum(values, -0.999)) if target.transform.startswith("log") else values
    return (values - target.center) / target.scale


def unscale_values(values: NDArray[np.float64], target: NumericTarget) -> NDArray[np.float64]:
    """Convert values of any shape from the learned scale to target units."""
    values = values * target.scale + target.center
    return np.expm1(values) if target.transform.startswith("log") else values


def fit_covariate(values: pd.Series) -> Covariate:
    """Fit a covariate, which `read_covariates` has read as numbers or as categories; categories are in order of name.

    Raises MetadataError if no value is known.
    """
    known = values.dropna()
    if known.empty:
        raise MetadataError(f"covariate {values.name!r} has no value for any training sample; leave it out")
    if values.dtype.kind != "f":
        return Covariate(str(values.name), tuple(sorted(set(map(str, known)))))
    deviation = float(known.std(ddof=0))
    return Covariate(str(values.name), (), float(known.mean()), deviation if deviation > 0 else 1.0)


def encode_labels(labels: Labels, schema: TargetSchema) -> EncodedLabels:
    """Encode labels as arrays; values that are missing or not in the schema are marked as unknown."""
    count = len(labels.sample_ids)
    columns = [scale_values(column, target) for target, column in zip(schema.numbers, labels.numbers.T, strict=False)]
    numbers = np.column_stack(columns) if columns else np.zeros((count, 0))
    number_of = {name: number for number, name in enumerate(schema.classes)}
    numeric, categories = encode_covariates(labels.covariates, schema.covariates, count)
    return EncodedLabels(
        np.nan_to_num(numbers).astype(np.float32),
        ~np.isnan(numbers),
        np.array([NO_CLASS if c is None else number_of.get(c, NO_CLASS) for c in labels.classes], np.int64),
        numeric,
        categories,
    )


def encode_covariates(
    frame: pd.DataFrame, covariates: Sequence[Covariate], count: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """`numeric` [N, 2 X] and `categories` [N, X] of numbers and text; all values of an absent column are missing."""
    numeric, categories = [], []
    for covariate in covariates:
        values = frame[covariate.name] if covariate.name in frame else pd.Series([None] * count)
        if covariate.categories:
            number_of = {name: number for number, name in enumerate(covariate.categories, start=1)}
            categories.append(np.array([number_of.get(value, UNKNOWN) for value in values], np.int64))
            continue
        numbers = parse_numbers(values)
        there = ~np.isnan(numbers)
        numeric += [np.where(there, (np.nan_to_num(numbers) - covariate.center) / covariate.scale, 0.0), ~there]
    return (
        np.column_stack(numeric).astype(np.float32) if numeric else np.zeros((count, 0), np.float32),
        np.column_stack(categories) if categories else np.zeros((count, 0), np.int64),
    )


def check_spread(name: str, values: NDArray[np.float64]) -> None:
    """Raise MetadataError for a target, called by this name, whose values [N] (NaN: missing) cannot be told apart."""
    known = values[~np.isnan(values)]
    if len(known) == 0 or (known == known[0]).all():
        found = f"is {known[0]:g} for all" if len(known) else "has no value for any of the"
        raise MetadataError(
            f"{name} {found} {len(values)} samples in use; there is nothing to learn, choose another target"
        )
    if np.ptp(known) < max(FINEST * np.abs(known).max(), np.finfo(np.float32).tiny):
        raise MetadataError(
            f"{name} lies between {known.min():.6g} and {known.max():.6g}, too close together for arithmetic; subtract "
            "their level, or give other units"
        )


def refuse_leaks(labels: Labels, config: TargetConfig) -> None:
    """Raise `ConfigError` for a covariate that is a target, a sample id, or predicts a target almost exactly."""
    for name in config.covariate:
        if name in config.target:
            raise ConfigError(f"--covariate {name!r} is the target itself; leave it out")
        values = labels.covariates[name]
        if is_sample_id(values):
            raise ConfigError(
                f"--covariate {name!r} is another in each of the {values.count()} samples that have one, as an id is: "
                "what is learned of it holds for no other sample; leave it out"
            )
        for target, column in named_targets(labels, config):
            known = values.notna().to_numpy() & pd.notna(column)
            if known.sum() >= MIN_EVIDENCE and predicts_target(values.to_numpy()[known], column[known]):
                raise ConfigError(
                    f"--covariate {name!r} gives the target {target!r} away: it follows from the covariate in all "
                    f"{known.sum()} samples that have both; leave it out"
                )


def is_sample_id(values: pd.Series) -> bool:
    """Whether a covariate [N] is a sample id: a category that no two samples share."""
    known = values.dropna()
    return values.dtype.kind != "f" and MIN_EVIDENCE <= len(known) == known.nunique()


def named_targets(labels: Labels, config: TargetConfig) -> list[tuple[str, NDArray]]:
    """Name and values [N] of each target, numbers or texts."""
    if config.task in NUMERIC_TASKS:
        return list(zip(config.target, labels.numbers.T, strict=True))
    return [(config.target[0], np.array(labels.classes, dtype=object))]


def predicts_target(covariate: NDArray, target: NDArray) -> bool:
    """Whether `covariate` [N] predicts `target` [N] almost exactly; both without missing values."""
    numbers = parse_numbers(covariate)
    numeric, regression = not np.isnan(numbers).any(), target.dtype.kind == "f"
    if numeric and len(np.unique(numbers)) < 2:
        return False
    if numeric and regression:
        return bool(abs(pd.Series(numbers).corr(pd.Series(target), method="spearman")) > PERFECT)
    if numeric and len(np.unique(numbers)) > len(numbers) / 2:  # do thresholds on the covariate separate the classes?
        in_order = target[np.argsort(numbers, kind="stable")]
        return int((in_order[1:] != in_order[:-1]).sum()) < len(set(target))
    members = defaultdict(list)
    for key, value in zip(covariate, target, strict=True):
        members[key].append(value)
    if sum(len(found) > 1 for found in members.values()) < 2:
        return False  # as many values as samples: an id, which predicts nothing of new samples
    if not regression:
        return all(len(set(found)) == 1 for found in members.values())
    within = sum(np.square(np.array(found) - np.mean(found)).sum() for found in members.values())
    return bool(1 - within / np.square(target - target.mean()).sum() > PERFECT)
