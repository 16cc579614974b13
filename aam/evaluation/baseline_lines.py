"""Linear baselines: on centred log-ratios (CLR), and ridges that compare samples within their study only.

Strengths are chosen within the training samples: by leave-one-out (numbers), or by leaving training studies out, of
few studies parts of the subjects. n training samples, m test samples, F features, C classes.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from aam.evaluation.labelled_counts import FloatArray, Problem, centred_log_ratio, prevalent_asvs, said_by
from aam.learners.ensemble import LEAST_SPREAD
from aam.learners.features import choose_features
from aam.learners.ridge import CHOICE_ROWS, correlation_within, draw_rows, fit_ridge, left_out_parts
from aam.learners.weights import Labelled, sample_weights

Norm = Literal["l1", "l2"]
RIDGE_PENALTIES = tuple(10.0**power for power in range(-1, 7))
"""Ridge penalties tried by leave-one-out within the training fold."""
STRENGTHS: dict[Norm, tuple[float, ...]] = {"l1": (0.003, 0.01, 0.03, 0.1, 0.3), "l2": (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)}
"""Inverse penalties `C` of logistic regression on standardised CLR that are tried."""
MOST_ITERATIONS = 1000


def linear(problem: Problem) -> FloatArray:
    """Ridge regression of numbers on standardised CLR."""
    from sklearn.linear_model import RidgeCV

    train, test = _standardised_clr(problem)
    return said_by(RidgeCV(RIDGE_PENALTIES).fit(train, problem.answers), test, problem.labelled)


def logistic(problem: Problem, norm: Norm) -> FloatArray:
    """Logistic regression on standardised CLR, with the penalty that predicts left-out training studies best."""
    train, test = _standardised_clr(problem)
    strength = choose_strength(train, problem.labelled, norm, problem.seed)
    return said_by(fit_logistic(train, problem.labelled, norm, strength, problem.seed), test, problem.labelled)


def choose_strength(features: FloatArray, labelled: Labelled, norm: Norm, seed: int) -> float:
    """The strength with the highest correlation of chances and classes in what was left out, on average."""
    scores = []
    for out in left_out_parts(labelled, seed):
        test, train = np.flatnonzero(out), np.flatnonzero(~out)
        train = train[draw_rows(labelled.rows(train), CHOICE_ROWS, seed)]
        seen, own = labelled.rows(train), labelled.rows(test)
        if len(np.unique(seen.class_of)) < 2:
            continue
        models = [fit_logistic(features[train], seen, norm, strength, seed) for strength in STRENGTHS[norm]]
        scores.append([correlation_within(said_by(model, features[test], own), own) for model in models])
    strengths = STRENGTHS[norm]
    return strengths[int(np.mean(scores, axis=0).argmax())] if scores else strengths[len(strengths) // 2]


def fit_logistic(features: FloatArray, labelled: Labelled, norm: Norm, strength: float, seed: int) -> Any:
    """An estimator of scikit-learn fitted to features [n, F], with the weights of `sample_weights`."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    settings: dict[str, Any] = {"C": strength, "max_iter": MOST_ITERATIONS, "random_state": seed}
    if norm == "l1":
        settings |= {"l1_ratio": 1.0, "solver": "liblinear"}
    answers, weight = labelled.class_of, sample_weights(labelled)
    known = np.unique(answers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of weak penalties, which are then not chosen
        if norm == "l2" or len(known) == 2:
            return LogisticRegression(**settings).fit(features, answers, weight)
        each = [LogisticRegression(**settings).fit(features, answers == one, weight) for one in known]
        return OneAgainstRest(each, known)


class OneAgainstRest(NamedTuple):
    """Models of each class against the others, for a solver of two classes, as an estimator of scikit-learn."""

    models: list[Any]
    classes_: NDArray[np.int64]

    def predict_proba(self, features: FloatArray) -> FloatArray:
        """Chances of the classes [m, C], which sum to 1."""
        found = np.column_stack([model.predict_proba(features)[:, 1] for model in self.models])
        return found / found.sum(axis=1, keepdims=True)


def within_ridge_clades(problem: Problem) -> FloatArray:
    """Ridge within studies on every clade and ASV that is prevalent enough."""
    table = problem.study.clades
    if table is None:
        raise ValueError("a ridge on clades needs the clades of the samples: place their ASVs first")
    problem = problem.contrasting()
    train, test = (table.rows(rows) for rows in problem.sides)
    features = choose_features(train)
    return _within_ridge(problem, features.of(train), features.of(test), len(features.nodes))


def within_ridge_presence(problem: Problem) -> FloatArray:
    """Ridge within studies on which ASVs a sample has."""
    problem = problem.contrasting()
    there = problem.study.counts[:, prevalent_asvs(problem)] > 0
    train, test = (there[rows].toarray().astype(np.float32) for rows in problem.sides)
    return _within_ridge(problem, train, test, train.shape[1])


def _standardised_clr(problem: Problem) -> tuple[FloatArray, FloatArray]:
    from sklearn.preprocessing import StandardScaler

    logs = centred_log_ratio(problem.study.counts, prevalent_asvs(problem))
    scaler = StandardScaler().fit(logs[problem.fold.train])
    return scaler.transform(logs[problem.fold.train]), scaler.transform(logs[problem.fold.test])


def _within_ridge(problem: Problem, train: NDArray[np.float32], test: NDArray[np.float32], first: int) -> FloatArray:
    """Numbers [m, 1]; or chances [m, C] if the classes were equally frequent, by scores scaled to spread 1.

    The `first` features are one block, the others another.
    """
    ridge = fit_ridge(train, first, problem.labelled, problem.seed)
    said = ridge(test)
    if not problem.labelled.classes:
        return said
    return softmax((said - ridge.offset) / max(ridge.spread, LEAST_SPREAD), axis=1)
