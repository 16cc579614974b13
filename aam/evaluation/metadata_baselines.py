"""Baselines for a metadata column: estimators of scikit-learn that studies commonly use, nothing pretrained.

    random_forest   on relative abundance
    linear          ridge / logistic regression on centred log-ratios (CLR)
    knn             k nearest neighbours on a precomputed distance such as UniFrac
    constant        median / most frequent class

Everything that is learned from data (which ASVs are common, scales, penalties) is learned inside the training fold.
N samples, A ASVs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from aam.config import NUMERIC_TASKS, Task
from aam.corpus.split import Fold
from aam.io.table import carriers_of
from aam.observer import Progress, no_progress

Baseline = Literal["random_forest", "linear", "knn", "constant"]

TREES = 300
REGRESSION_FEATURES, CLASSIFICATION_FEATURES = 1 / 3, "sqrt"
"""ASVs tried at a split, Breiman's choices. A third beats scikit-learn's default for regression, which is all of them,
in error (2.86 against 2.93 months on one infant study) and in half its time."""
KNN_NEIGHBOURS = 10
MIN_PREVALENCE = 0.05
"""ASVs in a smaller part of the training samples stay out of the linear baseline: their logarithms are noise."""
PSEUDOCOUNT = 0.5
"""Added to counts before the logarithm."""
PENALTIES = tuple(10.0**power for power in range(-1, 7))
"""Ridge penalties tried by leave-one-out within the training fold."""
LOGISTIC_C = 10.0
"""Inverse penalty of logistic regression on standardised CLR, shared by all columns: the more of them the stronger."""


@dataclass(frozen=True)
class LabelledCounts:
    """`counts` [N, A] of samples as rows (rarefied or not), `target` [N] (float, or class labels), `task`.

    `distances` float64 [N, N] are needed for the k nearest neighbours only.
    """

    counts: csr_array
    target: NDArray[Any]
    task: Task
    distances: NDArray[np.float64] | None = None


def predict_folds(
    baseline: Baseline, study: LabelledCounts, folds: Sequence[Fold], seed: int, progress: Progress = no_progress
) -> NDArray[Any]:
    """Fit on each fold's training rows and predict its test rows; the predictions of all folds, in their order [n].

    Raises ValueError for `knn` without distances, and for empty samples, which have no composition.
    """
    _check(baseline, study)
    found = []
    for number, fold in enumerate(folds, start=1):
        model, test = _fit(baseline, study, fold, seed)
        found.append(model.predict(test))
        progress(number, len(folds))
    return np.concatenate(found)


def predict_chances(
    baseline: Baseline,
    study: LabelledCounts,
    folds: Sequence[Fold],
    classes: Sequence[str],
    seed: int,
    progress: Progress = no_progress,
) -> NDArray[np.float64]:
    """As `predict_folds`, but probabilities [n, C] of these classes; the likeliest is what `predict_folds` gives."""
    _check(baseline, study)
    number_of, found = {name: number for number, name in enumerate(classes)}, []
    for number, fold in enumerate(folds, start=1):
        model, test = _fit(baseline, study, fold, seed)
        chances = np.zeros((len(test), len(classes)))
        chances[:, [number_of[name] for name in model.classes_]] = model.predict_proba(test)
        found.append(chances)
        progress(number, len(folds))
    return np.concatenate(found)


def relative_abundance(counts: csr_array) -> csr_array:
    """Counts [N, A] divided by each sample's sum, sparse float64; a sample without reads is refused earlier."""
    scale = 1.0 / np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    return csr_array(counts.multiply(scale[:, None]))


def centred_log_ratio(counts: csr_array, columns: NDArray[np.int64]) -> NDArray[np.float64]:
    """CLR of the chosen columns after a pseudocount, dense [N, columns]: log x less the sample's mean of log x."""
    from skbio.stats.composition import clr

    return clr(counts[:, columns].toarray() + PSEUDOCOUNT)


def _fit(baseline: Baseline, study: LabelledCounts, fold: Fold, seed: int) -> tuple[Any, NDArray[Any]]:
    """An estimator fitted on the training rows of a fold, and the features of its test rows."""
    known = study.target[fold.train]
    if study.task not in NUMERIC_TASKS and (known == known[0]).all():
        baseline = "constant"  # grouped folds may leave one class to train on, and logistic regression refuses that
    train, test = _features(baseline, study, fold)
    model = _estimator(baseline, study.task, train.shape, seed)
    return model.fit(train, known), test


def _features(baseline: Baseline, study: LabelledCounts, fold: Fold) -> tuple[NDArray[Any], NDArray[Any]]:
    """Training and test matrices; for nearest neighbours both hold distances to the training rows."""
    if baseline == "knn" and study.distances is not None:
        return study.distances[np.ix_(fold.train, fold.train)], study.distances[np.ix_(fold.test, fold.train)]
    if baseline == "random_forest":
        # Dense trains in half the time of sparse. An ASV of a single training sample can only be memorised: left out.
        columns = _common_asvs(study.counts[fold.train], min(2, len(fold.train)))
        fractions = relative_abundance(study.counts).astype(np.float32)[:, columns]
        return fractions[fold.train].toarray(), fractions[fold.test].toarray()
    if baseline == "linear":
        logs = centred_log_ratio(study.counts, _common_asvs(study.counts[fold.train], MIN_PREVALENCE * len(fold.train)))
        return logs[fold.train], logs[fold.test]
    return np.zeros((len(fold.train), 1)), np.zeros((len(fold.test), 1))


def _common_asvs(counts: csr_array, samples: float) -> NDArray[np.int64]:
    """ASVs in at least so many samples; if there are none, those in the most samples, so that one is chosen."""
    carriers = carriers_of(counts)
    return np.flatnonzero(carriers >= min(samples, carriers.max()))


def _estimator(baseline: Baseline, task: Task, shape: tuple[int, int], seed: int) -> Any:
    """An unfitted scikit-learn estimator for a training matrix of this shape."""
    from sklearn.dummy import DummyClassifier, DummyRegressor
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = task in NUMERIC_TASKS
    if baseline == "random_forest":
        if regression:
            return RandomForestRegressor(TREES, max_features=REGRESSION_FEATURES, random_state=seed, n_jobs=1)
        return RandomForestClassifier(TREES, max_features=CLASSIFICATION_FEATURES, random_state=seed, n_jobs=1)
    if baseline == "linear":
        line = RidgeCV(PENALTIES) if regression else LogisticRegression(C=LOGISTIC_C / shape[1], max_iter=1000)
        return make_pipeline(StandardScaler(), line)
    if baseline == "knn":
        neighbours = KNeighborsRegressor if regression else KNeighborsClassifier
        return neighbours(min(KNN_NEIGHBOURS, shape[0]), metric="precomputed")
    return DummyRegressor(strategy="median") if regression else DummyClassifier(strategy="most_frequent")


def _check(baseline: Baseline, study: LabelledCounts) -> None:
    samples = study.counts.shape[0]
    if len(study.target) != samples:
        raise ValueError(f"{len(study.target)} targets for {samples} samples: expected one each")
    empty = np.flatnonzero(np.asarray(study.counts.sum(axis=1)).ravel() <= 0)
    if len(empty):
        raise ValueError(f"{len(empty)} samples have no reads, first in row {empty[0]}: drop them before comparing")
    if baseline == "knn" and (study.distances is None or study.distances.shape != (samples, samples)):
        raise ValueError(f"nearest neighbours need distances of shape {(samples, samples)}: compute UniFrac first")
