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

PRIOR_SUBJECTS = 20
"""A prior weighs as much as each other member where so many subjects are labelled, twice as much with half of them."""
LEAST_SPREAD = 1e-6
"""A member whose scores are all alike says nothing, and is not scaled up."""


@dataclass(frozen=True)
class Ensemble:
    """A fitted ensemble on `features`; `studies` has a forest for each study if there are several, else none.

    `classes`: it predicts classes, not numbers. `prior` is what other studies have taught, which weighs `prior_weight`
    times as much as each other member.
    """

    features: FeatureSet
    ridge: Ridge
    pooled: Forest
    studies: tuple[Forest, ...]
    classes: bool
    prior: Ensemble | None = None
    prior_weight: float = 0.0

    def __call__(self, table: CladeTable) -> NDArray[np.float64]:
        """Numbers [n, K], or scores of classes whose softmax is a chance once they are calibrated."""
        return np.mean(self.members(table), axis=0)

    def members(self, table: CladeTable) -> NDArray[np.float64]:
        """What each kind of member says [R, n, K]; the ensemble says their mean.

        The first is the ridge, then the forests: of all studies, and of each. A prior moves them all.
        """
        x = self.features.of(table)
        found = [self._scaled(self.ridge, x), self._scaled(self.pooled, x)]
        if self.studies:
            found.append(np.mean([self._scaled(forest, x) for forest in self.studies], axis=0))
        if self.prior is None:
            return np.stack(found)
        share = self.prior_weight / (self.prior_weight + len(found))
        return (1.0 - share) * np.stack(found) + share * self.prior(table)

    def _scaled(self, member: Ridge | Forest, x: NDArray[np.float32]) -> NDArray[np.float64]:
        said = member(x)
        if not self.classes:
            return said
        said = class_scores(said) if isinstance(member, Forest) else said - self.ridge.offset
        return said / max(member.spread, LEAST_SPREAD)


def fit_ensemble(table: CladeTable, labelled: Labelled, seed: int, prior: Ensemble | None = None) -> Ensemble:
    """Fit to the samples of a table; studies in which the target does not vary are left out if others are there.

    A `prior` has learned the same classes, in the same order, in other studies.
    """
    rows = labelled.contrasting()
    table, labelled = table.rows(rows), labelled.rows(rows)
    features = choose_features(table)
    x, studies = features.of(table), labelled.by_study()
    forests = [fit_forest(x[own], labelled.rows(own), seed) for own in studies] if len(studies) > 1 else []
    ridge, pooled = fit_ridge(x, labelled, seed), fit_forest(x, labelled, seed)
    weight = 0.0 if prior is None else PRIOR_SUBJECTS / len(np.unique(labelled.subject))
    return Ensemble(features, ridge, pooled, tuple(forests), labelled.classes, prior, weight)
