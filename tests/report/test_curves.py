"""Curves of a log: what is taken from the records and how it is smoothed."""

from __future__ import annotations

import numpy as np

from aam.report.curves import curve_points, smooth


def test_a_series_is_in_order_of_steps_finite_and_of_one_kind() -> None:
    records = [
        {"kind": "train", "step": 3, "loss": 1.0},
        {"kind": "train", "step": 1, "loss": 4.0},
        {"kind": "train", "step": 2, "loss": float("nan")},
        {"kind": "train", "step": 4, "loss": None},
        {"kind": "train", "step": 5, "other": 1.0},
        {"kind": "validation", "step": 6, "loss": 2.0},
        {"kind": "train", "step": 3, "loss": 0.5},
    ]
    steps, values = curve_points(records, "train", "loss")
    assert steps.tolist() == [1, 3] and values.tolist() == [4.0, 0.5]
    assert [len(part) for part in curve_points(records, "train", "absent")] == [0, 0]


def test_smoothing_by_hand() -> None:
    # 75 values: a window of 3, of 2 at the ends
    values = np.zeros(75)
    values[[0, 40]] = 6.0
    found = smooth(values)
    assert found[:3].tolist() == [3.0, 2.0, 0.0] and found[39:42].tolist() == [2.0, 2.0, 2.0]


def test_smoothing_keeps_short_and_constant_curves() -> None:
    assert smooth(np.array([1.0, 5.0, 2.0])).tolist() == [1.0, 5.0, 2.0]
    np.testing.assert_allclose(smooth(np.full(200, 0.3)), 0.3)
