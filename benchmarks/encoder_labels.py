"""Section d of `encoder.py`: labels predicted from frozen embeddings, beside a forest on abundances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from encoder_data import Chooses, Cohort, Places
from encoder_scores import Floats, Objects

from aam.corpus.split import Fold, make_folds
from aam.evaluation.baseline_lines import RIDGE_PENALTIES
from aam.evaluation.metrics import bootstrap_interval, pair_scores
from aam.evaluation.target_metrics import balanced_accuracy
from aam.io.table import carriers_of, relative_abundance
from aam.learners.forest import CLASSIFICATION_FEATURES, REGRESSION_FEATURES

FOLDS, REPEATS = 5, 3
"""Folds, and times that they are drawn anew; predictions are averaged. With few people a single draw says little: a
forest on the 23 people of `ibd-2538` has an AUC of 0.50 to 0.71."""
LOGISTIC_C = 10.0
"""Inverse penalty of logistic regression, shared by all columns: the more of them the stronger."""
TREES = 30
"""Of each forest, of which there are `REPEATS`."""


class Label(NamedTuple):
    """A column to predict in the samples of a study that are chosen; `case` is the class, None: it is a number."""

    study: str
    column: str
    chooses: Chooses
    case: str | None = None


LABELS = (
    Label("ecam-infants", "month_of_life", lambda frame: (frame["mom_child"] == "C") & frame["month_of_life"].notna()),
    Label("ibd-2538", "ibd", lambda frame: frame["ibd"].notna(), "Crohns"),
    Label("ravel", "ph", lambda frame: frame["ph"].notna()),
    Label(
        "risk",
        "disease",
        lambda frame: frame["body_site"].fillna("").str.startswith("biopsy") & frame["disease"].notna(),
        "CD",
    ),
)


class Task(NamedTuple):
    """Values [N] to predict (numbers, or 1 for a case and else 0), the subjects, and folds that keep those together.

    Each sample is tested in `REPEATS` of the folds."""

    values: Floats
    subjects: Objects
    folds: Sequence[Fold]
    classes: bool


Fit = Callable[[Floats, Floats, Floats], Floats]
"""(training points, their values, test points) -> a number or the chance of a case for each test point."""


def task_of(label: Label, cohort: Cohort) -> Task:
    """The task of a label for these samples."""
    column, subjects = cohort.column(label.column), cohort.subjects
    values = (column == label.case).astype(float) if label.case is not None else column.astype(float)
    scheme = "grouped" if label.case is None else "stratified-grouped"
    folds = [
        fold
        for seed in range(REPEATS)
        for fold in make_folds(scheme, values.tolist(), subjects.tolist(), FOLDS, seed)  # type: ignore[arg-type]
    ]
    return Task(values, subjects, folds, label.case is not None)


def open_labelled(label: Label, places: Places, most: int | None) -> Cohort:
    """The samples that have the label."""
    return places.open(label.study, label.chooses, most)


def fit_forest(classes: bool) -> Fit:
    """A forest of Breiman's choices."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    def fit(seen: Floats, values: Floats, new: Floats) -> Floats:
        if classes:
            forest = RandomForestClassifier(
                TREES, max_features=CLASSIFICATION_FEATURES, class_weight="balanced_subsample", random_state=0
            )
            return forest.fit(seen, values).predict_proba(new)[:, 1]
        return (
            RandomForestRegressor(TREES, max_features=REGRESSION_FEATURES, random_state=0)
            .fit(seen, values)
            .predict(new)
        )

    return fit


def fit_line(classes: bool) -> Fit:
    """Ridge or logistic regression on scaled points."""
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def fit(seen: Floats, values: Floats, new: Floats) -> Floats:
        if classes:
            line = LogisticRegression(C=LOGISTIC_C / seen.shape[1], max_iter=1000, class_weight="balanced")
            return make_pipeline(StandardScaler(), line).fit(seen, values).predict_proba(new)[:, 1]
        return make_pipeline(StandardScaler(), RidgeCV(RIDGE_PENALTIES)).fit(seen, values).predict(new)

    return fit


def out_of_fold(fit: Fit, task: Task, points: Floats, other: Floats | None = None) -> Floats:
    """Predictions [N] of each fold's test samples by a model of the others; of `other` points of them, if given."""
    found = np.zeros(len(task.values))
    for fold in task.folds:
        new = (points if other is None else other)[fold.test]
        found[fold.test] += fit(points[fold.train], task.values[fold.train], new) / REPEATS
    return found


def abundances(cohort: Cohort) -> Floats:
    """Relative abundances [N, A] of the ASVs that two samples have."""
    common = np.flatnonzero(carriers_of(cohort.study.counts) >= 2)
    return relative_abundance(cohort.study.counts)[:, common].toarray()


def score(found: Floats, task: Task) -> dict[str, Any]:
    """R2 and MAE, or AUC and balanced accuracy, and the 95 % interval of the first over subjects."""
    main = area if task.classes else r2
    low, high = bootstrap_interval(lambda rows: main(found[rows], task.values[rows]), task.subjects.tolist(), 0)
    interval = {"interval": f"{low:.2f} to {high:.2f}"}
    if task.classes:
        told = balanced_accuracy((found >= 0.5).astype(int), task.values.astype(int))
        return {"AUC": area(found, task.values), **interval, "balanced accuracy": told}
    return {"R2": r2(found, task.values), **interval, "MAE": float(abs(found - task.values).mean())}


def r2(found: Floats, values: Floats) -> float:
    """R2 of numbers."""
    return pair_scores(found, values).r2


def area(found: Floats, values: Floats) -> float:
    """Area under the curve by ranks; NaN if a class is missing."""
    from scipy.stats import rankdata

    cases = values == 1
    count = int(cases.sum())
    if count in (0, len(values)):
        return float("nan")
    return float((rankdata(found)[cases].sum() - count * (count + 1) / 2) / (count * (len(values) - count)))


def predict_labels(task: Task, cohort: Cohort, embeddings: dict[str, Floats]) -> dict[str, dict[str, Any]]:
    """Scores by method: the forest on abundances, and each encoder alone and with it."""
    forest, line, counts = fit_forest(task.classes), fit_line(task.classes), abundances(cohort)
    alone = out_of_fold(forest, task, counts)
    found = {"forest on abundances": score(alone, task)}
    for name, points in embeddings.items():
        linear, trees = out_of_fold(line, task, points), out_of_fold(forest, task, points)
        found[f"{name}, linear"] = score(linear, task)
        found[f"{name}, forest"] = score(trees, task)
        found[f"{name}, linear and forest on abundances, mean"] = score((linear + alone) / 2, task)
        found[f"{name}, forest of both"] = score(out_of_fold(forest, task, np.hstack([counts, points])), task)
    return found
