"""What `aam train` learns as estimators of scikit-learn: numbers by `AAMRegressor`, classes by `AAMClassifier`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, assert_all_finite, check_array, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from aam.config import TargetConfig, TargetLoss, Transform
from aam.errors import MetadataError
from aam.inference.predictions import probabilities
from aam.sklearn.finetuned import MIN_SAMPLES, FineTuned, Targets


def required(y: Any, asked: FineTuned) -> Any:
    """y, which supervised estimators need."""
    if y is None:
        raise ValueError(f"{type(asked).__name__} requires y to be passed, but the target y is None")
    return y


@dataclass(eq=False, repr=False)
class AAMRegressor(RegressorMixin, FineTuned):
    """Numbers from counts [N, A] of ASVs: y [N], or several columns [N, T] at once, in their own units.

    `target_transform` is the scale they are learned on, `loss` the error that is minimised.
    """

    task = "regression"

    target_transform: Transform = field(default=TargetConfig.target_transform, kw_only=True)
    loss: TargetLoss = field(default=TargetConfig.loss, kw_only=True)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.regressor_tags.poor_score = (
            True  # random numbers as counts: samples differ in their sum, which says nothing
        )
        return tags

    def fit(self, X: Any, y: Any) -> AAMRegressor:
        """Learn y [N] or [N, T] from the table X."""
        reads = self._read(X, fitting=True, least=MIN_SAMPLES)
        numbers = check_array(required(y, self), ensure_2d=False, dtype=np.float64, input_name="y", estimator=self)
        check_consistent_length(reads.counts, numbers)
        self.single_target_ = numbers.ndim == 1
        return self._learn(reads, Targets(numbers.reshape(len(numbers), -1)))

    def predict(self, X: Any) -> NDArray[np.float64]:
        """The targets of each row, [N] or [N, T] as y was."""
        values = self._predictions(X).values[:, :, 0]
        return values[:, 0] if self.single_target_ else values


@dataclass(eq=False, repr=False)
class AAMClassifier(ClassifierMixin, FineTuned):
    """Classes from counts [N, A] of ASVs; `classes_` in the order of the columns of `predict_proba`.

    `class_weights`: balanced lets each class count the same in the loss. Probabilities are as learned;
    `CalibratedClassifierCV` calibrates them.
    """

    task = "classification"

    class_weights: Literal["balanced", "none"] = field(default=TargetConfig.class_weights, kw_only=True)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True  # random numbers as counts: see `AAMRegressor`
        return tags

    def fit(self, X: Any, y: Any) -> AAMClassifier:
        """Learn the classes y [N], of any type, from the table X."""
        reads = self._read(X, fitting=True, least=MIN_SAMPLES)
        labels = column_or_1d(required(y, self), warn=True)
        check_classification_targets(labels)
        assert_all_finite(labels, input_name="y", estimator_name=type(self).__name__)
        check_consistent_length(reads.counts, labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise MetadataError(f"y holds one class, {str(self.classes_[0])!r}, expected at least two")
        return self._learn(reads, Targets(np.zeros((len(codes), 0)), codes))

    def predict(self, X: Any) -> NDArray[Any]:
        """The likeliest class of each row [N]."""
        likeliest = self.predict_proba(X).argmax(axis=1)
        return self.classes_[likeliest]

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities [N, C] in the order of `classes_`."""
        return probabilities(self._predictions(X).values)
