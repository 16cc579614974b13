"""Prediction intervals that cover what they promise, at every prediction, checked by hand and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from aam.evaluation.intervals import (
    BIN_RESIDUALS,
    Residuals,
    conformal_margin,
    coverage_by_size,
    find_residuals,
    interval_margins,
    measure_coverage,
    prediction_intervals,
    warn_of_infinite_intervals,
    warn_of_negative_predictions,
)


def test_the_margin_is_the_rank_conformal_prediction_asks_for():
    scores = np.arange(1.0, 10.0)  # nine residuals: of ten ranks, 80 % need the eighth, 90 % the ninth
    assert conformal_margin(scores, 0.8) == 8.0
    assert conformal_margin(scores, 0.9) == 9.0
    assert conformal_margin(scores, 0.95) == math.inf  # nine residuals cannot promise more than 90 %


def test_intervals_without_end_are_told_with_what_can_be_promised():
    few, many = (
        Residuals(np.zeros(n), np.zeros(n), np.zeros(n)) for n in (11, 200)
    )  # eleven promise 11 of 12 at most, 0.916 and not 0.917
    (text,) = warn_of_infinite_intervals((few, many), ("age", "weight"), 0.95)
    assert text.startswith("intervals of age are infinite: 11 residuals")
    assert text.endswith("--coverage 0.916 at most, not 0.95")
    assert warn_of_infinite_intervals((few, many), ("age", "weight"), 0.916) == []
    assert warn_of_infinite_intervals((), ("class",), 0.999) == []


def test_predictions_below_zero_of_what_never_is_are_told():
    true = pd.DataFrame({"age": [0.0, 2.0, np.nan], "change": [-1.0, 1.0, 2.0], "depth": [1.0, 1.0, 1.0]})
    predicted = pd.DataFrame({"age": [-0.1, 3.0, -2.0], "change": [-5.0, -5.0, 0.0], "depth": [1.0, 0.0, 2.0]})
    (told,) = warn_of_negative_predictions(true, predicted)
    assert told.startswith("2 of 3 predictions of age are below 0, which no sample is: read them as 0, or train with")


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.95])
def test_intervals_cover_what_they_promise(coverage):
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(200):
        noise = rng.standard_t(3, size=(2, 100, 1))  # heavy tails, as labels have
        values = np.zeros((100, 1, 1))
        ends = prediction_intervals(values, find_residuals(values, noise[0]), coverage)
        shares.append(((ends[:, 0, 0] <= noise[1][:, 0]) & (noise[1][:, 0] <= ends[:, 0, 1])).mean())
    assert np.mean(shares) == pytest.approx(coverage, abs=0.02)


def test_quantiles_that_are_too_wide_are_narrowed():
    values = np.tile([-10.0, 0.0, 10.0], (50, 1, 1))
    true = np.linspace(-2, 2, 50)[:, None]
    ends = prediction_intervals(values, find_residuals(values, true), 0.9)
    assert -10 < ends[0, 0, 0] <= 0 <= ends[0, 0, 1] < 10


def test_missing_truth_gives_no_residual():
    found = find_residuals(np.zeros((3, 2, 1)), np.array([[1.0, np.nan], [-3.0, 2.0], [2.0, np.nan]]))
    assert [one.above.tolist() for one in found] == [[1.0, -3.0, 2.0], [2.0]]
    assert [one.below.tolist() for one in found] == [[-1.0, 3.0, -2.0], [-2.0]]


def drawn_to_the_mean(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions [N, 1, 1] from 0 to 10 and truths [N, 1]: errors grow with the prediction, and go up at its end."""
    predicted = rng.uniform(0, 10, count)
    true = predicted + rng.normal(0, 0.1 + 0.3 * predicted) + np.where(predicted > 8, 4.0, 0.0)
    return predicted[:, None, None], true[:, None]


def test_coverage_holds_at_every_prediction():
    rng = np.random.default_rng(0)
    known = find_residuals(*drawn_to_the_mean(rng, 1000))
    values, true = drawn_to_the_mean(rng, 20_000)
    ends = prediction_intervals(values, known, 0.9)[:, 0]
    inside, tenth = (ends[:, 0] <= true[:, 0]) & (true[:, 0] <= ends[:, 1]), values[:, 0, 0].astype(int)
    assert all(inside[tenth == part].mean() == pytest.approx(0.9, abs=0.08) for part in range(10))
    one_margin = np.quantile(np.abs(known[0].above), 0.9)  # as wide everywhere, it covers all here and half there
    within = np.abs(true - values[:, 0])[:, 0] <= one_margin
    assert within[tenth < 3].mean() > 0.99 and within[tenth == 9].mean() < 0.7


def test_bins_and_their_two_ends_by_hand():
    """Two bins of 100: the first errs by 1 … 100 upwards, the second by 1 … 100 downwards."""
    count = np.arange(1.0, 101.0)
    above = np.concatenate([count, -count])
    known = Residuals(np.concatenate([np.linspace(0, 1, 100), np.linspace(5, 6, 100)]), -above, above)
    # Of 101 ranks, 90 % for each end needs rank ceil(101 * 0.9) = 91: 91 upwards; downwards of -100 … -1 it is -10.
    assert interval_margins(known, np.array([-3.0, 0.5, 5.5, 9.0]), 0.8).tolist() == [
        *[[-10.0, 91.0]] * 2,
        *[[91.0, -10.0]] * 2,
    ]


def test_too_few_residuals_have_one_margin():
    above = np.concatenate([np.arange(BIN_RESIDUALS - 2), [-500.0]])
    known = Residuals(np.arange(BIN_RESIDUALS - 1.0), -above, above)
    assert interval_margins(known, np.zeros(1), 0.5).tolist() == [[49.0, 49.0]]  # rank ceil(100 / 2) of 0, 1, … 97, 500


def test_equal_predictions_share_a_bin_and_no_interval_is_infinite():
    rng = np.random.default_rng(2)
    for predicted in (np.zeros(500), np.repeat([1.0, 2.0], [30, 470])):
        above = rng.normal(size=500)
        margins = interval_margins(Residuals(predicted, -above, above), np.linspace(-5, 5, 50), 0.99)
        assert np.isfinite(margins).all() and (margins == margins[0]).all()


def test_coverage_by_size_by_hand():
    by = pd.Series([5.0, 1.0, 1.0, 2.0, 3.0, 4.0, 6.0], index=list("abcdefg"))
    true = by + [0.0, 2.0, 0.0, 0.0, 2.0, 0.0, np.nan]
    ends = (by - 1.0, by + 1.0)
    assert measure_coverage(true, *ends) == (pytest.approx(4 / 6), 2.0)
    found = coverage_by_size(by, true, ends)
    assert found["samples"].sum() == 7 and found["low"].is_monotonic_increasing
    first = {"low": 1.0, "high": 2.0, "samples": 3, "coverage": pytest.approx(2 / 3), "width": 2.0}  # b, c and d
    assert found.iloc[0].to_dict() == first
    same = coverage_by_size(by * 0, true, ends)
    assert len(same) == 1 and same.loc[0, "coverage"] == pytest.approx(4 / 6)
