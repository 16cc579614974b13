"""Covariates that give the target away, or the sample: a model told them learns nothing of microbes."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aam.config import NUMERIC_TASKS, TargetConfig
from aam.data.label_schema import fit_covariate
from aam.data.labels import Labels
from aam.errors import ConfigError

PERFECT = 0.999
"""Rank correlation, or part of the variance explained, from which a covariate is the target in another guise."""
MIN_SAMPLES = 8
"""Fewer samples prove nothing."""


def refuse_leaks(labels: Labels, config: TargetConfig) -> None:
    """Raise `ConfigError` for a covariate that is a target, from which a target follows almost exactly, or an id."""
    for name in config.covariate:
        if name in config.target:
            raise ConfigError(f"--covariate {name!r} is the target itself; leave it out")
        values = labels.covariates[name]
        if names_samples(values):
            raise ConfigError(
                f"--covariate {name!r} is another in each of the {values.count()} samples that have one, as an id is: "
                "what is learned of it holds for no other sample; leave it out"
            )
        for target, column in targets_of(labels, config):
            known = values.notna().to_numpy() & pd.notna(column)
            if known.sum() >= MIN_SAMPLES and gives_away(values.to_numpy()[known], column[known]):
                raise ConfigError(
                    f"--covariate {name!r} gives the target {target!r} away: it follows from the covariate in all "
                    f"{known.sum()} samples that have both; leave it out"
                )


def names_samples(values: pd.Series) -> bool:
    """Whether a covariate [N] of texts is an id of the samples: categories, none of them of two samples."""
    known = values.dropna()
    return len(known) >= MIN_SAMPLES and len(fit_covariate(known).categories) == len(known)


def targets_of(labels: Labels, config: TargetConfig) -> list[tuple[str, NDArray]]:
    """Name and values [N] of each target, numbers or texts."""
    if config.task in NUMERIC_TASKS:
        return list(zip(config.target, labels.numbers.T, strict=True))
    return [(config.target[0], np.array(labels.classes, dtype=object))]


def gives_away(covariate: NDArray, target: NDArray) -> bool:
    """Whether `target` [N] follows from `covariate` [N] of texts; both without missing values."""
    numbers = pd.to_numeric(pd.Series(covariate), errors="coerce").to_numpy(np.float64)
    numeric, regression = not np.isnan(numbers).any(), target.dtype.kind == "f"
    if numeric and regression:
        return bool(abs(pd.Series(numbers).corr(pd.Series(target), method="spearman")) > PERFECT)
    if numeric and len(np.unique(numbers)) > len(numbers) / 2:  # a threshold for each class tells them apart
        in_order = target[np.argsort(numbers, kind="stable")]
        return int((in_order[1:] != in_order[:-1]).sum()) < len(set(target))
    members = defaultdict(list)
    for key, value in zip(covariate, target, strict=True):
        members[key].append(value)
    if sum(len(found) > 1 for found in members.values()) < 2:
        return False  # as many values as samples: an id tells nothing of new samples
    if not regression:
        return all(len(set(found)) == 1 for found in members.values())
    within = sum(np.square(np.array(found) - np.mean(found)).sum() for found in members.values())
    return bool(1 - within / np.square(target - target.mean()).sum() > PERFECT)
