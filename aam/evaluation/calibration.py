"""Calibration from out-of-fold predictions: residuals of numbers, temperatures of probabilities.

N samples, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import expit, log_softmax

from aam.errors import CheckpointError
from aam.evaluation.intervals import Residuals
from aam.io.files import read_json_file
from aam.text import counted

CALIBRATION = "calibration.json"
TEMPERATURES = (0.05, 20.0)
"""Bounds of the temperature that is fitted."""
BINS = 10
"""Of confidence, for the expected calibration error."""


@dataclass(frozen=True)
class Calibration:
    """`residuals` of each numeric target, and the `temperature` of log-probabilities."""

    residuals: tuple[Residuals, ...] = ()
    temperature: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"residuals": [one.to_dict() for one in self.residuals], "temperature": self.temperature}


def read_calibration(folder: Path, numbers: int) -> Calibration | None:
    """The calibration in the folder of a run or of a checkpoint of it; None if there is none.

    Raises CheckpointError if it is damaged, or not one of a model of so many `numbers`, 0 of classes.
    """
    for place in (folder, folder.parent):
        if (place / CALIBRATION).exists():
            found = read_json_file(place / CALIBRATION, parse_calibration, CheckpointError, "train again")
            if len(found.residuals) != numbers:
                raise CheckpointError(
                    f"{place / CALIBRATION}: residuals of {counted(len(found.residuals), 'numbers')}, but the model "
                    f"predicts {numbers}; it is of another run: train again"
                )
            return found
    return None


def parse_calibration(record: Any) -> Calibration:
    """A calibration from the result of its `to_dict`."""
    residuals = record["scores"] if "scores" in record else record["residuals"]
    return Calibration(tuple(map(Residuals.parse, residuals)), float(record["temperature"]))


def shift_to_prevalence(values: NDArray[np.float64], prevalence: float) -> NDArray[np.float64]:
    """Log-probabilities [N, 1, 2] shifted so that the mean chance of the second class is `prevalence`.

    One number is added to all log-odds, which corrects a prior that differs from that of training and keeps all ranks
    (Saerens et al. 2002, Neural Computation 14:21).
    """
    odds = values[:, 0, 1] - values[:, 0, 0]
    bound = float(np.abs(odds).max(initial=0.0)) + 50.0
    shift = brentq(lambda by: float(expit(odds + by).mean()) - prevalence, -bound, bound) if len(odds) else 0.0
    return log_softmax(np.stack([np.zeros_like(odds), odds + shift], axis=-1)[:, None], axis=-1)


def fit_temperature(log_probabilities: NDArray[np.float64], classes: NDArray[np.int64]) -> float:
    """The temperature that makes the known classes [N] likeliest under log-probabilities [N, C] (Guo et al. 2017)."""
    low, high = (math.log(bound) for bound in TEMPERATURES)
    found = minimize_scalar(
        lambda log: negative_log_likelihood(log_probabilities, classes, math.exp(log)),
        bounds=(low, high),
        method="bounded",
    )
    return math.exp(float(found.x))


def negative_log_likelihood(
    log_probabilities: NDArray[np.float64], classes: NDArray[np.int64], temperature: float = 1.0
) -> float:
    """Mean negative log-likelihood of classes [N] under log-probabilities [N, C], in nats per sample."""
    scaled = log_softmax(log_probabilities / temperature, axis=-1)
    return float(-scaled[np.arange(len(classes)), classes].mean())


def reliability_bins(probabilities: NDArray[np.float64], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Bins of confidence that are not empty [n, 3]: mean confidence, accuracy and samples of each."""
    return bins_of(probabilities.max(axis=1), probabilities.argmax(axis=1) == classes)


def bins_of(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The bins [n, 3] of answers of this confidence [N], which are right or not [N]."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return np.array(
        [(confidence[bins == b].mean(), right[bins == b].mean(), (bins == b).sum()) for b in np.unique(bins)]
    )


def expected_calibration_error(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> float:
    """Mean gap between confidence [N] and share of `right` answers [N] over bins of equal width (Guo et al. 2017).

    Bins are weighted by their samples; 0 is perfect.
    """
    mean, accuracy, samples = bins_of(confidence, right).T
    return float((np.abs(accuracy - mean) * samples).sum() / samples.sum())
