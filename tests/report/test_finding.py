"""The opening sentences of a report: what was found and how certain it is, for each kind of run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aam.config import FinetuneConfig, from_options, to_dict
from aam.report.digits import format_estimate, three_digits
from aam.report.finding import pretraining_finding, run_finding
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


def test_a_pretraining_that_is_too_short_is_told():
    """16 steps whose best was step 15, and embeddings that say nothing; not where the best was long before the end."""
    metrics = {"unifrac_r2": 0.77, "unifrac_mae": 0.04, "euclidean_r2": -0.0306, "steps": 16, "best_step": 15}
    assert pretraining_finding(metrics).endswith(
        "differences may be chance. Sample embeddings have learned little: their distances predict UniFrac with R² "
        "-0.0306; until they predict it better, the encoder that ships (--model shipped) is the better start. 16 steps "
        "are few, and the held-out loss was lowest at the end: train longer "
        "(`aam pretrain --resume --output-dir RUN --max-minutes N` goes on up to N minutes in all)."
    )
    for more in ({"best_step": 10}, {"steps": 300, "best_step": 300}):
        assert pretraining_finding(metrics | {"euclidean_r2": 0.6} | more).endswith("differences may be chance.")


def test_numbers_are_told_with_intervals_and_how_certain_they_are() -> None:
    assert run_finding(trained(NUMBERS), {}) == (
        "Networks on embeddings of ASVs predict age of 1,674 samples that they had not seen, with a mean absolute "
        "error of 118 (95 % interval 110 to 126) and R² 0.500 (0.400 to 0.600). This is clearly better than predicting "
        "the mean: the whole interval of R² lies above 0."
    )
    for low, high, words in (
        (-0.1, 0.6, " This cannot be told from predicting the mean: the interval of R² includes 0."),
        (-0.5, -0.1, " This is clearly worse than predicting the mean: the whole interval of R² lies below 0."),
    ):
        unsure = NUMBERS | with_interval("r2", (low + high) / 2, low, high)
        assert run_finding(trained(unsure), {}).endswith(words)
    alone = run_finding(trained({"mae": 3.0, "r2": 0.1}), {})
    assert alone.endswith("R² 0.100. This is better than predicting the mean, but without an interval.")


def test_a_pretrained_encoder_may_have_seen_the_samples_but_not_their_labels() -> None:
    found = run_finding(trained(NUMBERS, pretrained=Path("encoder")), {})
    assert found.startswith(
        "Networks on embeddings of ASVs predict age of 1,674 samples whose labels they had not seen,"
    )


def test_classes_are_told_beside_chance() -> None:
    found = run_finding(trained(CLASSES, {"classes": ["CD", "UC", "no"]}, task="classification"), {})
    assert "tell age (CD, UC, no) of 1,674 samples" in found and "balanced accuracy of 0.700 (95 % interval" in found
    assert found.endswith("0.730). This is clearly better than chance: the whole interval lies above 0.33.")


def test_several_studies_are_told_by_their_mean() -> None:
    metrics = CLASSES | with_interval("auc_mean_over_studies", 0.79, 0.74, 0.85)
    options: dict[str, Any] = {"task": "classification", "learner": "clades", "study_column": "study"}
    found = run_finding(
        trained(metrics, {"classes": ["CD", "no"], "studies": STUDIES}, leave_one_study_out=True, **options), {}
    )
    assert found == (
        "A ridge and forests on ASVs and clades predict age of 1,674 samples that they had not seen, each study by a "
        "model trained on the others. The area under the ROC curve within a study, averaged over 2 studies, is 0.790 "
        "(95 % interval 0.740 to 0.850). This is clearly better than chance: the whole interval lies above 0.5."
    )
    one = run_finding(
        trained(metrics | {"auc_risk": 0.8}, {"classes": ["CD", "no"], "studies": STUDIES}, **options), {}
    )
    assert "seen. The area under the ROC curve within a study, averaged over 1 study, is 0.790" in one  # one is scored


def test_several_targets_are_told_by_the_best_and_the_worst() -> None:
    metrics = with_interval("weight_r2", 0.6, 0.5, 0.7) | with_interval("age_r2", -0.1, -0.2, 0.1)
    found = run_finding(trained(metrics, target=["age", "weight"]), {})
    assert found == (
        "Networks on embeddings of ASVs predict 2 numbers of 1,674 samples that they had not seen. R² reaches from "
        "0.600 (95 % interval 0.500 to 0.700) for weight to -0.100 (-0.200 to 0.100) for age; predicting the mean "
        "gives 0. The whole interval lies above 0 for 1 of the 2."
    )


def test_the_best_baseline_is_told_by_the_paired_difference() -> None:
    estimate, less = {"value": 119.0, "low": 118.0, "high": 120.0}, {"value": -3.0, "low": -5.0, "high": -1.0}
    linear = {"mae": estimate, "model_minus_baseline": {"mae": less}}
    found = run_finding(trained(NUMBERS), {"age": {"model": {"mae": {}}, "linear": linear}})
    assert found.endswith(
        "lies above 0. By mean absolute error the model is better than the only baseline, linear model on "
        "centred log-ratios: model minus baseline is -3.00 (95 % interval -5.00 to -1.00, which excludes 0); below 0 "
        "the model is better."
    )
    assert "baseline" not in run_finding(trained(NUMBERS), {"age": {"linear": linear}})  # of other folds


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
