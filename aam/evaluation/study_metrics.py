"""How well a target is predicted within each study, over subjects, and on average over studies.

A unit is all samples of one subject with the same true value: its score is the mean of theirs. So a subject with one
label counts once, however many samples it gave; one whose label changes counts once for each value. Scores of classes
are log-odds of the second class; only their order within a study matters, so each study may have its own level.

    auc        area under the ROC curve (scikit-learn), with ties as a half: Mann and Whitney 1947
    spearman   rank correlation (scipy)
    mae        mean absolute error, in units of the target

Intervals are percentiles of resamples. In a study its subjects are drawn with replacement, cases and controls apart, so
that no resample lacks a class. For a mean over studies the studies are drawn with replacement first, then the subjects
of each (the two-stage bootstrap of Davison and Hinkley 1997, section 3.8). Few studies thus give wide intervals, as
they should: the next study is another draw. U units, P predictors, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from aam.evaluation.metrics import LEVEL, RESAMPLES, Interval
from aam.evaluation.target_metrics import Estimate

FloatArray = NDArray[np.float64]
MEAN = "mean_over_studies"
"""Ending of the keys of means over studies."""
OVER_SUBJECTS = "over_subjects"
"""Ending of the key of a metric of one study."""
MIN_UNITS = 3
"""Units from which a correlation of numbers in a study says anything."""


class Units(NamedTuple):
    """The units of one study: `scores` [U, P], `true` [U] (0 and 1 for classes), `subject` [U] numbers of subjects."""

    scores: FloatArray
    true: FloatArray
    subject: NDArray[np.int64]


@dataclass(frozen=True)
class StudyFigures:
    """Metrics by key, e.g. `auc_STUDY` and `auc_mean_over_studies`: `points` [P] and `draws` [R, P] of the predictors.

    A resample has the same subjects for all predictors.
    """

    predictors: tuple[str, ...]
    points: Mapping[str, FloatArray]
    draws: Mapping[str, FloatArray]

    def estimates(self, predictor: str) -> dict[str, Estimate]:
        """Each metric of a predictor with its interval."""
        at = self.predictors.index(predictor)
        return {key: estimate_of(self.points[key][at], draws[:, at]) for key, draws in self.draws.items()}

    def differences(self, predictor: str, other: str) -> dict[str, Estimate]:
        """Each metric of a predictor minus that of another one, resampled in pairs."""
        first, second = self.predictors.index(predictor), self.predictors.index(other)
        return {
            key: estimate_of(self.points[key][first] - self.points[key][second], draws[:, first] - draws[:, second])
            for key, draws in self.draws.items()
        }


def estimate_of(point: float, draws: FloatArray) -> Estimate:
    """A value with the 95 % interval of its resamples [R]."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(float(point), Interval(float(low), float(high)))


def score_studies(
    scores: Mapping[str, ArrayLike],
    true: ArrayLike,
    studies: Sequence[str],
    groups: Sequence[Hashable] | None,
    numeric: bool,
    seed: int,
) -> StudyFigures:
    """Score predictors, `scores` [N] by name, against `true` [N], numbers or, of two classes, 0 and 1.

    `studies` and `groups` (subjects; None: each sample is one) are those of the N samples. Studies with one class, or
    with fewer than `MIN_UNITS` units of numbers, get no metric; if none is left, the result is empty.
    """
    kinds = NUMERIC if numeric else CLASSES
    units = {study: own for study, own in list_units(scores, true, studies, groups).items() if scorable(own, numeric)}
    rng = np.random.default_rng(seed)
    points: dict[str, FloatArray] = {}
    draws: dict[str, FloatArray] = {}
    for study, own in units.items():
        weights = draw_weights(own, RESAMPLES, numeric, rng)
        for name, metric in kinds.items():
            points[f"{name}_{study}"] = np.array([metric.exact(own.true, column) for column in own.scores.T])
            draws[f"{name}_{study}"] = resample(metric, own, weights)
    if units:
        for name, values in draw_means(list(units.values()), kinds, numeric, rng).items():
            points[f"{name}_{MEAN}"] = np.mean([points[f"{name}_{study}"] for study in units], axis=0)
            draws[f"{name}_{MEAN}"] = values
    return StudyFigures(tuple(scores), points, draws)


