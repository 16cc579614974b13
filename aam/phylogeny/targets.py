"""Targets of a batch of samples: their UniFrac and Faith PD, and the tree distances of their ASVs.

They are computed from the reads drawn for the batch, so that they match the input, and no matrix of all samples is
needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from aam.config import Metric
from aam.errors import MatrixError, TreeError
from aam.phylogeny import unifrac
from aam.phylogeny.tree import Tree
from aam.phylogeny.unifrac import Measure

Arrays = Sequence[np.ndarray]
"""One array for each sample."""


@dataclass(frozen=True)
class BatchTargets:
    """`unifrac` float64 [B, B], symmetric with zero diagonal; `faith_pd` float64 [B], None if there is no tree.

    UniFrac is NaN between samples of different trees, where it is not defined.
    """

    unifrac: np.ndarray
    faith_pd: np.ndarray | None


class Leaves:
    """Leaves of a tree by column of a table; the table may have other ASVs too.

    `columns` int [tips] is the column of each leaf, `order` int [tips] the leaves in the order of their columns.
    """

    def __init__(self, columns: np.ndarray, order: np.ndarray):
        self.columns, self.order = columns, order

    def __getitem__(self, asvs: np.ndarray) -> np.ndarray:
        """The leaf of each ASV, int [n]; raises `TreeError` if the tree lacks one."""
        at = np.searchsorted(self.columns, asvs, sorter=self.order)
        leaves = self.order[np.minimum(at, len(self.order) - 1)]
        if (self.columns[leaves] != asvs).any():
            raise TreeError(f"column {asvs[self.columns[leaves] != asvs][0]} of the table is no tip of the tree asked")
        return leaves.astype(np.int64)


class TreeTargets:
    """Exact targets from a tree; ASVs are column numbers of a table, and `leaf` [ASVs] has the leaf of each.

    Holds arrays only, so that it can be sent to worker processes.
    """

    def __init__(self, tree: Tree, leaf: np.ndarray | Leaves, metric: Metric, alpha: float):
        self.tree, self.measure, self._leaf = tree, Measure(metric, alpha), leaf

    @cached_property
    def _paths(self) -> tuple[np.ndarray, np.ndarray]:
        """Depth of each leaf [leaves], and of the last ancestor it shares with its right neighbour [leaves - 1]."""
        depth = self.tree.depths()
        return depth[self.tree.tips()], _ancestor_depths(self.tree, depth)

    def __call__(self, sample_ids: Sequence[str], asvs: Arrays, counts: Arrays) -> BatchTargets:
        """Targets of B samples, each with its ASVs (int [n]) and their counts (int [n]); the ids are not used."""
        branches = unifrac.branch_shares(self.tree, [self._leaf[columns] for columns in asvs], counts)
        return BatchTargets(unifrac.unifrac_distances(branches, self.measure), unifrac.faith_pd(branches))

    def tree_of(self, sample_ids: Sequence[str]) -> Tree:
        """The tree of these samples."""
        return self.tree

    def patristic(self, asvs: np.ndarray, sample_ids: Sequence[str] = ()) -> np.ndarray:
        """Distances along the tree between ASVs, int [P] -> float64 [P, P]: both depths minus twice the ancestor's.

        The last common ancestor of two leaves is the shallowest of those of the neighbours between them, so one pass of
        minima over neighbours, and a running minimum over the P chosen, give all of them.
        """
        leaf, place = np.unique(self._leaf[asvs], return_inverse=True)
        leaf_depth, between = self._paths
        depth = leaf_depth[leaf]
        gaps = np.minimum.reduceat(between[: leaf[-1]], leaf[:-1]) if len(leaf) > 1 else np.zeros(0)
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

    `targets` has one entry per study, for columns of the joined table; `study_of` maps a sample id to its study number.
    """

    def __init__(self, targets: Sequence[TreeTargets], study_of: Mapping[str, int]) -> None:
        self._targets, self._study_of = list(targets), study_of

    def __call__(self, sample_ids: Sequence[str], asvs: Arrays, counts: Arrays) -> BatchTargets:
        """Targets of B samples; UniFrac between studies is NaN."""
        study = np.array([self._study_of[sample_id] for sample_id in sample_ids])
        unifrac, faith_pd = np.full((len(study), len(study)), np.nan), np.empty(len(study))
        for number in np.unique(study):
            rows = np.flatnonzero(study == number)
            parts = ([values[row] for row in rows.tolist()] for values in (sample_ids, asvs, counts))
            found = self._targets[number](*parts)
            unifrac[np.ix_(rows, rows)], faith_pd[rows] = found.unifrac, found.faith_pd
        return BatchTargets(unifrac, faith_pd)

    def tree_of(self, sample_ids: Sequence[str]) -> Tree:
        """The tree of samples of one study; raises `TreeError` for samples of several."""
        return self._of_one_study(sample_ids).tree

    def patristic(self, asvs: np.ndarray, sample_ids: Sequence[str]) -> np.ndarray:
        """Tree distances between ASVs of samples of one study, int [P] -> float64 [P, P], by the tree of that study.

        Raises `TreeError` for samples of several studies, whose ASVs have no tree in common.
        """
        return self._of_one_study(sample_ids).patristic(asvs)

    def _of_one_study(self, sample_ids: Sequence[str]) -> TreeTargets:
        studies = {self._study_of[sample_id] for sample_id in sample_ids}
        if len(studies) != 1:
            raise TreeError(f"samples of {len(studies)} studies have no tree in common; ask for those of one study")
        return self._targets[studies.pop()]


class MatrixTargets:
    """Targets looked up by sample id in a precomputed matrix: `ids` of its rows and columns, `values` [n, n]."""

    def __init__(self, ids: Sequence[str], values: np.ndarray):
        self._row = {sample_id: row for row, sample_id in enumerate(ids)}
        self._values = values

    def __call__(self, sample_ids: Sequence[str], asvs: Arrays, counts: Arrays) -> BatchTargets:
        """Targets of B samples by id alone; raises `MatrixError` for unknown ids."""
        absent = [sample_id for sample_id in sample_ids if sample_id not in self._row]
        if absent:
            raise MatrixError(
                f"the distance matrix lacks {len(absent):,} of {len(sample_ids):,} samples, e.g. {absent[0]}; "
                "drop them from the table or compute the matrix with them"
            )
        rows = [self._row[sample_id] for sample_id in sample_ids]
        return BatchTargets(np.array(self._values[np.ix_(rows, rows)], dtype=np.float64), None)

    def tree_of(self, sample_ids: Sequence[str]) -> None:
        """None: there is no tree."""

    def patristic(self, asvs: np.ndarray, sample_ids: Sequence[str] = ()) -> None:
        """None: there are no distances between ASVs."""
