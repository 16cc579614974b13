"""All samples of a table on the tree of their ASVs: what an engine computes whole matrices from."""

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
    """`counts` int64 CSR [samples, ASVs]; `leaf` int64 [ASVs], the leaf of each in `tree`, which has no others."""

    counts: sparse.csr_array
    leaf: np.ndarray
    tree: Tree


def community(counts: sparse.csr_array, tips: Sequence[str], tree: Tree) -> Community:
    """Samples whose ASVs, the columns of `counts`, are the given tips; raises `TreeError` where one is no tip."""
    sheared = tree.shear(tips)
    return Community(counts, sheared.leaves_of(tips), sheared)
