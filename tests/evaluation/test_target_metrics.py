"""Errors in the target's units: by hand, against scikit-learn, and intervals of differences."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, recall_score

from aam.evaluation.target_metrics import CLASSIFICATION, REGRESSION, estimate, paired_difference


def test_regression_by_hand() -> None:
    # errors 0, 1 and 4 months: mean 5/3, root of mean square sqrt(17/3), median 1
    found = estimate(REGRESSION, [1.0, 3.0, 7.0], [1.0, 2.0, 3.0], None, seed=0)
    assert found["mae"].value == pytest.approx(5 / 3)
    assert found["rmse"].value == pytest.approx(np.sqrt(17 / 3))
    assert found["median_error"].value == 1.0
    assert found["r2"].value == pytest.approx(1 - 17 / 2)


def test_classes_by_hand() -> None:
    # ill: 1 of 2 found, never said wrongly: recall 1/2, F1 2/3. well: 3 of 3, said 4 times: recall 1, F1 6/7.
    true, said = ["ill", "ill", "well", "well", "well"], ["ill", "well", "well", "well", "well"]
    found = estimate(CLASSIFICATION, said, true, None, seed=0)
    assert found["accuracy"].value == pytest.approx(4 / 5)
    assert found["balanced_accuracy"].value == pytest.approx((1 / 2 + 1) / 2)
    assert found["macro_f1"].value == pytest.approx((2 / 3 + 6 / 7) / 2)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=1, max_size=40))
def test_classes_equal_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    true, said = (np.array(side) for side in zip(*pairs, strict=True))
    metrics = CLASSIFICATION
    seen = sorted(set(true))
    recalls = recall_score(true, said, labels=seen, average="macro", zero_division=0)
    f1 = f1_score(true, said, labels=seen, average="macro", zero_division=0)
    assert metrics["balanced_accuracy"](said, true) == pytest.approx(recalls)
    assert metrics["macro_f1"](said, true) == pytest.approx(f1)


def test_metrics_are_in_the_targets_units() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(10, 3, 50)
    predicted = true + rng.normal(0, 1, 50)
    months = estimate(REGRESSION, predicted, true, None, seed=0)
    days = estimate(REGRESSION, predicted * 30, true * 30, None, seed=0)
    for name, scale in {"mae": 30, "rmse": 30, "median_error": 30, "r2": 1, "pearson": 1}.items():
        assert days[name].value == pytest.approx(scale * months[name].value)
        assert days[name].interval == pytest.approx(tuple(scale * bound for bound in months[name].interval))


def test_a_small_paired_difference_is_seen_through_large_errors() -> None:
    # both err by months on the same samples, the second by 0.2 more: alone they overlap, the difference is clear
    rng = np.random.default_rng(0)
    true, error = np.zeros(100), np.abs(rng.normal(3, 2, 100)) + 0.5
    first, second = error, error + 0.2 + rng.normal(0, 0.1, 100)
    mae = REGRESSION["mae"]
    alone = [estimate({"mae": mae}, side, true, None, seed=0)["mae"].interval for side in (first, second)]
    assert alone[0].high > alone[1].low
    difference = paired_difference(mae, (first, second), true, None, seed=0)
    assert difference.value == pytest.approx((first - second).mean())
    assert difference.interval.high < 0


def test_the_same_predictions_do_not_differ() -> None:
    difference = paired_difference(REGRESSION["mae"], ([1.0, 2.0], [1.0, 2.0]), [0.0, 0.0], ["a", "b"], seed=0)
    assert difference.value == 0 and difference.interval == (0.0, 0.0)


def test_rows_must_match() -> None:
    with pytest.raises(ValueError, match=r"\(1,\).*\(2,\)"):
        estimate(REGRESSION, [1.0], [1.0, 2.0], None, seed=0)
    with pytest.raises(ValueError, match="same rows"):
        paired_difference(REGRESSION["mae"], ([1.0], [1.0, 2.0]), [1.0, 2.0], None, seed=0)
