"""Tables of a report: what the files of a run say, in words and with intervals."""

from __future__ import annotations

import re
from hashlib import md5

import pandas as pd
import pytest

from aam.evaluation.audit import Audit, Signal
from aam.report.page import Part, render_section, run_facts
from aam.report.parts import audit_part, baseline_part, driver_part, fold_part, target_part


def cells(part: Part) -> list[list[str]]:
    """The text of the rows of all tables, heads too, as the page has them."""
    rows = re.findall(r"<tr>(.*?)</tr>", render_section(part).replace("\u00a0", " "), re.DOTALL)
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    return [[re.sub(r"<[^>]*>", "", cell).strip() for cell in row] for row in found]


def test_figures_of_a_target_with_intervals():
    metrics = {"mae": 2.5, "mae_low": 2.25, "mae_high": 2.75, "ece": 0.1, "steps": 7}
    part = target_part(metrics, ["age"])
    assert part.title == "Predictions of age"
    assert cells(part)[1:] == [
        ["mean absolute error", "2.50", "2.25 to 2.75"],
        ["expected calibration error", "0.100", "–"],
    ]


def test_figures_of_several_targets():
    metrics = {"age_r2": 0.5, "age_r2_low": 0.4, "age_r2_high": 0.6, "weight_r2": 0.1, "age_interval_width": 7.0}
    metrics["interval_nominal"] = 0.9
    assert cells(target_part(metrics, ["age", "weight"]))[1:] == [
        ["age: R²", "0.500", "0.400 to 0.600"],
        ["age: mean width of the intervals", "7.00", "–"],
        ["weight: R²", "0.100", "–"],
        ["nominal coverage of the intervals", "0.900", "–"],
    ]


def estimate(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1}


def test_baselines_beside_the_model():
    found = {
        "age": {
            "random_forest": {"mae": estimate(3.0), "model_minus_baseline": {"mae": estimate(-0.5)}},
            "other-run": {"mae": estimate(2.8)},
            "model": {"mae": estimate(2.5)},
        }
    }
    part = baseline_part(found)
    assert part.title == "Comparison with the baselines, on the same folds"
    assert cells(part) == [
        ["predictor", "mean absolute error"],
        ["this model", "2.50 (2.40 to 2.60)"],
        ["random forest on relative abundance", "3.00 (2.90 to 3.10)"],
        ["other-run", "2.80 (2.70 to 2.90)"],
        ["this model minus", "mean absolute error"],
        ["random forest on relative abundance", "-0.500 (-0.600 to -0.400)"],
    ]
    assert part.notes == [
        "Model minus baseline: for errors the model is better below 0, for all other metrics above 0."
    ]
    alone = {"age": {"constant": {"mae": estimate(3.0)}, "within_ridge_presence": {"mae": estimate(3.0)}}}
    assert baseline_part(alone).title == "Baselines, on other folds" and not baseline_part(alone).notes
    assert [row[0] for row in cells(baseline_part(alone))] == ["predictor", "the median", "ridge on presence of ASVs"]
    classes = {"state": {"constant": {"balanced_accuracy": estimate(0.5)}}}
    assert cells(baseline_part(classes))[1][0] == "the most common class"


def test_folds_and_leading_asvs():
    rows = [{"fold": "1", "samples": 1200, "mae": 2.0}, {"fold": "s<7", "samples": 3, "mae": 3.0}]
    assert cells(fold_part(rows))[1:] == [["1", "1,200", "2.00"], ["s&lt;7", "3", "3.00"]]
    assert render_section(fold_part([])) == ""
    frame = pd.DataFrame({"feature-id": ["ACGT" * 30] + ["ash"] * 29, "share": ["0.1"] * 30})
    html = render_section(driver_part(frame, {"explained": "log-odds of '6'"}))
    assert "The leading 20 of 30 ASVs" in re.sub("<[^>]*>", "", html) and "explained: log-odds of" in html
    few = driver_part(frame.head(3), {})
    name = f"ASV {md5(b'ACGT' * 30, usedforsecurity=False).hexdigest()[:7]}"
    assert [row[0] for row in cells(few)] == ["name", name, "ash", "ash", "name", name, "ash", "ash"]
    assert cells(few)[5][1] == "ACGT" * 30  # whole below
    assert few.notes == ["All ASVs."] and "Attribution: how far" in few.help


@pytest.mark.parametrize(
    ("about", "words"),
    [
        (
            {"explained_samples": 100, "table_samples": 687},
            "Explained in 100 samples of the table, drawn at random from 687.",
        ),
        (
            {"explained_samples": 38, "table_samples": 38},
            "Explained in 38 samples of the table.",
        ),
        ({"explained_samples": 38}, "Explained in 38 samples of the table."),  # of an earlier version
    ],
)
def test_leading_asvs_say_in_which_samples(about: dict[str, int], words: str):
    frame = pd.DataFrame({"feature-id": ["ash"], "share": ["0.1"]})
    assert driver_part(frame, {"explained": "age", **about}).notes == ["All ASVs; explained: age.", words]


def test_the_samples_of_a_cross_validation_are_counted_once():
    sizes = {"samples_train": 687, "samples_tested": 687, "folds": 5}
    others = ["687", "samples predicted, each by a model trained without it"]
    assert run_facts(sizes) == [others, ["5", "folds"]]
    assert run_facts(sizes | {"samples_train": 700}) == [["700", "samples to train on"], others, ["5", "folds"]]
    split = {"samples_train": 600, "samples_tested": 87, "folds": 1}
    assert run_facts(split)[:2] == [["600", "samples to train on"], ["87", "held-out samples predicted"]]


def test_the_audit_in_words():
    signals = [Signal("plate", "batch", 100, 4, 0.8, 0.25, 0.31), Signal("age", "", 90, 0, -0.1, -0.2, 0.0)]
    part = audit_part(Audit(signals, {"barcode": "100 different values"}), "100 held-out samples")
    assert cells(part)[1:] == [
        ["plate (batch)", "100", "4", "0.800", "0.250", "0.25 to 0.31", "yes"],
        ["age", "90", "numbers", "-0.100", "0.00", "-0.20 to 0.00", "no"],
    ]
    assert part.notes == ["Not audited: barcode (100 different values)."] and "100 held-out samples" in part.intro


def test_fractions_of_drivers_have_three_digits_and_no_difference_is_below_zero():
    row = {"feature-id": "ACGT", "rank": "1", "samples": "1234", "share": "0.0614025", "tiny": "-1.23456e-05", "x": ""}
    assert cells(driver_part(pd.DataFrame([row]), {}))[1] == ["ACGT", "1", "1234", "0.0614", "-1.23e-05", ""]
    same = {"mae": {"value": 1.0, "low": 0.9, "high": 1.1}}
    less = {"mae": {"value": -0.0001, "low": -0.0504, "high": 0.05}}
    found = baseline_part({"age": {"model": same, "linear": same | {"model_minus_baseline": less}}})
    assert cells(found)[-1][1] == "-0.0001 (-0.0504 to +0.0500)"
