"""Random forests of scikit-learn, kept as plain arrays, so that a stored model needs no pickle.

N samples, F features, K numbers or classes, T trees, M nodes of all trees together.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aam.learners.weights import Labelled, sample_weights

TREES = 300
MOST_IN_LEAF, SAMPLES_FOR_ONE_MORE = 5, 60
"""A leaf has at least one sample, and one more for so many samples of training, up to the first number."""
REGRESSION_FEATURES, CLASSIFICATION_FEATURES = 1 / 3, "sqrt"
"""Features tried at a split, Breiman's choices. A third beats scikit-learn's default for regression, which is all of
them, in error (2.86 against 2.93 months on one infant study) and in half its time."""
LEAST_CHANCE = 1e-2
"""Bounds what one forest may say of a class: a share of its trees of 0 or 1 is not certainty."""


@dataclass(frozen=True)
class Forest:
    """A fitted forest: of node m, `left` and `right` int32 [M] are its children, -1 for a leaf.

    `feature` int32 and `threshold` float64 [M] split it (left if the feature is not larger), `value` float32 [M, K] is
    the mean of its training targets. `roots` int32 [T]. `spread`: standard deviation of what it says of its training
    samples by the trees that have not seen them.
    """

    left: NDArray[np.int32]
    right: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    value: NDArray[np.float32]
    roots: NDArray[np.int32]
    spread: float

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Mean over the trees, [n, K], for samples with features [n, F]: numbers, or chances of the classes."""
        found = [self._of(features[start : start + 256]) for start in range(0, len(features), 256)]
        return np.concatenate(found) if found else np.zeros((0, self.value.shape[1]))

    def _of(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        node = np.tile(self.roots, (len(features), 1))
        rows = np.arange(len(features))[:, None]
        while (inner := self.left[node] >= 0).any():
            smaller = features[rows, np.maximum(self.feature[node], 0)] <= self.threshold[node]
            node = np.where(inner, np.where(smaller, self.left[node], self.right[node]), node)
        return self.value[node].astype(np.float64).mean(axis=1)


def fit_forest(features: NDArray[np.float32], labelled: Labelled, seed: int, threads: int = 1) -> Forest:
    """Fit to features [N, F]; classes and numbers with the weights of `sample_weights`."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    leaf = min(MOST_IN_LEAF, 1 + len(features) // SAMPLES_FOR_ONE_MORE)
    settings: dict[str, Any] = {"min_samples_leaf": leaf, "oob_score": True, "random_state": seed, "n_jobs": threads}
    weight = sample_weights(labelled)
    warnings.filterwarnings("ignore", message="Some inputs do not have OOB scores", module="sklearn")  # few of them
    if labelled.classes:
        model = RandomForestClassifier(TREES, max_features=CLASSIFICATION_FEATURES, **settings)
        model.fit(features, labelled.class_of, sample_weight=weight)
        unseen, classes = model.oob_decision_function_, model.classes_
        said = class_scores(
            in_all_classes(np.nan_to_num(unseen, nan=1 / len(classes)), classes, labelled.values.shape[1])
        )
    else:
        model = RandomForestRegressor(TREES, max_features=REGRESSION_FEATURES, **settings)
        values = labelled.values
        model.fit(features, values[:, 0] if values.shape[1] == 1 else values, sample_weight=weight)
        said, classes = model.oob_prediction_.reshape(len(features), -1), None
    return _as_arrays([tree.tree_ for tree in model.estimators_], classes, labelled, float(said.std()))


def class_scores(chance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centred log-odds [n, K] of the chances of classes [n, K]: a half apart for two classes at odds of e."""
    logs = np.log(np.clip(chance, LEAST_CHANCE, None))
    return logs - logs.mean(axis=1, keepdims=True)


def in_all_classes(chances: NDArray[np.float64], known: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Chances [n, K] of all classes from those of the classes that training samples have."""
    found = np.zeros((len(chances), classes))
    found[:, known] = chances
    return found


def _as_arrays(trees: list[Any], classes: NDArray[np.int64] | None, labelled: Labelled, spread: float) -> Forest:
    roots = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
    left, right = (
        np.concatenate(
            [np.where(child >= 0, child + root, -1) for tree, root in zip(trees, roots, strict=True)
             for child in [getattr(tree, side)]]
        ).astype(np.int32)
        for side in ("children_left", "children_right")
    )  # fmt: skip
    value = np.concatenate([tree.value[:, :, 0] if classes is None else tree.value[:, 0] for tree in trees])
    if classes is not None:
        value = in_all_classes(value / value.sum(axis=1, keepdims=True), classes, labelled.values.shape[1])
    return Forest(
        left,
        right,
        np.concatenate([tree.feature for tree in trees]).astype(np.int32),
        np.concatenate([tree.threshold for tree in trees]),
        value.astype(np.float32),
        roots.astype(np.int32),
        spread,
    )
