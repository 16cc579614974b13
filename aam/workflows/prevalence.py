"""Predictions shifted to the prevalence that is expected of a class (`aam predict --prevalence`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from aam.errors import ConfigError
from aam.evaluation.calibration import Calibration, shift_to_prevalence
from aam.inference.predictions import Predictions
from aam.spelling import number_of
from aam.text import name_few, quote

NAMED = 5
"""Most classes that a message lists."""


def parse_prevalence(text: str, classes: Sequence[str]) -> float:
    """The expected fraction of the second of two `classes`, from FRACTION, or CLASS=FRACTION for either.

    Raises ConfigError for another form, an unknown class, and a model that does not predict two classes.
    """
    if len(classes) != 2:
        count = len(classes) or "no"
        raise ConfigError(
            f"--prevalence is of one of two classes, but the model predicts {count} classes; leave it out"
        )
    name, equals, number = text.rpartition("=")
    if equals and name not in classes:
        raise ConfigError(f"--prevalence names the class {quote(name)}, expected {name_few(classes, NAMED)}")
    fraction = number_of(number)
    if not 0.0 < fraction < 1.0:
        raise ConfigError(f"--prevalence is {quote(text)}, expected CLASS=FRACTION, a number between 0 and 1")
    return 1.0 - fraction if equals and name == classes[0] else fraction


def at_prevalence(found: Predictions, prevalence: float, known: Calibration | None) -> Predictions:
    """The predictions, calibrated and then shifted so that the mean chance of the second class is `prevalence`."""
    temperature = 1.0 if known is None else known.temperature
    return replace(found, values=shift_to_prevalence(found.values / temperature, prevalence))
