"""Scores of pairs: by hand, against scikit-learn and scipy, and what a bootstrap interval covers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import squareform
from sklearn import metrics

from aam.errors import NonFiniteError
from aam.evaluation.metrics import PairScores, bootstrap_interval, pair_scores, upper_triangle

values = arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e3, 1e3))


def r2(predicted: np.ndarray, true: np.ndarray) -> float:
    return pair_scores(predicted, true).r2


def test_scores_by_hand() -> None:
    # true 1 2 3: mean 2, spread 1 + 0 + 1 = 2; errors 0 0 1: R2 = 1 - 1/2, MAE = 1/3
    # centred predictions (1 2 4) - 7/3 = -4/3 -1/3 5/3 and truth -1 0 1: r = 3 / sqrt(42/9 * 2) = 0.98198
    scores = pair_scores([1, 2, 4], [1, 2, 3])
    assert scores == pytest.approx(PairScores(0.5, 1 / 3, 3 / np.sqrt(42 / 9 * 2)))


def test_a_constant_offset_is_held_against_r2_but_not_against_pearson() -> None:
    # errors are 1 each: R2 = 1 - 3/2
    assert pair_scores([2, 3, 4], [1, 2, 3]) == pytest.approx(PairScores(-0.5, 1.0, 1.0))


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [
        ([0.1] * 7, [0.1] * 7, PairScores(1.0, 0.0, 0.0)),
        ([0.1, 0.3], [0.2, 0.2], PairScores(0.0, 0.1, 0.0)),
        ([0.2, 0.2], [0.1, 0.3], PairScores(0.0, 0.1, 0.0)),
        ([0.5], [0.25], PairScores(0.0, 0.25, 0.0)),
    ],
    ids=["both constant and equal", "constant truth", "constant prediction", "one pair"],
)
def test_constant_input_has_defined_scores(predicted: list, true: list, expected: PairScores) -> None:
    assert pair_scores(predicted, true) == pytest.approx(expected)


@given(values, st.integers(0, 2**32 - 1))
@example(np.array([9e-160, 0.0]), 0)
def test_scores_equal_scikit_learn_and_stay_finite(true: np.ndarray, seed: int) -> None:
    predicted = true + np.random.default_rng(seed).normal(size=len(true))
    scores = pair_scores(predicted, true)
    assert np.isfinite(scores).all() and -1 <= scores.pearson <= 1
    assert scores.mae == pytest.approx(metrics.mean_absolute_error(true, predicted))
    if np.ptp(true) > 1e-3:
        assert scores.r2 == pytest.approx(metrics.r2_score(true, predicted))
        assert scores.pearson == pytest.approx(np.corrcoef(predicted, true)[0, 1], abs=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_named(bad: float) -> None:
    with pytest.raises(NonFiniteError, match="1 of 2 values of predicted"):
        pair_scores([0.0, bad], [0.0, 1.0])


def test_shapes_must_agree_and_hold_something() -> None:
    with pytest.raises(ValueError, match=r"\(2,\).*\(3,\)"):
        pair_scores([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="empty"):
        pair_scores([], [])


def test_upper_triangle_is_scipys_condensed_order() -> None:
    matrix = np.arange(16).reshape(4, 4)
    matrix = matrix + matrix.T - 2 * np.diag(np.diag(matrix))
    assert upper_triangle(matrix).tolist() == squareform(matrix).tolist()
    with pytest.raises(ValueError, match=r"square.*\(2, 3\)"):
        upper_triangle(np.zeros((2, 3)))


def test_interval_of_a_mean_has_the_width_that_theory_gives() -> None:
    # the standard error of the mean of 400 values of standard deviation 1 is 1/20: 95 % is +- 1.96/20
    sample = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap_interval(lambda rows: sample[rows].mean(), range(400), seed=0)
    assert low < sample.mean() < high
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.1)


def test_rows_of_a_group_are_drawn_together() -> None:
    # 20 groups of 20 equal rows carry the information of 20 rows: +- 1.96 / sqrt(20), not 1.96 / sqrt(400)
    of_group = np.random.default_rng(1).normal(size=20)
    rows, groups = np.repeat(of_group, 20), np.repeat(np.arange(20), 20).tolist()
    low, high = bootstrap_interval(lambda drawn: rows[drawn].mean(), groups, seed=0)
    assert high - low == pytest.approx(2 * 1.96 * of_group.std() / np.sqrt(20), rel=0.15)


def test_interval_repeats_by_seed_and_needs_rows() -> None:
    sample = np.random.default_rng(2).normal(size=30)
    draws = [bootstrap_interval(lambda rows: sample[rows].mean(), range(30), seed) for seed in (5, 5, 6)]
    assert draws[0] == draws[1] != draws[2]
    assert bootstrap_interval(lambda rows: len(rows), ["a", "a"], seed=0) == (2.0, 2.0)
    with pytest.raises(ValueError, match="0 rows"):
        bootstrap_interval(lambda rows: 0.0, [], seed=0)
