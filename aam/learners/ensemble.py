"""The ensemble: a ridge within studies, a forest of all studies, and a forest of each study, on one scale.

Ridge and forests err differently: the first is right about small effects of many clades, the others about few clades
and their combinations. A forest of all studies may use what tells them apart; one of each study may not, but has fewer
samples. N samples, F features, K numbers or classes, S studies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aam.learners.clades import CladeTable
from aam.learners.features import FeatureSet, choose_features
from aam.learners.forest import Forest, class_scores, fit_forest
from aam.learners.ridge import Ridge, fit_ridge
from aam.learners.weights import Labelled

PRIOR_SUBJECTS = 10
"""A prior weighs as much as so many labelled subjects."""
FEWEST_TO_CENTRE = 10
"""Samples of a study below which their mean is no level to speak of."""
LEAST_SPREAD = 1e-6
"""A member whose scores are all alike says nothing, and is not scaled up."""


@dataclass(frozen=True)
class Ensemble:
    """A fitted ensemble on `features`; `studies` has a forest for each study if there are several, else none.

    `classes`: it predicts classes, not numbers. The forests read the features from number `forest_from` on. `prior` is
    what other studies have taught, and its share of the whole is `prior_share`.
    """

    features: FeatureSet
    ridge: Ridge
    pooled: Forest
    studies: tuple[Forest, ...]
    classes: bool
    forest_from: int = 0
    prior: Ensemble | None = None
    prior_share: float = 0.0

    def __call__(self, table: CladeTable, study: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Numbers [n, K], or scores of classes whose softmax is a chance once they are calibrated.

        `study` [n] numbers the studies of the samples; None: they are of one.
        """
        return np.mean(self.members(table, study), axis=0)

    def members(self, table: CladeTable, study: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """What each kind of member says [R, n, K]; the ensemble says their mean.

        The first is the ridge, then the forests: of all studies, and of each. A prior moves them all. What was learned
        by comparing samples within studies says nothing of the level of a new study: its samples are brought to the
        mean level of training, that is as if all classes were as frequent there, if there are `FEWEST_TO_CENTRE`.
        """
        x = self.features.of(table)
        of_forests = x[:, self.forest_from :]
        found = [self._scaled(self.ridge, x), self._scaled(self.pooled, of_forests)]
        if self.studies:
            found.append(np.mean([self._scaled(forest, of_forests) for forest in self.studies], axis=0))
        said = np.stack(found)
        if self.studies:
            said = centred(said, study, 0.0 if self.classes else self.ridge.offset)
        if self.prior is None:
            return said
        return (1.0 - self.prior_share) * said + self.prior_share * self.prior(table, study)

    def _scaled(self, member: Ridge | Forest, x: NDArray[np.float32]) -> NDArray[np.float64]:
        said = member(x)
        if not self.classes:
            return said
        said = class_scores(said) if isinstance(member, Forest) else said - self.ridge.offset
        return said / max(member.spread, LEAST_SPREAD)


def fit_ensemble(
    table: CladeTable, labelled: Labelled, seed: int, prior: Ensemble | None = None, threads: int = 1
) -> Ensemble:
    """Fit to the samples of a table; studies in which the target does not vary are left out if others are there.

    A `prior` has learned the same classes, in the same order, in other studies.
    """
    rows = labelled.contrasting()
    table, labelled = table.rows(rows), labelled.rows(rows)
    features, studies = choose_features(table), labelled.by_study()
    x, clades, subjects = features.of(table), len(features.nodes), len(np.unique(labelled.subject))
    # ASVs are the same throughout one study, and sharper than clades; between studies it is the clades that agree.
    start = clades if len(studies) == 1 and features.sequences else 0
    forests = [fit_forest(x[own], labelled.rows(own), seed, threads) for own in studies] if len(studies) > 1 else []
    return Ensemble(
        features,
        fit_ridge(x, clades, labelled, seed),
        fit_forest(x[:, start:], labelled, seed, threads),
        tuple(forests),
        labelled.classes,
        start,
        prior,
        0.0 if prior is None else prior_share(subjects),
    )


def centred(
    said: NDArray[np.float64], study: NDArray[np.int64] | None, level: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """Scores [R, n, K] whose mean over the samples of each large enough study is `level`."""
    found, study = said.copy(), np.zeros(said.shape[1], np.int64) if study is None else study
    for one in np.unique(study):
        rows = np.flatnonzero(study == one)
        if len(rows) >= FEWEST_TO_CENTRE:
            found[:, rows] += level - found[:, rows].mean(axis=1, keepdims=True)
    return found


def prior_share(subjects: int) -> float:
    """Share of a prior in the whole, beside so many labelled subjects."""
    return PRIOR_SUBJECTS / (PRIOR_SUBJECTS + subjects)
