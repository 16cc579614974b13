"""Predictions of a metadata column as a table people read, and as figures with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aam.config import NUMERIC_TASKS, FinetuneConfig, TargetConfig
from aam.data.ids import SAMPLE_ID
from aam.errors import ConfigError
from aam.evaluation.calibration import Calibration, expected_calibration_error, intervals, nll
from aam.evaluation.predictions import Predictions, probabilities
from aam.evaluation.target_metrics import Estimate, estimate, metrics_of
from aam.wording import quote

IN_FOLD, TRUE = "fold", "_true"
"""Of the table of out-of-fold predictions beside what `prediction_table` has: a column, and the ending of some."""


def refuse_clashes(target: TargetConfig, classes: Sequence[str]) -> None:
    """Raise ConfigError where two columns of the predictions would have the same name: one of them would be lost."""
    endings = ["", TRUE, "_sd"]
    if target.task in NUMERIC_TASKS:
        endings += ["_lower", "_upper", *(f"_q{q:g}" for q in target.quantiles if target.task == "quantiles")]
    names = [SAMPLE_ID, IN_FOLD, *(f"{name}{ending}" for name in target.target for ending in endings)]
    names += [f"p_{name}" for name in classes]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(
            f"--target {' '.join(target.target)}: predictions would have two columns named {quote(twice[0])}; rename "
            "the column of the metadata"
        )


def prediction_table(
    sample_ids: Sequence[str], found: Predictions, config: FinetuneConfig, calibration: Calibration | None
) -> pd.DataFrame:
    """One row a sample, indexed by id.

    Numbers: the target's column, its `_sd` over repeats, with a calibration `_lower` and `_upper`; of quantiles also
    each as `_q0.05`. Classes: the likeliest, its `_sd`, and a probability of each class as `p_NAME`.
    """
    index = pd.Index(sample_ids, name=SAMPLE_ID)
    if config.target.task not in NUMERIC_TASKS:
        return class_table(index, found, config, calibration)
    ends = None if calibration is None else intervals(found.values, calibration, config.fold.coverage)
    columns: dict[str, Any] = {}
    for place, name in enumerate(config.target.target):
        values = found.values[:, place]
        columns |= {name: values[:, values.shape[1] // 2], f"{name}_sd": found.spread[:, place]}
        if config.target.task == "quantiles":
            columns |= {f"{name}_q{q:g}": values[:, k] for k, q in enumerate(config.target.quantiles)}
        if ends is not None:
            columns |= {f"{name}_lower": ends[:, place, 0], f"{name}_upper": ends[:, place, 1]}
    return pd.DataFrame(columns, index=index)


def class_table(
    index: pd.Index, found: Predictions, config: FinetuneConfig, calibration: Calibration | None
) -> pd.DataFrame:
    """Likeliest class and probabilities, at the calibrated temperature where there is one."""
    name, classes = config.target.target[0], config.schema.classes
    chance = probabilities(found.values, 1.0 if calibration is None else calibration.temperature)
    likeliest = np.array(classes, dtype=object)[chance.argmax(axis=1)]
    columns: dict[str, Any] = {name: likeliest, f"{name}_sd": found.spread[:, 0]}
    return pd.DataFrame(columns | {f"p_{c}": chance[:, place] for place, c in enumerate(classes)}, index=index)


def target_figures(
    table: pd.DataFrame, true: pd.DataFrame, config: FinetuneConfig, groups: Sequence[Hashable] | None
) -> dict[str, dict[str, Estimate]]:
    """Figures of each target: predictions against `true` (columns named as the targets, missing left out)."""
    metrics = metrics_of(config.target.task)
    figures = {}
    for name in config.target.target:
        known = true[name].notna().to_numpy()
        units = None if groups is None else [group for group, there in zip(groups, known, strict=True) if there]
        predicted, truth = table[name].to_numpy()[known], true[name].to_numpy()[known]
        figures[name] = estimate(metrics, predicted, truth, units, config.run.seed)
    return figures


def point_figures(found: Predictions, true: pd.DataFrame, config: FinetuneConfig) -> dict[str, float]:
    """The figures of `target_figures` without intervals, for watching a run; the mean over targets."""
    table = prediction_table(list(true.index), found, config, None)
    metrics = metrics_of(config.target.task)
    known = {name: true[name].notna().to_numpy() for name in config.target.target if true[name].notna().any()}
    each = {
        name: [metric(table[c].to_numpy()[rows], true[c].to_numpy()[rows]) for c, rows in known.items()]
        for name, metric in metrics.items()
    }
    return {name: float(np.mean(values)) for name, values in each.items() if values}


def class_figures(values: NDArray[np.float64], classes: NDArray[np.int64], temperature: float) -> dict[str, float]:
    """How much the probabilities are to be believed, before and after calibration; of two classes also the AUC."""
    known = classes >= 0
    logs, truth = values[known, 0], classes[known]
    found = {"temperature": temperature, "nll": nll(logs, truth, temperature), "nll_uncalibrated": nll(logs, truth)}
    for name, t in (("ece", temperature), ("ece_uncalibrated", 1.0)):
        found[name] = expected_calibration_error(probabilities(values[known], t), truth)
    if logs.shape[1] == 2 and len(np.unique(truth)) == 2:
        from sklearn.metrics import roc_auc_score

        found["roc_auc"] = float(roc_auc_score(truth, logs[:, 1] - logs[:, 0]))
    return found


def flat(figures: dict[str, dict[str, Estimate]]) -> dict[str, float]:
    """Figures for metrics.json: `mae`, `mae_low`, `mae_high`; with several targets each after the target's name."""
    found: dict[str, float] = {}
    for target, estimates in figures.items():
        before = before_figures(target, len(figures))
        for name, (value, (low, high)) in estimates.items():
            found |= {f"{before}{name}": value, f"{before}{name}_low": low, f"{before}{name}_high": high}
    return found


def before_figures(target: str, count: int) -> str:
    """How the figures of a target begin in metrics.json, where there are `count` targets."""
    return f"{target}_" if count > 1 else ""
