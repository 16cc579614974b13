"""Last common ancestors of tips, and the branches on the way from a tip to the root, in vectorised lookups."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from aam.phylogeny.tree import Tree

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Ancestors:
    """Depths below the root of the nodes and of last common ancestors of the tips of a `Tree` of R tips and N nodes.

    `depth` float64 [N] and `tip_depth` float64 [R]: distance from the root (without its stem). Tips are numbers in
    `tree.tip_names`.
    """

    def __init__(self, tree: Tree) -> None:
        """Build the tables: about 20 numbers per tip."""
        self.tree, self.tips = tree, tree.tips()
        self.depth = tree.depths() - tree.length[-1]
        self.tip_depth = self.depth[self.tips]
        # Between tips i - 1 and i, the last common ancestor is the parent of the subtree that ends with tip i - 1 and
        # is not the last of its parent's; the depth of any two tips is the minimum over the gaps between them.
        gaps = np.zeros(max(len(tree.tip_names), 1))
        ends = np.flatnonzero((tree.parent >= 0) & (tree.last < tree.last[tree.parent]))
        gaps[tree.last[ends]] = self.depth[tree.parent[ends]]
        self._minima, width = [gaps], 1
        while 2 * width < len(gaps):
            last = self._minima[-1]
            self._minima.append(np.minimum(last[:-width], last[width:]))
            width *= 2

    def common(self, left: NDArray[np.integer], right: NDArray[np.integer]) -> Floats:
        """Depth of the last common ancestor of tips, elementwise with broadcasting; of a tip with itself its own."""
        left, right = np.broadcast_arrays(left, right)
        low, high = np.minimum(left, right), np.maximum(left, right)
        found, gap = self.tip_depth[low], high - low
        level = np.log2(np.maximum(gap, 1)).astype(np.int64)
        for one in np.unique(level[gap > 0]):
            at = (level == one) & (gap > 0)
            minima = self._minima[one]
            found[at] = np.minimum(minima[low[at] + 1], minima[high[at] - (1 << one) + 1])
        return found

    def distance(self, left: NDArray[np.integer], right: NDArray[np.integer]) -> Floats:
        """Length of the path between tips, elementwise with broadcasting."""
        return self.tip_depth[left] + self.tip_depth[right] - 2 * self.common(left, right)

    @cached_property
    def _jumps(self) -> list[Ints]:
        """Ancestor 1, 2, 4, ... generations up of each node [N]; that of the root is the root."""
        parent = np.where(self.tree.parent < 0, len(self.depth) - 1, self.tree.parent).astype(np.int64)
        jumps = [parent]
        while (jumps[-1] != len(self.depth) - 1).any():
            jumps.append(jumps[-1][jumps[-1]])
        return jumps

    def branch_at(self, tips: NDArray[np.integer], depth: Floats) -> Ints:
        """The node [n] at the lower end of the branch on which the path from each tip [n] to the root has this depth.

        It is the highest ancestor (or the tip) that is at least that deep, so a depth on a node is on the branch above
        it.
        """
        node = self.tips[tips]
        for jump in reversed(self._jumps):
            above = jump[node]
            node = np.where(self.depth[above] >= depth, above, node)
        return node
