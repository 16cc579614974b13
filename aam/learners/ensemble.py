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

LEAST_SPREAD = 1e-6
"""A member whose scores are all alike says nothing, and is not scaled up."""


@dataclass(frozen=True)
class Ensemble:
    """A fitted ensemble on `features`; `studies` has a forest for each study if there are several, else none.

    `classes`: it predicts classes, not numbers.
    """

    features: FeatureSet
    ridge: Ridge
    pooled: Forest
    studies: tuple[Forest, ...]
    classes: bool

    def __call__(self, table: CladeTable) -> NDArray[np.float64]:
        """Numbers [n, K], or scores of classes whose softmax is a chance once they are calibrated."""
        return np.mean(list(self.members(table).values()), axis=0)

    def members(self, table: CladeTable) -> dict[str, NDArray[np.float64]]:
        """What each kind of member says [n, K], by name."""
        x = self.features.of(table)
        found = {"ridge": self._scaled(self.ridge, x), "forest": self._scaled(self.pooled, x)}
        if self.studies:
            found["study forests"] = np.mean([self._scaled(forest, x) for forest in self.studies], axis=0)
        return found

    def _scaled(self, member: Ridge | Forest, x: NDArray[np.float32]) -> NDArray[np.float64]:
        said = member(x)
        if not self.classes:
            return said
        said = class_scores(said) if isinstance(member, Forest) else said - self.ridge.offset
        return said / max(member.spread, LEAST_SPREAD)


def fit_ensemble(table: CladeTable, labelled: Labelled, seed: int) -> Ensemble:
    """Fit to the samples of a table; studies in which the target does not vary are left out if others are there."""
    rows = labelled.contrasting()
    table, labelled = table.rows(rows), labelled.rows(rows)
    features = choose_features(table)
    x, studies = features.of(table), labelled.by_study()
    forests = [fit_forest(x[own], labelled.rows(own), seed) for own in studies] if len(studies) > 1 else []
    return Ensemble(
        features, fit_ridge(x, labelled, seed), fit_forest(x, labelled, seed), tuple(forests), labelled.classes
    )
