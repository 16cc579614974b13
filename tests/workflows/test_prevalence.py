"""Predictions shifted to an expected prevalence: by the arithmetic, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, log_softmax

from aam.errors import ConfigError
from aam.evaluation.calibration import Calibration
from aam.inference.predictions import Predictions
from aam.workflows.prevalence import at_prevalence, parse_prevalence


def test_the_mean_chance_is_the_prevalence_and_ranks_stay():
    odds = np.array([-2.0, 0.0, 1.0, 3.0])
    values = log_softmax(np.stack([np.zeros(4), odds], axis=1), axis=1)[:, None, :]
    moved = at_prevalence(Predictions(values, np.zeros((4, 1))), 0.2, Calibration(temperature=2.0))
    chance = np.exp(moved.values[:, 0, 1])
    assert chance.mean() == pytest.approx(0.2)
    shift = np.log(chance / (1 - chance)) - odds / 2  # calibrated first
    assert shift == pytest.approx(np.full(4, shift[0]))
    assert expit(odds / 2 + shift[0]).mean() == pytest.approx(0.2)


@pytest.mark.parametrize(("text", "of_second"), [("0.3", 0.3), ("well=0.3", 0.3), ("ill=0.3", 0.7)])
def test_a_fraction_is_of_the_class_that_it_names(text: str, of_second: float):
    assert parse_prevalence(text, ("ill", "well")) == pytest.approx(of_second)


@pytest.mark.parametrize(
    ("text", "classes", "message"),
    [
        ("0.3", (), "the model predicts no classes; leave it out"),
        ("0.3", ("a", "b", "c"), "the model predicts 3 classes; leave it out"),
        ("sick=0.3", ("ill", "well"), "names the class 'sick', expected ill, well"),
        ("30", ("ill", "well"), "is '30', expected CLASS=FRACTION, a number between 0 and 1"),
        ("ill=much", ("ill", "well"), "is 'ill=much', expected CLASS=FRACTION"),
    ],
)
def test_what_is_no_prevalence_is_refused(text: str, classes: tuple[str, ...], message: str):
    with pytest.raises(ConfigError, match=message):
        parse_prevalence(text, classes)
