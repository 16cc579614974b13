"""Intervals that cover and probabilities that are meant, checked by hand and by simulation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from aam.atomic import write_json
from aam.errors import CheckpointError
from aam.evaluation.calibration import (
    CALIBRATION,
    Calibration,
    conformal_margin,
    expected_calibration_error,
    fit_temperature,
    interval_scores,
    negative_log_likelihood,
    prediction_intervals,
    read_calibration,
    warn_of_infinite_intervals,
)


def test_the_margin_is_the_rank_conformal_prediction_asks_for():
    scores = np.arange(1.0, 10.0)  # nine residuals: of ten ranks, 80 % need the eighth, 90 % the ninth
    assert conformal_margin(scores, 0.8) == 8.0
    assert conformal_margin(scores, 0.9) == 9.0
    assert conformal_margin(scores, 0.95) == math.inf  # nine residuals cannot promise more than 90 %


def test_intervals_without_end_are_told_with_what_can_be_promised():
    few, many = np.arange(11.0), np.arange(200.0)  # eleven promise 11 of 12 at most, 0.916 and not 0.917
    (text,) = warn_of_infinite_intervals(Calibration((few, many)), ("age", "weight"), 0.95)
    assert text.startswith("intervals of age are infinite: 11 residuals")
    assert text.endswith("--coverage 0.916 at most, not 0.95")
    assert warn_of_infinite_intervals(Calibration((few, many)), ("age", "weight"), 0.916) == []
    assert warn_of_infinite_intervals(Calibration((), 2.0), ("class",), 0.999) == []


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.95])
def test_intervals_cover_what_they_promise(coverage):
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(200):
        noise = rng.standard_t(3, size=(2, 100, 1))  # heavy tails, as labels have
        values = np.zeros((100, 1, 1))
        ends = prediction_intervals(values, Calibration(interval_scores(values, noise[0])), coverage)
        shares.append(((ends[:, 0, 0] <= noise[1][:, 0]) & (noise[1][:, 0] <= ends[:, 0, 1])).mean())
    assert np.mean(shares) == pytest.approx(coverage, abs=0.02)


def test_quantiles_that_are_too_wide_are_narrowed():
    values = np.tile([-10.0, 0.0, 10.0], (50, 1, 1))
    true = np.linspace(-2, 2, 50)[:, None]
    ends = prediction_intervals(values, Calibration(interval_scores(values, true)), 0.9)
    assert -10 < ends[0, 0, 0] <= 0 <= ends[0, 0, 1] < 10


def test_missing_truth_gives_no_score():
    scores = interval_scores(np.zeros((3, 2, 1)), np.array([[1.0, np.nan], [-3.0, 2.0], [2.0, np.nan]]))
    assert [column.tolist() for column in scores] == [[1.0, 2.0, 3.0], [2.0]]


def test_temperature_undoes_overconfidence():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1.5, (4000, 3))
    chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    classes = np.array([rng.choice(3, p=row) for row in chance])
    assert fit_temperature(5.0 * logits, classes) == pytest.approx(5.0, rel=0.1)
    assert negative_log_likelihood(logits, classes) < negative_log_likelihood(5.0 * logits, classes)
    assert expected_calibration_error(chance, classes) < 0.03


def test_calibration_error_by_hand():
    chance = np.array([[0.75, 0.25], [0.75, 0.25], [0.05, 0.95]])
    # two of confidence 0.75 with one right: gap 0.25, weight 2/3; one of 0.95, right: gap 0.05, weight 1/3
    assert expected_calibration_error(chance, np.array([0, 1, 1])) == pytest.approx(0.25 * 2 / 3 + 0.05 / 3)


def test_calibration_comes_back_from_its_file(tmp_path: Path):
    assert read_calibration(tmp_path / "last") is None
    kept = Calibration((np.array([0.5, 1.0]),), 2.0)
    write_json(tmp_path / CALIBRATION, kept.to_dict())
    for place in (tmp_path, tmp_path / "fold-1"):
        found = read_calibration(place)
        assert found.scores[0].tolist() == [0.5, 1.0]
        assert found.temperature == 2.0
    (tmp_path / CALIBRATION).write_text("{}")
    with pytest.raises(CheckpointError, match="not readable"):
        read_calibration(tmp_path)
