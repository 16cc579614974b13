"""Probabilities that are meant, checked by hand and by simulation; a calibration in its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aam.atomic import write_json
from aam.errors import CheckpointError
from aam.evaluation.calibration import (
    CALIBRATION,
    Calibration,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    read_calibration,
)
from aam.evaluation.intervals import Residuals, prediction_intervals


def test_temperature_undoes_overconfidence():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1.5, (4000, 3))
    chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    classes = np.array([rng.choice(3, p=row) for row in chance])
    assert fit_temperature(5.0 * logits, classes) == pytest.approx(5.0, rel=0.1)
    assert negative_log_likelihood(logits, classes) < negative_log_likelihood(5.0 * logits, classes)
    assert expected_calibration_error(chance.max(axis=1), chance.argmax(axis=1) == classes) < 0.03


def test_calibration_error_by_hand():
    confidence, right = np.array([0.75, 0.75, 0.95]), np.array([True, False, True])
    # two of confidence 0.75 with one right: gap 0.25, weight 2/3; one of 0.95, right: gap 0.05, weight 1/3
    assert expected_calibration_error(confidence, right) == pytest.approx(0.25 * 2 / 3 + 0.05 / 3)


def test_calibration_comes_back_from_its_file(tmp_path: Path):
    assert read_calibration(tmp_path / "last", 1) is None
    residuals = Residuals(np.array([3.0, 4.0]), np.array([0.5, -1.0]), np.array([-0.5, 1.0]))
    kept = Calibration((residuals,), 2.0)
    write_json(tmp_path / CALIBRATION, kept.to_dict())
    for place in (tmp_path, tmp_path / "fold-1"):
        found = read_calibration(place, 1)
        assert found is not None and found.to_dict() == kept.to_dict()
    with pytest.raises(CheckpointError, match="residuals of 1 number, but the model predicts 0; it is of another run"):
        read_calibration(tmp_path, 0)
    (tmp_path / CALIBRATION).write_text("{}")
    with pytest.raises(CheckpointError, match="not readable .*'residuals'"):
        read_calibration(tmp_path, 1)


def test_calibrations_of_sizes_alone_are_read(tmp_path: Path):
    """As written before predictions were kept: intervals as they were, one margin for all."""
    write_json(tmp_path / CALIBRATION, {"scores": [np.arange(1.0, 200.0).tolist()], "temperature": 1.0})
    found = read_calibration(tmp_path, 1)
    assert found is not None
    assert prediction_intervals(np.array([[[5.0]]]), found.residuals, 0.9).tolist() == [[[-175.0, 185.0]]]
