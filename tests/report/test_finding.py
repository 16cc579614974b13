"""The opening sentence of a report: what was found and how certain it is, for each kind of run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aam.config import FinetuneConfig, from_options, to_dict
from aam.report.digits import format_estimate, three_digits
from aam.report.finding import run_finding
from aam.report.record import RunRecord

PRETRAINED = {
    "unifrac_r2": 0.7559, "unifrac_mae": 0.03374, "samples_validation": 38,
    "baseline_upgma_r2": 0.7155, "baseline_jaccard_r2": 0.8,
}  # fmt: skip
STUDIES = [
    {"study": name, "samples": 9, "subjects": 9, "classes": {"CD": 4, "control": 5}, "medians": {}}
    for name in ("risk", "pouchitis")
]


def with_interval(name: str, value: float, low: float, high: float) -> dict[str, float]:
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def trained(metrics: dict[str, Any], manifest: dict[str, Any] | None = None, **options: Any) -> RunRecord:
    """A run of `aam train` with these metrics."""
    given: dict[str, Any] = {"target": ["age"], "example": True, "output_dir": "run"} | options
    config = to_dict(from_options(FinetuneConfig, given))
    return RunRecord(Path("run"), {"config": config, **(manifest or {})}, {"samples_tested": 1674} | metrics)


NUMBERS = with_interval("mae", 117.9, 110.0, 126.0) | with_interval("r2", 0.5, 0.4, 0.6)
CLASSES = with_interval("balanced_accuracy", 0.7, 0.66, 0.73)


def test_pretraining_is_told_beside_both_baselines() -> None:
    assert run_finding(RunRecord(Path("run"), {}, PRETRAINED), {}) == (
        "UniFrac between 38 held-out samples is predicted from sequences and abundances, without a tree, with R² 0.756 "
        "(mean absolute error 0.0337), better than a UPGMA tree of the sequences (0.716) and not better than the "
        "Jaccard distance (0.800); that is one split without an interval, so small differences may be chance."
    )
    only_reference = run_finding(RunRecord(Path("run"), {}, {"reference_tips_r2": 0.9}), {})
    assert "reference alone" in only_reference and "R² 0.900" in only_reference
    assert run_finding(RunRecord(Path("run")), {}) == ""


def test_numbers_are_told_with_intervals_and_how_certain_they_are() -> None:
    assert run_finding(trained(NUMBERS), {}) == (
        "Networks on embeddings of ASVs predict age of 1,674 samples that they had not seen with a mean absolute error "
        "of 118 (95 % interval 110 to 126) and R² 0.500 (0.400 to 0.600), clearly better than predicting the mean (R² "
        "0): the whole interval lies above."
    )
    for low, high, words in ((-0.1, 0.6, "cannot be told from"), (-0.5, -0.1, "clearly worse than")):
        unsure = NUMBERS | with_interval("r2", (low + high) / 2, low, high)
        assert words in run_finding(trained(unsure), {})


def test_classes_are_told_beside_chance() -> None:
    found = run_finding(trained(CLASSES, {"classes": ["CD", "UC", "no"]}, task="classification"), {})
    assert "tell age (CD, UC, no) of 1,674 samples" in found and "balanced accuracy of 0.700 (95 % interval" in found
    assert found.endswith("clearly better than chance (0.33): the whole interval lies above.")


def test_several_studies_are_told_by_their_mean() -> None:
    metrics = CLASSES | with_interval("auc_mean_over_studies", 0.79, 0.74, 0.85)
    options: dict[str, Any] = {"task": "classification", "learner": "clades", "study_column": "study"}
    found = run_finding(
        trained(metrics, {"classes": ["CD", "no"], "studies": STUDIES}, leave_one_study_out=True, **options), {}
    )
    assert found.startswith("A ridge and forests on ASVs and clades predict age of ")
    assert "an area under the ROC curve of 0.790 (95 % interval 0.740 to 0.850) within a study" in found
    assert "averaged over 2 studies, each by a model trained on the others, clearly better than chance (0.5)" in found


def test_several_targets_are_told_by_the_best_and_the_worst() -> None:
    metrics = with_interval("weight_r2", 0.6, 0.5, 0.7) | with_interval("age_r2", -0.1, -0.2, 0.1)
    found = run_finding(trained(metrics, target=["age", "weight"]), {})
    assert "with R² from 0.600 (95 % interval 0.500 to 0.700) of weight to -0.100" in found
    assert "of 1 of them the whole interval lies above 0" in found


@pytest.mark.parametrize(
    ("less", "words"),
    [
        ((-3.0, -5.0, -1.0), "clearly better than the best baseline, linear model"),
        ((3.0, 1.0, 5.0), "clearly worse than the best baseline, linear model"),
        ((0.5, -1.0, 2.0), "not clearly different from the best baseline, linear model"),
    ],
)
def test_the_best_baseline_is_told_by_the_paired_difference(less: tuple[float, float, float], words: str) -> None:
    def predictor(value: float) -> dict[str, Any]:
        estimate = {"value": value, "low": value - 1, "high": value + 1}
        difference = dict(zip(("value", "low", "high"), less, strict=True))
        return {"mae": estimate, "model_minus_baseline": {"mae": difference}}

    found = {"model": {"mae": {}}, "linear": predictor(119.0), "constant": predictor(300.0)}
    assert words in run_finding(trained(NUMBERS), {"age": found})
    assert "baseline" not in run_finding(trained(NUMBERS), {"age": {"linear": predictor(119.0)}})  # of other folds


@pytest.mark.parametrize(
    ("value", "text"),
    [(118.0, "118"), (117.94, "118"), (11.04, "11.0"), (0.0410123, "0.0410"), (1674, "1,674"), (999.7, "1,000"),
     (1.23456e-5, "1.23e-05"), (-0.28, "-0.280"), (0, "0.00"), ("text", "text"), (True, "True")],
)  # fmt: skip
def test_three_digits_by_hand(value: Any, text: str) -> None:
    assert three_digits(value) == text


def test_a_value_and_its_interval_have_the_same_decimals() -> None:
    assert format_estimate({"value": 117.94, "low": 109.6, "high": 126.24}) == "118 (110 to 126)"
    assert format_estimate({"value": 9.5, "low": 8.912, "high": 10.3}) == "9.50 (8.91 to 10.30)"
    assert format_estimate({"value": -0.0001, "low": -1.0, "high": 1.0}, signed=True) == "+0.00 (-1.00 to +1.00)"
