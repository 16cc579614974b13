"""Baselines of decision trees on relative abundance: forests of scikit-learn, and its gradient boosting.

n training samples, m test samples, F ASVs, C classes, K columns: one for numbers, or C.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aam.evaluation.labelled_counts import (
    FloatArray,
    Problem,
    common_asvs,
    prevalent_asvs,
    said_by,
)
from aam.io.table import relative_abundance
from aam.learners.forest import CLASSIFICATION_FEATURES, REGRESSION_FEATURES, TREES, in_all_classes
from aam.learners.ridge import correlation_within, left_out_parts
from aam.learners.weights import Labelled, count_alike, sample_weights

ROUNDS = (10, 25, 50, 100, 200)
"""Trees of gradient boosting that are tried; the last number is fitted once, and scored after each of the others."""
MOST_IN_LEAF, SAMPLES_FOR_ONE_MORE = 20, 20
"""A leaf of gradient boosting has at least one sample, and one more for so many of training, up to the first number."""


def random_forest(problem: Problem) -> FloatArray:
    """A forest of all training samples, each as heavy as any other."""
    return _forest(problem, None)


def random_forest_weighted(problem: Problem) -> FloatArray:
    """A forest of all training samples, where each class of each study has the same total weight."""
    return _forest(problem, cell_weights(problem.labelled))


def study_forests(problem: Problem) -> FloatArray:
    """A forest of each training study; the ranks that they give to the test samples are averaged.

    Studies in which the target does not vary have no forest.
    """
    problem = problem.contrasting()
    each = [problem.on(rows) for rows in problem.labelled.by_study()]
    said = [_forest(own, cell_weights(own.labelled)) for own in each]
    return average_ranks(np.stack(said), problem.labelled.classes)


def gradient_boosting(problem: Problem) -> FloatArray:
    """Gradient boosting of histograms, with as many trees as predict left-out training studies, or subjects, best."""
    train, test = _abundances(problem, prevalent_asvs(problem))
    answers, weight = problem.answers, sample_weights(problem.labelled)
    scores = []
    for out in left_out_parts(problem.labelled, problem.seed):
        seen = ~out
        if len(np.unique(answers[seen])) < 2:
            continue
        model = _boosting(problem.labelled, ROUNDS[-1], problem.seed).fit(train[seen], answers[seen], weight[seen])
        own = problem.labelled.rows(np.flatnonzero(out))
        scores.append([correlation_within(said, own) for said in _staged(model, train[out], own)])
    rounds = ROUNDS[int(np.mean(scores, axis=0).argmax())] if scores else ROUNDS[0]
    model = _boosting(problem.labelled, rounds, problem.seed).fit(train, answers, weight)
    return said_by(model, test, problem.labelled)


def cell_weights(labelled: Labelled) -> FloatArray:
    """Weight of each sample [n], mean 1, with the same total for each class of each study, or each study of numbers."""
    kinds = labelled.class_of if labelled.classes else np.zeros(len(labelled.study), np.int64)
    weight = 1.0 / count_alike(list(zip(labelled.study.tolist(), kinds.tolist(), strict=True)))
    return weight / weight.mean()


def average_ranks(said: FloatArray, classes: bool) -> FloatArray:
    """Mean ranks of test samples by S predictors, `said` [S, m, K], as values [m, K].

    The sample of the lowest mean rank gets the lowest of the mean predictions, and so on: ranks say who comes first,
    and the mean what values there are. Chances of classes are made to sum to 1 again.
    """
    from scipy.stats import rankdata

    ranks = rankdata(rankdata(said, axis=1).mean(axis=0), axis=0)
    levels = np.sort(said.mean(axis=0), axis=0)
    places = np.arange(1, len(levels) + 1)
    found = np.column_stack([np.interp(ranks[:, k], places, levels[:, k]) for k in range(levels.shape[1])])
    if not classes:
        return found
    total = found.sum(axis=1, keepdims=True)
    return np.divide(found, total, out=np.full_like(found, 1 / found.shape[1]), where=total > 0)


def _forest(problem: Problem, weight: FloatArray | None) -> FloatArray:
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    # An ASV of a single training sample can only be memorised: left out.
    count = len(problem.fold.train)
    train, test = _abundances(problem, common_asvs(problem.study.counts[problem.fold.train], min(2, count)))
    model: Any
    if problem.labelled.classes:
        model = RandomForestClassifier(TREES, max_features=CLASSIFICATION_FEATURES, random_state=problem.seed, n_jobs=1)
    else:
        model = RandomForestRegressor(TREES, max_features=REGRESSION_FEATURES, random_state=problem.seed, n_jobs=1)
    return said_by(model.fit(train, problem.answers, weight), test, problem.labelled)


def _abundances(problem: Problem, columns: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Relative abundances of training and test samples; dense trains in half the time of sparse."""
    fractions = relative_abundance(problem.study.counts).astype(np.float32)[:, columns]
    return fractions[problem.fold.train].toarray(), fractions[problem.fold.test].toarray()


def _boosting(labelled: Labelled, rounds: int, seed: int) -> Any:
    """An unfitted model of so many trees."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if labelled.classes else HistGradientBoostingRegressor
    leaf = min(MOST_IN_LEAF, 1 + len(labelled.study) // SAMPLES_FOR_ONE_MORE)
    return kind(max_iter=rounds, min_samples_leaf=leaf, early_stopping=False, random_state=seed)


def _staged(model: Any, features: NDArray[np.float32], labelled: Labelled) -> list[FloatArray]:
    """What a model says [m, K] after each of `ROUNDS` trees."""
    wanted = {rounds - 1 for rounds in ROUNDS}
    stages = model.staged_predict_proba(features) if labelled.classes else model.staged_predict(features)
    said = [stage for number, stage in enumerate(stages) if number in wanted]
    if not labelled.classes:
        return [stage[:, None] for stage in said]
    return [in_all_classes(stage, model.classes_, labelled.values.shape[1]) for stage in said]
