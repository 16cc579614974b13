"""Sentences on baselines: which is best, whether the model differs clearly from it, and what the sign means."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from aam.evaluation.metrics import predictor_words
from aam.report.rivals import best_baseline_finding, rivals_finding

NUMBERS = partial(predictor_words, numeric=True, several_studies=False)
CLASSES = partial(predictor_words, numeric=False, several_studies=True)


def estimate(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


def predictor(key: str, value: float, less: tuple[float, float, float]) -> dict[str, Any]:
    """A baseline with this metric, and the difference of the model to it."""
    return {key: estimate(value, value - 1, value + 1), "model_minus_baseline": {key: estimate(*less)}}


@pytest.mark.parametrize(
    ("less", "verdict", "interval"),
    [
        ((-3.0, -5.0, -1.0), "better than", "-3.00 (95 % interval -5.00 to -1.00, which excludes 0)"),
        ((3.0, 1.0, 5.0), "worse than", "+3.00 (95 % interval +1.00 to +5.00, which excludes 0)"),
        ((0.5, -1.0, 2.0), "not clearly different from", "+0.50 (95 % interval -1.00 to +2.00, which includes 0)"),
    ],
)
def test_of_errors_less_is_better(less: tuple[float, float, float], verdict: str, interval: str) -> None:
    found = {
        "model": {"mae": {}},
        "within_ridge_presence": predictor("mae", 119.0, less),
        "constant": predictor("mae", 300.0, (-9.0, -9.5, -8.5)),
    }
    assert rivals_finding(found, NUMBERS) == (
        f"By mean absolute error the model is {verdict} the best baseline, ridge on presence of ASVs: model minus "
        f"baseline is {interval}; below 0 the model is better."
    )


def test_of_means_over_studies_more_is_better_and_other_runs_are_told_too() -> None:
    key = "auc_mean_over_studies"
    found = {
        "model": {key: {}, "balanced_accuracy": {}},
        "within_ridge_presence": predictor(key, 0.7, (0.05, 0.02, 0.08)),
        "constant": predictor(key, 0.5, (0.25, 0.2, 0.3)),
        "older-run": predictor(key, 0.9, (-0.15, -0.2, -0.1)),
    }
    assert rivals_finding(found, CLASSES) == (
        "By area under the ROC curve within studies the model is better than the best baseline, ridge within "
        "studies on presence of ASVs: model minus baseline is +0.0500 (95 % interval +0.0200 to +0.0800, which "
        "excludes 0); above 0 the model is better. By area under the ROC curve within studies the model is "
        "worse than the run older-run: model minus that run is -0.150 (95 % interval -0.200 to -0.100, which excludes "
        "0); above 0 the model is better."
    )


def test_without_a_model_the_best_baseline_is_named() -> None:
    found = {"constant": {"mae": estimate(3.0, 2.5, 3.5)}, "linear": {"mae": estimate(2.0, 1.5, 2.5)}}
    assert best_baseline_finding(found, NUMBERS) == (
        "By mean absolute error, of which less is better, the best baseline is linear model on centred log-ratios: "
        "2.00 (95 % interval 1.50 to 2.50)."
    )
    alone = {"constant": {"balanced_accuracy": estimate(0.5, 0.4, 0.6)}}
    assert best_baseline_finding(alone, CLASSES) == (
        "By balanced accuracy, of which more is better, the only baseline is the most common class: "
        "0.500 (95 % interval 0.400 to 0.600)."
    )
    assert rivals_finding(found, NUMBERS) == "" and best_baseline_finding({}, NUMBERS) == ""


def test_predictors_are_named_for_their_target_and_studies() -> None:
    assert NUMBERS("constant") == "the median" and CLASSES("constant") == "the most common class"
    assert NUMBERS("within_ridge_clades") == "ridge on clades"
    assert CLASSES("within_ridge_clades") == "ridge within studies on clades"
    assert NUMBERS("ridge within studies") == "ridge within studies"  # a run of this name
