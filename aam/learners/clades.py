"""How much of each sample lies in each clade of a reference tree, and in each ASV.

Studies of other regions, primers or laboratories share few ASVs, but all clades: an ASV that is placed on a branch of
the reference belongs to each clade above that branch. N samples, A ASVs, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from aam.io.table import relative_abundance
from aam.phylogeny.tree import Tree
from aam.placement.placements import Placements

ROUNDING = 1e-9
"""Depths on the tree that differ by less are the same point: they are sums of the same lengths in another order."""


@dataclass(frozen=True)
class CladeTable:
    """Reads of N samples: `asvs` float32 [N, A] as shares of the sample, and `members` [A, nodes of the reference].

    `members` is 1 where the ASV lies below the node. `sequences` are the ASVs as DNA, which are their names.
    """

    asvs: csr_array
    members: csr_array
    sequences: Sequence[str]

    def rows(self, rows: NDArray[np.int64]) -> CladeTable:
        """The table of some samples, numbers [n]."""
        return CladeTable(self.asvs[rows], self.members, self.sequences)

    @property
    def clades(self) -> csr_array:
        """Share of each sample in each clade, float32 [N, nodes]."""
        return csr_array(self.asvs @ self.members)


def clade_table(counts: csr_array, sequences: Sequence[str], places: Placements, tree: Tree) -> CladeTable:
    """The table of samples with `counts` [N, A] of ASVs that were placed on the reference `tree`.

    ASVs without a place are in no clade; they stay features of their own.
    """
    return CladeTable(relative_abundance(counts).astype(np.float32), clades_of(places, tree), sequences)


def clades_of(places: Placements, tree: Tree) -> csr_array:
    """Which nodes of the reference each ASV, placed alone, lies below, float32 [A, nodes], of 0 and 1.

    An ASV leaves the path from its anchor to the root at the depth `top`; it lies below the nodes of this path that are
    no deeper. A tip is a clade too: that of the ASVs which lie on its branch's end.
    """
    row, node = places.placed, tree.tips()[places.anchor[places.placed]]
    depth, rows, columns = tree.depths(), list[NDArray[np.int64]](), list[NDArray[np.int64]]()
    while len(row):
        below = depth[node] <= places.top[row] + ROUNDING
        rows.append(row[below])
        columns.append(node[below])
        inner = tree.parent[node] >= 0
        row, node = row[inner], tree.parent[node[inner]].astype(np.int64)
    at = (np.concatenate(rows), np.concatenate(columns)) if rows else (row, row)
    return csr_array((np.ones(len(at[0]), np.float32), at), shape=(len(places.fate), len(tree.first)))
