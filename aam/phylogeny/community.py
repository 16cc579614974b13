"""All samples of a table on the leaves of a tree: what an engine computes whole matrices from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from aam.phylogeny.tree import Tree

Progress = Callable[[int, int], None]
"""Called with (work done, work in all) now and then."""


@dataclass(frozen=True)
class Community:
    """`counts` int64 CSR [samples, leaves of `tree`], whose rows are in any order; each leaf is an ASV's."""

    counts: sparse.csr_array
    tree: Tree


def community(counts: sparse.csr_array, tips: Sequence[str], tree: Tree) -> Community:
    """Samples whose ASVs, columns of `counts` [samples, ASVs], are the given tips; reads of ASVs that share one add up.

    Raises `TreeError` where one is no tip.
    """
    sheared = tree.shear(tips)
    place = np.arange(len(tips)), sheared.leaves_of(tips)
    return Community(counts @ sparse.csr_array((np.ones(len(tips), np.int64), place)), sheared)
