"""Ridge regression that compares samples only with samples of their own study.

    minimise  sum_i w_i |(y_i - mean_s(y)) - (x_i - mean_s(x)) B / scale|^2  +  penalty |B|^2

with the weighted means of the sample's study s (fixed effects; Mundlak 1978, Econometrica 46:69), so that what tells
studies apart teaches nothing. Classes are learned as indicators. Features come in blocks, clades and ASVs, which have
the same variance in all, or the many nested clades would drown the ASVs. N samples, F features, K numbers or classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.learners.weights import Labelled, sample_weights

PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Penalties that are tried, as multiples of the trace of the Gram matrix; at 1 a ridge is the difference of means."""
USUAL = 0.1
"""The penalty where none is chosen."""
FEWEST_SUBJECTS = 30
"""With fewer subjects none is chosen: a choice among so few is noise."""
TOLERANCE = 0.005
"""Of penalties that differ by less in the correlation, the strongest is taken."""
PARTS = 5
"""Parts of the subjects that are left out in turn to choose the penalty, where there are not three studies."""
MOST_ROWS = 4000
"""Most samples of one solution, which costs the cube of their number; more are drawn down to it."""
CHOICE_ROWS = 1500
"""The same where the penalty is chosen."""
TINY = np.finfo(np.float64).tiny
SPREAD = 0.1
"""Added to the standard deviation of each feature, so that rare features are not blown up."""


