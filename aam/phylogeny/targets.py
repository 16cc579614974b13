"""What a batch of samples is trained towards: their UniFrac, their Faith PD, the tree distances of their ASVs.

Computed from what was drawn for the batch, so input and target always agree, and no matrix of all samples exists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aam.config import Metric
from aam.errors import MatrixError, TreeError
from aam.phylogeny import unifrac
from aam.phylogeny.tree import Tree
from aam.phylogeny.unifrac import Measure


@dataclass(frozen=True)
class Targets:
    """`unifrac` float64 [B, B], symmetric with zero diagonal; `faith_pd` float64 [B], None where there is no tree.

    UniFrac is NaN between samples of different trees, where it is not defined.
    """

    unifrac: np.ndarray
    faith_pd: np.ndarray | None


class TreeTargets:
    """Exact targets from a tree; ASVs are column numbers of the table whose `asv_names`, all tips of the tree, it gets.

    Raises `TreeError` for a name that is no tip. Holds arrays only, so it travels to worker processes as it is.
    """

    def __init__(self, tree: Tree, asv_names: Sequence[str], metric: Metric, alpha: float):
        self.tree, self.measure = tree, Measure(metric, alpha)
        self._leaf = tree.leaves_of(asv_names)
        depth = tree.depths()
        self._leaf_depth = depth[tree.tips()]
        self._between = _ancestor_depths(tree, depth)

    def __call__(self, sample_ids: Sequence[str], asvs: Sequence[np.ndarray], counts: Sequence[np.ndarray]) -> Targets:
        """Targets of B samples: of each its ASVs (int [n]) and their counts (int [n]); the ids play no part here."""
        branches = unifrac.branches(self.tree, [self._leaf[columns] for columns in asvs], counts)
        return Targets(unifrac.distances(branches, self.measure), unifrac.faith_pd(branches))

    def patristic(self, asvs: np.ndarray) -> np.ndarray:
        """Distances along the tree between ASVs, int [P] -> float64 [P, P]: both depths less twice the ancestor's.

        The last common ancestor of two leaves is the shallowest of those of the neighbours between them, so one pass of
        minima over neighbours, and a running minimum over the P chosen, give all of them.
        """
        leaf, place = np.unique(self._leaf[asvs], return_inverse=True)
        depth = self._leaf_depth[leaf]
        gaps = np.minimum.reduceat(self._between[: leaf[-1]], leaf[:-1]) if len(leaf) > 1 else np.zeros(0)
        above = np.triu(np.ones((len(leaf), len(leaf)), dtype=bool), 1)
        ancestor = np.minimum.accumulate(np.where(above, np.r_[np.inf, gaps], np.inf), axis=1)
        upper = np.where(above, np.maximum(depth[:, None] + depth - 2 * ancestor, 0.0), 0.0)
        return (upper + upper.T)[np.ix_(place, place)]


def _ancestor_depths(tree: Tree, depth: np.ndarray) -> np.ndarray:
    """Depth of the last common ancestor of each leaf and its right neighbour, float64 [leaves - 1].

    It is the parent of the one node that begins with the right neighbour and whose parent begins before it.
    """
    nodes = np.flatnonzero(tree.parent >= 0)
    nodes = nodes[tree.first[nodes] != tree.first[tree.parent[nodes]]]
    between = np.empty(len(tree.tip_names) - 1)
    between[tree.first[nodes] - 1] = depth[tree.parent[nodes]]
    return between


class ForestTargets:
    """Targets of samples from several studies, each by the tree of its own.

    `targets` has one entry a study; `columns` int64 [A] each tell which of that study's ASVs a column of the joined
    table is, -1 where its tree lacks it; `study_of` a sample id is the number of its study.
    """

    def __init__(
        self, targets: Sequence[TreeTargets], columns: Sequence[np.ndarray], study_of: Mapping[str, int]
    ) -> None:
        self._targets, self._columns, self._study_of = list(targets), list(columns), study_of

    def __call__(self, sample_ids: Sequence[str], asvs: Sequence[np.ndarray], counts: Sequence[np.ndarray]) -> Targets:
        """Targets of B samples; UniFrac between studies is NaN."""
        study = np.array([self._study_of[sample_id] for sample_id in sample_ids])
        unifrac, faith_pd = np.full((len(study), len(study)), np.nan), np.empty(len(study))
        for number in np.unique(study):
            rows = np.flatnonzero(study == number)
            own = [self._columns[number][asvs[row]] for row in rows]
            found = self._targets[number]([sample_ids[row] for row in rows], own, [counts[row] for row in rows])
            unifrac[np.ix_(rows, rows)], faith_pd[rows] = found.unifrac, found.faith_pd
        return Targets(unifrac, faith_pd)

    def patristic(self, asvs: np.ndarray) -> np.ndarray:
        """Tree distances between ASVs, int [P] -> float64 [P, P], by the first tree that holds them all.

        Raises `TreeError` where none does; the ASVs of a batch of one study are all in its tree.
        """
        for targets, columns in zip(self._targets, self._columns, strict=True):
            own = columns[asvs]
            if (own >= 0).all():
                return targets.patristic(own)
        raise TreeError(
            f"no tree of {len(self._targets)} holds all of {len(asvs)} ASVs; ask for those of one study at a time"
        )


class MatrixTargets:
    """Targets looked up by sample id in a precomputed matrix: `ids` of its rows and columns, `values` [n, n]."""

    def __init__(self, ids: Sequence[str], values: np.ndarray):
        self._row = {sample_id: row for row, sample_id in enumerate(ids)}
        self._values = values

    def __call__(self, sample_ids: Sequence[str], asvs: Sequence[np.ndarray], counts: Sequence[np.ndarray]) -> Targets:
        """Targets of B samples by id; what was drawn of them plays no part. Raises `MatrixError` for unknown ids."""
        absent = [sample_id for sample_id in sample_ids if sample_id not in self._row]
        if absent:
            raise MatrixError(
                f"the distance matrix lacks {len(absent):,} of {len(sample_ids):,} samples, e.g. {absent[0]}; "
                "drop them from the table or compute the matrix with them"
            )
        rows = [self._row[sample_id] for sample_id in sample_ids]
        return Targets(np.array(self._values[np.ix_(rows, rows)], dtype=np.float64), None)

    def patristic(self, asvs: np.ndarray) -> None:
        """None: a matrix of samples says nothing about ASVs."""
