"""A model beside its baselines on the same folds, in sentences: which one is best, and how certain that is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from aam.evaluation.metrics import MAIN_METRICS, METRIC_LABELS, MODEL, MODEL_MINUS_BASELINE, PREDICTOR_LABELS
from aam.report.digits import format_estimate

SMALLER_IS_BETTER = ("mae", "mae_mean_over_studies")
Words = Callable[[str], str]
"""A predictor in words, by its name."""


def rivals_finding(predictors: Mapping[str, Any], words: Words) -> str:
    """The model beside the best baseline and each other run, by the intervals of their differences.

    `predictors` are those of a target of baselines.json. Empty without a model or without differences.
    """
    if MODEL not in predictors:
        return ""
    compared = {name: found for name, found in predictors.items() if found.get(MODEL_MINUS_BASELINE)}
    key = main_metric([found[MODEL_MINUS_BASELINE].keys() & found.keys() for found in compared.values()])
    if not key:
        return ""
    baselines = {name: found for name, found in compared.items() if name in PREDICTOR_LABELS}
    best = best_of(baselines, key)
    told = [(f"the {best_word(baselines)} baseline, {words(best)}", "baseline", best)] if best else []
    told += [(f"the run {name}", "that run", name) for name in compared if name not in baselines]
    return " ".join(verdict(key, who, what, compared[name][MODEL_MINUS_BASELINE][key]) for who, what, name in told)


def best_baseline_finding(predictors: Mapping[str, Any], words: Words) -> str:
    """Which baseline is best where there is no model; empty without baselines."""
    key = main_metric(list(predictors.values()))
    best = best_of(predictors, key) if key else ""
    if not best:
        return ""
    better = "less" if key in SMALLER_IS_BETTER else "more"
    found = format_estimate(predictors[best][key]).replace("(", "(95 % interval ")
    is_one = f"the {best_word(predictors)} baseline is {words(best)}"
    return f"By {metric_name(key)}, of which {better} is better, {is_one}: {found}."


def main_metric(predictors: Sequence[Collection[str]]) -> str:
    """The metric by which predictors with these metrics are compared: the first of `MAIN_METRICS` that all have."""
    return next((key for key in MAIN_METRICS if predictors and all(key in known for known in predictors)), "")


def best_of(predictors: Mapping[str, Any], key: str) -> str:
    """The name of the best predictor by a metric; "" if there is none."""
    sign = 1 if key in SMALLER_IS_BETTER else -1
    return min(predictors, key=lambda name: sign * predictors[name][key]["value"], default="")


def best_word(baselines: Mapping[str, Any]) -> str:
    """The word for the best of these: with one alone nothing was chosen."""
    return "best" if len(baselines) > 1 else "only"


def metric_name(key: str) -> str:
    """A metric in words, short enough for a sentence."""
    words, within, _ = METRIC_LABELS[key].partition(" in a study")
    return f"{words} within studies" if within else words


def verdict(key: str, rival: str, what: str, less: Mapping[str, float]) -> str:
    """Whether the model is better or worse than a rival, with the difference and what its sign means."""
    smaller, excludes = key in SMALLER_IS_BETTER, not less["low"] <= 0 <= less["high"]
    better = "better than" if (less["high"] < 0) == smaller else "worse than"
    interval = f"95 % interval {{}}, which {'excludes' if excludes else 'includes'} 0"
    value, _, ends = format_estimate(less, signed=True).removesuffix(")").partition(" (")
    return (
        f"By {metric_name(key)} the model is {better if excludes else 'not clearly different from'} {rival}: model "
        f"minus {what} is {value} ({interval.format(ends)}); {'below' if smaller else 'above'} 0 the model is better."
    )
