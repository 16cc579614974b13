"""What each sample weighs in training: subjects of a class alike, classes of a study alike, studies by their subjects.

A choice of weights moves a forest by up to 0.1 of AUC between studies, so it is made once, here, for every learner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Labelled:
    """Targets of N samples: `values` float64 [N, K] are numbers, or 1 for the class of a sample and 0 for the others.

    `study` and `subject` int64 [N] number studies and subjects; a subject belongs to one study.
    """

    values: NDArray[np.float64]
    study: NDArray[np.int64]
    subject: NDArray[np.int64]
    classes: bool

    def rows(self, rows: NDArray[np.int64]) -> Labelled:
        """The targets of some samples, numbers [n]."""
        return Labelled(self.values[rows], self.study[rows], self.subject[rows], self.classes)

    @property
    def class_of(self) -> NDArray[np.int64]:
        """Number of the class of each sample [N]."""
        return self.values.argmax(axis=1)

    def contrasting(self) -> NDArray[np.int64]:
        """Rows of the studies in which the target varies: the others cannot teach a difference within a study."""
        kept = [rows for rows in self.by_study() if np.ptp(self.values[rows], axis=0).any()]
        return np.sort(np.concatenate(kept)) if kept else np.zeros(0, np.int64)

    def by_study(self) -> list[NDArray[np.int64]]:
        """Rows of each study."""
        return [np.flatnonzero(self.study == one) for one in np.unique(self.study)]


def sample_weights(labelled: Labelled) -> NDArray[np.float64]:
    """Weight of each sample [N], mean 1.

    Within a study all subjects of a class have the same weight, shared by their samples, and all classes have the same;
    a study has the root of its number of subjects: between one vote a study and one a subject.
    """
    weight = np.empty(len(labelled.study))
    for rows in labelled.by_study():
        subject = labelled.subject[rows]
        kinds = labelled.class_of[rows] if labelled.classes else np.zeros(len(rows), np.int64)
        own = 1.0 / count_alike(list(zip(subject.tolist(), kinds.tolist(), strict=True)))
        for kind in np.unique(kinds):
            own[kinds == kind] /= own[kinds == kind].sum()
        weight[rows] = own / own.sum() * np.sqrt(len(np.unique(subject)))
    return weight / weight.mean()


def count_alike(names: Sequence[object]) -> NDArray[np.float64]:
    """How often the name of each row occurs [N]."""
    counts: dict[object, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return np.array([counts[name] for name in names], np.float64)
