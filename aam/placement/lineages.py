"""Common ancestors of reference tips and of ASVs that were placed one after the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aam.phylogeny.ancestors import Ancestors

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Lineages:
    """R reference tips, numbers 0 to R - 1, and A ASVs, numbers R to R + A - 1 in the order in which they are placed.

    An ASV's branch leaves the path from its `anchor` (a smaller number) to the root at depth `top`. `depth` float64
    [R + A]: distance of each from the root.
    """

    def __init__(self, ancestors: Ancestors, asvs: int) -> None:
        """Make room for `asvs` ASVs."""
        self.ancestors, self.tips = ancestors, len(ancestors.tip_depth)
        self.anchor, self.top = np.zeros(asvs, np.int64), np.zeros(asvs)
        self.depth = np.concatenate([ancestors.tip_depth, np.zeros(asvs)])

    def add(self, numbers: Ints, anchor: Ints, top: Floats, stem: Floats) -> None:
        """Record the places of the ASVs `numbers` [n]: `anchor` and `top` as above; `stem`: length of the branch."""
        rows = numbers - self.tips
        self.anchor[rows], self.top[rows], self.depth[numbers] = anchor, top, top + stem

    def common(self, left: NDArray[np.integer], right: NDArray[np.integer]) -> Floats:
        """Depth of the last common ancestor, elementwise with broadcasting; of one with itself its own depth.

        The path of the ASV that was placed later is that of its anchor above its top: it is replaced by the anchor, and
        nothing below its top is common.
        """
        left, right = (side.copy() for side in np.broadcast_arrays(left, right))
        lowest = np.full(left.shape, np.inf)
        while True:
            later = np.maximum(left, right)
            at = np.nonzero((later >= self.tips) & (left != right))
            if not at[0].size:
                break
            rows = later[at] - self.tips
            lowest[at] = np.minimum(lowest[at], self.top[rows])
            for side in (left, right):
                side[at] = np.where(side[at] == later[at], self.anchor[rows], side[at])
        found = self.depth[left]
        tips = np.nonzero(left != right)
        found[tips] = self.ancestors.common(left[tips], right[tips])
        return np.minimum(found, lowest)
