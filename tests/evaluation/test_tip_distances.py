"""Errors of tree distances by bins."""

from __future__ import annotations

import numpy as np
import pytest

from aam.evaluation.tip_distances import BINS, distance_errors, error_rows


def test_errors_by_hand():
    """Bins end with their upper bound: 0.02 belongs to the first. Errors 0.01 and 0.03 there, 0.1 and 0.2 above 0.3."""
    true = np.array([0.01, 0.02, 0.04, 0.5, 0.9])
    found = distance_errors(np.array([0.02, 0.05, 0.04, 0.4, 1.1]), true)
    assert found["mae_to_0.02"] == pytest.approx(0.02) and found["pairs_to_0.02"] == 2
    assert found["mae_to_0.05"] == 0 and found["mae_above_0.3"] == pytest.approx(0.15)
    assert "mae_to_0.1" not in found and "mae_to_0.3" not in found
    squares = 0.01**2 + 0.03**2 + 0.1**2 + 0.2**2
    assert found["r2"] == pytest.approx(1 - squares / ((true - 0.294) ** 2).sum())


def test_equal_distances_have_no_r2():
    assert "r2" not in distance_errors(np.array([1.0, 2.0]), np.array([1.0, 1.0]))


def test_rows_of_the_report_are_those_that_were_measured():
    assert error_rows({"unifrac_r2": 0.5}) == []
    metrics = {"reference_tips_r2": 0.5, "reference_tips_mae_to_0.02": 0.01, "reference_genera_mae_above_0.3": 0.2}
    tips, genera = error_rows(metrics)
    assert tips == ["tips held out", "0.0100", "", "", "", "", "0.500"] and len(BINS) == 5
    assert genera == ["tips of genera held out", "", "", "", "", "0.2000", ""]