def score_subjects(
    scores: Mapping[str, ArrayLike], true: ArrayLike, groups: Sequence[Hashable] | None, seed: int
) -> StudyFigures:
    """As `score_studies`, for the two classes of a single study: `auc_over_subjects` alone."""
    found = score_studies(scores, true, [OVER_SUBJECTS] * len(np.asarray(true)), groups, numeric=False, seed=seed)
    kept = [key for key in found.points if key.endswith(OVER_SUBJECTS)]
    return StudyFigures(
        found.predictors, {key: found.points[key] for key in kept}, {key: found.draws[key] for key in kept}
    )


def score_samples(scores: ArrayLike, true: ArrayLike, groups: Sequence[Hashable] | None, seed: int) -> Estimate:
    """Area under the ROC curve over N samples of two classes, `true` 0 or 1, from scores [N]; both must occur.

    The interval resamples subjects, `groups` [N] (None: samples), of the two classes apart.
    """
    true, scores = np.asarray(true, np.float64), np.asarray(scores, np.float64)
    subjects = pd.factorize(pd.Series(range(len(true)) if groups is None else groups, dtype=object))[0]
    own = Units(scores[:, None], true, subjects.astype(np.int64))
    weights = draw_weights(own, RESAMPLES, False, np.random.default_rng(seed))
    return estimate_of(exact_auc(true, scores), resampled_auc(true, scores, weights))


def list_units(
    scores: Mapping[str, ArrayLike], true: ArrayLike, studies: Sequence[str], groups: Sequence[Hashable] | None
) -> dict[str, Units]:
    """The units of each study, studies in order of first appearance."""
    frame = pd.DataFrame({name: np.asarray(values, np.float64) for name, values in scores.items()})
    subjects = pd.factorize(pd.Series(range(len(frame)) if groups is None else groups, dtype=object))[0]
    keys = [np.asarray(studies, dtype=object), subjects, np.asarray(true, np.float64)]
    # Of equal scores the mean is one of them, without rounding, so that ties of subjects stay ties.
    first = frame.groupby(keys, sort=False).transform("first")
    means = (frame - first).groupby(keys, sort=False).mean() + frame.groupby(keys, sort=False).first()
    of_study, of_subject, of_value = (means.index.get_level_values(level).to_numpy() for level in range(3))
    return {
        str(study): Units(means.to_numpy()[rows], of_value[rows], of_subject[rows].astype(np.int64))
        for study in dict.fromkeys(of_study)
        for rows in [np.flatnonzero(of_study == study)]
    }


def scorable(own: Units, numeric: bool) -> bool:
    """Whether a study has both classes, or enough numbers."""
    return len(own.true) >= MIN_UNITS if numeric else len(np.unique(own.true)) == 2


def draw_weights(own: Units, count: int, numeric: bool, rng: np.random.Generator) -> FloatArray:
    """How often each unit is drawn in `count` resamples of the subjects [count, U]; classes apart."""
    weights = np.zeros((count, len(own.true)))
    strata = [np.arange(len(own.true))] if numeric else [np.flatnonzero(own.true == label) for label in (0, 1)]
    for rows in strata:
        subjects, place = np.unique(own.subject[rows], return_inverse=True)
        times = rng.multinomial(len(subjects), np.full(len(subjects), 1 / len(subjects)), size=count)
        weights[:, rows] = times[:, place]
    return weights


