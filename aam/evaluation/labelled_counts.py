"""What baselines of a metadata column learn from: counts with a target, and one fold of them.

N samples, A ASVs, n training samples, m test samples, C classes, K columns: one for numbers, or C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from aam.config import NUMERIC_TASKS, Task
from aam.corpus.split import Fold
from aam.io.table import carriers_of
from aam.learners.clades import CladeTable
from aam.learners.forest import in_all_classes
from aam.learners.weights import Labelled

FloatArray = NDArray[np.float64]
MIN_PREVALENCE = 0.05
"""ASVs in a smaller part of the training samples stay out of linear models: their logarithms are noise."""
PSEUDOCOUNT = 0.5
"""Added to counts before the logarithm."""


@dataclass(frozen=True)
class LabelledCounts:
    """`counts` [N, A] of samples as rows (rarefied or not), `target` [N] (float, or class labels), `task`.

    `distances` float64 [N, N] are needed for the k nearest neighbours only, `clades` of the N samples for what learns
    on clades. `studies` and `subjects` int64 [N] number them; None: one study, each sample a subject.
    """

    counts: csr_array
    target: NDArray[Any]
    task: Task
    distances: FloatArray | None = None
    clades: CladeTable | None = None
    studies: NDArray[np.int64] | None = None
    subjects: NDArray[np.int64] | None = None

    @property
    def numeric(self) -> bool:
        """Whether the target is numbers."""
        return self.task in NUMERIC_TASKS

    def labelled(self, rows: NDArray[np.int64], classes: Sequence[str]) -> Labelled:
        """The targets of some samples [n], as learners take them: numbers, or an indicator of each of `classes`."""
        every = np.arange(len(self.target))
        studies = np.zeros_like(every) if self.studies is None else self.studies
        subjects = every if self.subjects is None else self.subjects
        target = self.target[rows]
        values = target[:, None] if self.numeric else target[:, None] == np.array(classes, dtype=object)
        return Labelled(values.astype(np.float64), studies[rows], subjects[rows], not self.numeric)


@dataclass(frozen=True)
class Problem:
    """One fold: the samples, which of them train and are predicted, and the targets of those that train."""

    study: LabelledCounts
    fold: Fold
    labelled: Labelled
    seed: int

    @property
    def sides(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows that train [n], and rows to predict [m]."""
        return self.fold.train, self.fold.test

    def on(self, rows: NDArray[np.int64]) -> Problem:
        """The same with some of the training samples, numbers of them."""
        return replace(self, fold=self.fold._replace(train=self.fold.train[rows]), labelled=self.labelled.rows(rows))

    def contrasting(self) -> Problem:
        """The same without the training studies in which the target does not vary, if others are there."""
        return self.on(self.labelled.contrasting())

    @property
    def answers(self) -> NDArray[Any]:
        """What an estimator of scikit-learn fits [n]: numbers, or numbers of classes."""
        return self.labelled.class_of if self.labelled.classes else self.labelled.values[:, 0]


def said_by(model: Any, features: NDArray[Any], labelled: Labelled) -> FloatArray:
    """What an estimator that was fitted to `labelled` says of samples [m, F]: numbers [m, 1], or chances [m, C]."""
    if not labelled.classes:
        return np.asarray(model.predict(features), np.float64).reshape(len(features), 1)
    return in_all_classes(model.predict_proba(features), model.classes_, labelled.values.shape[1])


def centred_log_ratio(counts: csr_array, columns: NDArray[np.int64]) -> FloatArray:
    """CLR of the chosen columns after a pseudocount, dense [N, columns]: log x less the sample's mean of log x."""
    from skbio.stats.composition import clr

    return clr(counts[:, columns].toarray() + PSEUDOCOUNT)


def common_asvs(counts: csr_array, samples: float) -> NDArray[np.int64]:
    """ASVs in at least so many samples; if there are none, those in the most samples, so that one is chosen."""
    carriers = carriers_of(counts)
    return np.flatnonzero(carriers >= min(samples, carriers.max()))


def prevalent_asvs(problem: Problem) -> NDArray[np.int64]:
    """ASVs in `MIN_PREVALENCE` of the training samples of a fold."""
    train = problem.fold.train
    return common_asvs(problem.study.counts[train], MIN_PREVALENCE * len(train))