@dataclass(frozen=True)
class Ridge:
    """A fitted ridge: `coefficients` [F, K] of features less `centre` [F], `offset` [K]; `spread` of its scores.

    `spread` is the standard deviation, within studies, of what it says of its training samples.
    """

    coefficients: NDArray[np.float64]
    centre: NDArray[np.float64]
    offset: NDArray[np.float64]
    spread: float
    penalty: float

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Predictions [n, K] of samples with these features [n, F]; of classes, scores without a scale."""
        return (features - self.centre) @ self.coefficients + self.offset


def fit_ridge(features: NDArray[np.float32], first: int, labelled: Labelled, seed: int) -> Ridge:
    """Fit to features [N, F], the `first` of which are one block and the others another.

    Penalty and slope are those that predict left-out training studies, or subjects, best.
    """
    choice = choose_penalty(features, first, labelled, seed)
    rows = draw_rows(labelled, MOST_ROWS, seed)
    return _Path.of(features[rows], first, labelled.rows(rows)).ridge(choice.penalty, choice.slope)


class Choice(NamedTuple):
    """A penalty, and by what its predictions are multiplied, because a strong penalty draws them to the mean."""

    penalty: float
    slope: float


def choose_penalty(features: NDArray[np.float32], first: int, labelled: Labelled, seed: int) -> Choice:
    """The penalty with the highest correlation of predictions and targets within studies that were left out.

    The slope is that of the regression of these targets on these predictions.
    """
    if len(np.unique(labelled.subject)) < FEWEST_SUBJECTS:
        return Choice(USUAL, 1.0)
    found = []
    for out in left_out_parts(labelled, seed):
        train, test = np.flatnonzero(~out), np.flatnonzero(out)
        train = train[draw_rows(labelled.rows(train), CHOICE_ROWS, seed)]
        if not np.ptp(labelled.values[train], axis=0).any() or not np.ptp(labelled.values[test], axis=0).any():
            continue
        path, own = _Path.of(features[train], first, labelled.rows(train)), labelled.rows(test)
        found.append([products_within(path.ridge(one)(features[test]), own) for one in PENALTIES])
    if not found:
        return Choice(USUAL, 1.0)
    of_both, of_predicted, of_target = np.moveaxis(np.array(found), -1, 0)  # each [parts, penalties]
    mean = (of_both / np.maximum(np.sqrt(of_predicted * of_target), TINY)).mean(axis=0)
    place = int(np.flatnonzero(mean >= mean.max() - TOLERANCE)[-1])
    slope = float(of_both[:, place].sum() / max(of_predicted[:, place].sum(), TINY))
    return Choice(PENALTIES[place], slope if slope > 0 else 1.0)


def left_out_parts(labelled: Labelled, seed: int) -> list[NDArray[np.bool_]]:
    """Samples [N] to leave out in turn, to choose a setting: studies if there are three, else parts of the subjects."""
    studies = np.unique(labelled.study)
    if len(studies) > 2:
        return [labelled.study == one for one in studies]
    subjects = np.random.default_rng(seed).permutation(np.unique(labelled.subject))
    return [np.isin(labelled.subject, part) for part in np.array_split(subjects, PARTS)]


def draw_rows(labelled: Labelled, most: int, seed: int) -> NDArray[np.int64]:
    """At most so many rows, in their order; one of each subject first, because samples of one subject are alike."""
    order = np.random.default_rng(seed).permutation(len(labelled.subject))
    _, first = np.unique(labelled.subject[order], return_index=True)
    later = np.setdiff1d(np.arange(len(order)), first)
    return np.sort(order[np.r_[np.sort(first), later]][:most])


def correlation_within(predicted: NDArray[np.float64], labelled: Labelled) -> float:
    """Weighted correlation of predictions and targets [n, K], both less the mean of their study."""
    of_both, of_predicted, of_target = products_within(predicted, labelled)
    return of_both / max(np.sqrt(of_predicted * of_target), TINY)


def products_within(predicted: NDArray[np.float64], labelled: Labelled) -> tuple[float, float, float]:
    """Weighted sums of predictions times targets, and of the squares of each, [n, K], less the means of the studies."""
    weight = sample_weights(labelled)[:, None]
    x, y = _centred(predicted, labelled, weight), _centred(labelled.values, labelled, weight)
    return float((weight * x * y).sum()), float((weight * x * x).sum()), float((weight * y * y).sum())


def _centred(values: NDArray[np.floating], labelled: Labelled, weight: NDArray[np.float64]) -> NDArray[np.float64]:
    found = np.array(values, np.float64)
    for rows in labelled.by_study():
        found[rows] -= np.average(found[rows], axis=0, weights=weight[rows, 0])
    return found


@dataclass(frozen=True)
class _Path:
    """The solutions for all penalties, from one eigendecomposition of the Gram matrix of the samples."""

    scaled: NDArray[np.float32]
    scale: NDArray[np.float64]
    centre: NDArray[np.float64]
    offset: NDArray[np.float64]
    target: NDArray[np.float64]
    values: NDArray[np.float64]
    vectors: NDArray[np.float64]
    weight: NDArray[np.float64]

    @classmethod
    def of(cls, features: NDArray[np.float32], first: int, labelled: Labelled) -> _Path:
        weight = sample_weights(labelled)[:, None]
        x, y = _centred(features, labelled, weight), _centred(labelled.values, labelled, weight)
        variance = np.average(x * x, axis=0, weights=weight[:, 0])
        scale = np.sqrt(variance) + SPREAD
        for block in (slice(0, first), slice(first, None)):
            # Not below 1: a block that hardly varies is not blown up.
            scale[block] *= np.sqrt(max(1.0, float((variance[block] / scale[block] ** 2).sum())))
        scaled = (x / scale * np.sqrt(weight)).astype(np.float32)  # single precision halves the time of the products
        values, vectors = np.linalg.eigh((scaled @ scaled.T).astype(np.float64))
        centre = np.average(features.astype(np.float64), axis=0, weights=weight[:, 0])
        offset = np.average(labelled.values, axis=0, weights=weight[:, 0])
        return cls(scaled, scale, centre, offset, vectors.T @ (np.sqrt(weight) * y), values, vectors, weight)

    def ridge(self, penalty: float, slope: float = 1.0) -> Ridge:
        """The solution for one penalty, its predictions multiplied by `slope`."""
        total = float(self.values.sum())
        total = total if total > TINY else 1.0  # no feature varies, so all that is said is the mean
        dual = self.vectors @ (self.target / (np.maximum(self.values, 0.0) + penalty * total)[:, None])
        direction = slope * (self.scaled.T @ dual)
        said = self.scaled @ direction  # predictions times the root of the weight
        spread = float(np.sqrt((said * said).sum() / (self.weight.sum() * said.shape[1])))
        return Ridge(direction / self.scale[:, None], self.centre, self.offset, spread, penalty)