def draw_means(
    units: Sequence[Units], kinds: Mapping[str, Metric], numeric: bool, rng: np.random.Generator
) -> dict[str, FloatArray]:
    """Means over studies [R, P] of each metric in resamples of studies, and of subjects within each study drawn."""
    predictors = units[0].scores.shape[1]
    chosen = rng.integers(len(units), size=(RESAMPLES, len(units)))
    values = {name: np.zeros((*chosen.shape, predictors)) for name in kinds}
    for number, own in enumerate(units):
        taken = chosen == number
        weights = draw_weights(own, int(taken.sum()), numeric, rng)
        for name, metric in kinds.items():
            values[name][taken] = resample(metric, own, weights)
    return {name: found.mean(axis=1) for name, found in values.items()}


def resample(metric: Metric, own: Units, weights: FloatArray) -> FloatArray:
    """A metric of each predictor in resamples with these weights [R, U] -> [R, P]."""
    return np.column_stack([metric.resampled(own.true, column, weights) for column in own.scores.T])


class Metric(NamedTuple):
    """A metric of (true [U], scores [U]), and the same of resamples by their weights [R, U] -> [R], for speed."""

    exact: Callable[[FloatArray, FloatArray], float]
    resampled: Callable[[FloatArray, FloatArray, FloatArray], FloatArray]


def exact_auc(true: FloatArray, scores: FloatArray) -> float:
    """Area under the ROC curve by scikit-learn."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(true, scores))


def exact_spearman(true: FloatArray, scores: FloatArray) -> float:
    """Rank correlation by scipy; 0 where one side is constant, as `pair_scores` has it."""
    from scipy.stats import spearmanr

    if np.ptp(true) == 0 or np.ptp(scores) == 0:
        return 0.0
    return float(spearmanr(true, scores).statistic)


def exact_mae(true: FloatArray, scores: FloatArray) -> float:
    """Mean absolute error."""
    return float(np.abs(true - scores).mean())


def weighted_midranks(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Ranks from 1 [R, U] of `values` [U] among themselves, each as often as its weight [R, U] says; ties share one."""
    found, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(found)))
    tied = np.add.reduceat(weights[:, order], starts, axis=1)
    ranks = np.cumsum(tied, axis=1) - tied + (tied + 1) / 2
    return ranks[:, place]


def resampled_auc(true: FloatArray, scores: FloatArray, weights: FloatArray) -> FloatArray:
    """AUC = (sum of the ranks of the n1 cases - n1 (n1 + 1) / 2) / (n1 n0), the statistic of Mann and Whitney."""
    cases = true == 1
    ranks, of_cases = weighted_midranks(scores, weights)[:, cases], weights[:, cases]
    n1 = of_cases.sum(axis=1)
    n0 = weights.sum(axis=1) - n1
    return ((ranks * of_cases).sum(axis=1) - n1 * (n1 + 1) / 2) / (n1 * n0)


def resampled_spearman(true: FloatArray, scores: FloatArray, weights: FloatArray) -> FloatArray:
    """Pearson correlation of the ranks of both sides; 0 where one is constant."""
    total = weights.sum(axis=1, keepdims=True)
    sides = []
    for values in (true, scores):
        ranks = weighted_midranks(values, weights)
        sides.append(ranks - (weights * ranks).sum(axis=1, keepdims=True) / total)
    one, other = sides
    scale = np.sqrt((weights * one**2).sum(axis=1) * (weights * other**2).sum(axis=1))
    return np.divide((weights * one * other).sum(axis=1), scale, out=np.zeros(len(scale)), where=scale > 0)


def resampled_mae(true: FloatArray, scores: FloatArray, weights: FloatArray) -> FloatArray:
    """Mean absolute error of each resample."""
    return weights @ np.abs(true - scores) / weights.sum(axis=1)


CLASSES = {"auc": Metric(exact_auc, resampled_auc)}
NUMERIC = {"spearman": Metric(exact_spearman, resampled_spearman), "mae": Metric(exact_mae, resampled_mae)}
"""Metrics of two classes, and of numbers."""
