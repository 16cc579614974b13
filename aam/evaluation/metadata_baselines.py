"""Baselines for a metadata column: estimators that studies commonly use, nothing pretrained.

    random_forest           on relative abundance
    random_forest_weighted  the same with each class of each study of equal total weight
    study_forests           one forest for each study; the ranks that they give to a sample are averaged
    gradient_boosting       on relative abundance
    linear                  numbers: ridge regression on centred log-ratios (CLR)
    logistic_l1, _l2        classes: logistic regression on CLR
    within_ridge_clades     ridge that compares samples within their study, on every clade of a reference
    within_ridge_presence   the same on the presence of ASVs
    knn                     k nearest neighbours on a precomputed distance such as UniFrac
    constant                median / most frequent class

Everything that is learned from data (which ASVs are common, scales, penalties) is learned inside the training fold.
N samples, n test samples of all folds, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.config.baseline import BaselineName
from aam.corpus.split import Fold
from aam.evaluation import baseline_lines as lines
from aam.evaluation import baseline_trees as trees
from aam.evaluation.labelled_counts import FloatArray, LabelledCounts, Problem, said_by
from aam.observer import Progress, no_progress

KNN_NEIGHBOURS = 10


def nearest_neighbours(problem: Problem) -> FloatArray:
    """Mean, or shares of the classes, of the nearest training samples."""
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    if problem.study.distances is None:
        raise ValueError("nearest neighbours need distances: compute UniFrac first")
    train, test = (problem.study.distances[np.ix_(rows, problem.fold.train)] for rows in problem.sides)
    kind = KNeighborsClassifier if problem.labelled.classes else KNeighborsRegressor
    model = kind(min(KNN_NEIGHBOURS, len(train)), metric="precomputed")
    return said_by(model.fit(train, problem.answers), test, problem.labelled)


def constant(problem: Problem) -> FloatArray:
    """Median, or the most frequent class, of the training samples."""
    from sklearn.dummy import DummyClassifier, DummyRegressor

    model = DummyClassifier(strategy="most_frequent") if problem.labelled.classes else DummyRegressor(strategy="median")
    nothing = [np.zeros((len(rows), 1)) for rows in problem.sides]
    return said_by(model.fit(nothing[0], problem.answers), nothing[1], problem.labelled)


class Baseline(NamedTuple):
    """How a baseline predicts the test samples of a fold, numbers [m, 1] or chances [m, C], and for what data it is."""

    predict: Callable[[Problem], FloatArray]
    numbers: bool = True
    classes: bool = True
    several_studies: bool = False
    clades: bool = False
    distances: bool = False
    usual: bool = True
    """It runs unless others are asked for."""

    def of_task(self, study: LabelledCounts) -> bool:
        """Whether it predicts targets of this kind."""
        return self.numbers if study.numeric else self.classes

    def missing(self, study: LabelledCounts) -> str | None:
        """Why it cannot predict this target; None if it can."""
        if not self.of_task(study):
            return f"it predicts {'classes' if study.numeric else 'numbers'}"
        if self.several_studies and (study.studies is None or len(np.unique(study.studies)) < 2):
            return "the samples are of one study"
        if self.clades and study.clades is None:
            return "the ASVs are not placed; give --reference (the word shipped, or a folder)"
        if self.distances and study.distances is None:
            return "there is no UniFrac; give --tree, or --reference (the word shipped, or a folder)"
        return None


BASELINES: dict[BaselineName, Baseline] = {
    "random_forest": Baseline(trees.random_forest),
    "random_forest_weighted": Baseline(trees.random_forest_weighted, several_studies=True),
    "study_forests": Baseline(trees.study_forests, several_studies=True),
    "gradient_boosting": Baseline(trees.gradient_boosting, usual=False),
    "linear": Baseline(lines.linear, classes=False),
    "logistic_l1": Baseline(partial(lines.logistic, norm="l1"), numbers=False),
    "logistic_l2": Baseline(partial(lines.logistic, norm="l2"), numbers=False),
    "within_ridge_clades": Baseline(lines.within_ridge_clades, clades=True),
    "within_ridge_presence": Baseline(lines.within_ridge_presence),
    "knn": Baseline(nearest_neighbours, distances=True),
    "constant": Baseline(constant),
}
"""All baselines by name, in the order in which they run and are shown."""


def usual() -> tuple[BaselineName, ...]:
    """The baselines that run unless others are asked for."""
    return tuple(name for name, baseline in BASELINES.items() if baseline.usual)


def predict_folds(
    baseline: BaselineName, study: LabelledCounts, folds: Sequence[Fold], seed: int, progress: Progress = no_progress
) -> NDArray[Any]:
    """Fit on each fold's training rows and predict its test rows: numbers or classes [n] of all folds, in their order.

    Raises ValueError for what a baseline lacks, and for empty samples, which have no composition.
    """
    if study.numeric:
        return predict_chances(baseline, study, folds, (), seed, progress)[:, 0]
    classes = sorted(set(study.target))
    likeliest = predict_chances(baseline, study, folds, classes, seed, progress).argmax(axis=1)
    return np.array(classes, dtype=object)[likeliest]


def predict_chances(
    baseline: BaselineName,
    study: LabelledCounts,
    folds: Sequence[Fold],
    classes: Sequence[str],
    seed: int,
    progress: Progress = no_progress,
) -> FloatArray:
    """As `predict_folds`, but probabilities [n, C] of these classes; numbers, without classes, as [n, 1]."""
    _check(baseline, study)
    found = []
    for number, fold in enumerate(folds, start=1):
        problem = Problem(study, fold, study.labelled(fold.train, classes), seed)
        # grouped folds may leave one class to train on, from which nothing is learned
        alone = not study.numeric and len(np.unique(problem.labelled.class_of)) < 2
        found.append((constant if alone else BASELINES[baseline].predict)(problem))
        progress(number, len(folds))
    return np.concatenate(found)


def _check(baseline: BaselineName, study: LabelledCounts) -> None:
    samples = study.counts.shape[0]
    if len(study.target) != samples:
        raise ValueError(f"{len(study.target)} targets for {samples} samples: expected one each")
    empty = np.flatnonzero(np.asarray(study.counts.sum(axis=1)).ravel() <= 0)
    if len(empty):
        raise ValueError(f"{len(empty)} samples have no reads, first in row {empty[0]}: drop them before comparing")
    if reason := BASELINES[baseline].missing(study):
        raise ValueError(f"{baseline} cannot predict these samples: {reason}")
    if study.distances is not None and study.distances.shape != (samples, samples):
        raise ValueError(f"distances have shape {study.distances.shape}, expected {(samples, samples)}")
