"""How well studies and labels can be told: signals of simulated samples, and labels with the study taken out."""

from __future__ import annotations

import numpy as np
import pytest

from aam.evaluation.separability import class_signal, halves, within

STUDIES = {"a": np.arange(0, 60), "b": np.arange(60, 120)}


def points_of(study: float, label: float, seed: int = 0) -> np.ndarray:
    """120 samples of two studies and two labels, apart by so many standard deviations on an axis each."""
    found = np.random.default_rng(seed).normal(size=(120, 6))
    found[60:, 0] += study
    found[1::2, 1] += label
    return found


def test_the_signal_is_0_by_chance_and_1_if_always_right():
    studies, subjects = ["a"] * 60 + ["b"] * 60, list(range(120))
    assert class_signal(points_of(20, 0), studies, subjects, 0) == 1.0
    assert abs(class_signal(points_of(0, 0), studies, subjects, 0) or 0.0) < 0.25
    # two normals 2 apart: 84 % are on the right side, a signal of 2 * 0.84 - 1
    assert class_signal(points_of(2, 0), studies, subjects, 0) == pytest.approx(0.68, abs=0.15)


def test_subjects_are_not_on_both_sides():
    """Each subject is a point of its own and labels mean nothing: only a sample of the same subject gives it away."""
    grouped, alone = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        points = np.repeat(rng.normal(size=(12, 30)), 10, axis=0) + 0.01 * rng.normal(size=(120, 30))
        labels = np.repeat(rng.permutation(["x", "y"] * 6), 10).tolist()
        grouped.append(class_signal(points, labels, np.repeat(np.arange(12), 10).tolist(), 0))
        alone.append(class_signal(points, labels, list(range(120)), 0))
    assert abs(np.mean(grouped)) < 0.35 < 0.9 < np.mean(alone)


def test_knowing_the_study_does_not_help_to_tell_the_label():
    labels = ["ill" if row < 50 or 60 <= row < 70 else "well" for row in range(120)]  # 5 of 6 ill in a, 1 of 6 in b
    points, subjects = points_of(20, 0), list(range(120))
    assert (class_signal(points, labels, subjects, 0) or 0.0) > 0.5
    assert abs(class_signal(within(points, STUDIES), labels, subjects, 0) or 0.0) < 0.3


def test_numbers_are_cut_at_the_median_of_their_study():
    numbers = np.array([1.0, 2.0, 3.0, 10.0, np.nan, 30.0])
    found = halves(numbers, {"a": np.arange(3), "b": np.arange(3, 6)})
    assert found == ["low", "low", "high", "low", None, "high"]


def test_too_few_samples_have_no_signal():
    assert class_signal(points_of(5, 5)[:8], ["a", "b"] * 4, list(range(8)), 0) is None
    assert class_signal(points_of(5, 5), ["a"] * 120, list(range(120)), 0) is None
