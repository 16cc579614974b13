"""UniFrac and Faith PD of a set of samples, exact, in float64, from arrays alone.

With leaves numbered in postorder each branch covers a range of them, so the reads of a sample below a branch are one
difference of its cumulative sum. Only leaves that occur in the set are used, and branches above the same leaves
are merged, so U leaves give at most 2U - 1 branches, however large the tree is.

scikit-bio and the `unifrac` package compute matrices of whole tables (`aam.phylogeny.engines`); a batch needs those of
the few samples that were just drawn, from arrays that worker processes share.

Definitions, with `l` the length of a branch and `p`, `q` the fractions of the two samples' reads below it:
unweighted  sum l [exactly one of p, q > 0] / sum l [p > 0 or q > 0]          (Lozupone and Knight 2005)
weighted    sum l |p - q|;  normalized: divided by sum l (p + q)              (Lozupone et al. 2007)
generalized sum l (p + q)^alpha |p - q| / (p + q)  /  sum l (p + q)^alpha     (Chen et al. 2012)
Faith PD    sum l [p > 0]                                                     (Faith 1992)
As in scikit-bio, the stem above the root counts, two samples without reads are at distance 0, and a sample without
reads shares no branch with any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from scipy import sparse

from aam.config import Metric
from aam.phylogeny.tree import Tree, merge_equal_ranges

ROUNDING = 1e-13
"""Differences below this part of the sum they came from are cancellation and read as 0, as between equal samples."""


@dataclass(frozen=True)
class Community:
    """`counts` int64 CSR [samples, leaves of `tree`], whose rows are in any order; each leaf is an ASV's."""

    counts: sparse.csr_array
    tree: Tree


def build_community(counts: sparse.csr_array, tips: Sequence[str], tree: Tree) -> Community:
    """Build a community from `counts` [samples, ASVs], whose ASVs are the given tips; reads of ASVs at one tip add up.

    Raises `TreeError` if one is no tip.
    """
    sheared = tree.shear(tips)
    place = np.arange(len(tips)), sheared.leaves_of(tips)
    return Community(counts @ sparse.csr_array((np.ones(len(tips), np.int64), place)), sheared)


class Measure(NamedTuple):
    """Which UniFrac; `alpha` counts for "generalized" alone."""

    metric: Metric
    alpha: float


class BranchRanges(NamedTuple):
    """The K distinct branches above a set of leaves: `first[k] <= rank < last[k]` (int32 [K]) are the leaves below one.

    `rank` int32 [all leaves + 1]: how many leaves of the set come before each leaf of the tree. `length` float64 [K].
    """

    rank: np.ndarray
    first: np.ndarray
    last: np.ndarray
    length: np.ndarray


class BranchShares(NamedTuple):
    """B samples on K branches: `share` float64 [K, B], fraction of a sample's reads below a branch; `length` [K].

    The column of a sample without reads is 0.
    """

    share: np.ndarray
    length: np.ndarray


def branches_above(tree: Tree, leaves: np.ndarray) -> BranchRanges:
    """The branches above the given leaves, int [n] in any order: at most 2n - 1."""
    occurring = np.zeros(len(tree.tip_names) + 1, dtype=np.int32)
    occurring[leaves + 1] = 1
    rank = np.cumsum(occurring, dtype=np.int32)
    first, last = rank[tree.first], rank[tree.last]
    nodes = np.flatnonzero(first < last)
    first, last = first[nodes], last[nodes]
    starts, length = merge_equal_ranges(first, last, tree.length[nodes])
    return BranchRanges(rank, first[starts], last[starts], length)


def shares_below(ranges: BranchRanges, leaves: Sequence[np.ndarray], counts: Sequence[np.ndarray]) -> np.ndarray:
    """`Branches.share` of B samples, each given as leaf numbers in any order and their counts (integers >= 0).

    The counts of a repeated leaf add up. Raises `ValueError` for counts that are not integers: only differences
    of whole numbers are exact, and a branch without reads must hold exactly 0.
    """
    leaf, reads = np.concatenate(leaves), np.concatenate(counts)
    if reads.dtype.kind not in "iu":
        raise ValueError(f"counts are {reads.dtype}, expected integers; pass reads, not fractions")
    samples, rows = len(leaves), int(ranges.rank[-1]) + 1
    column = np.repeat(np.arange(samples), [len(part) for part in leaves])
    cells = column * rows + ranges.rank[leaf] + 1
    read = np.bincount(cells, weights=reads, minlength=rows * samples).astype(np.float64, copy=False)  # no cells: int
    # Summed along rows of memory and turned round after: numpy is slow to sum across them.
    below = np.ascontiguousarray(np.cumsum(read.reshape(samples, rows), axis=1).T)
    share = below[ranges.last]
    share -= below[ranges.first]
    share /= np.maximum(below[-1], 1.0)
    return share


def branch_shares(tree: Tree, leaves: Sequence[np.ndarray], counts: Sequence[np.ndarray]) -> BranchShares:
    """Branches and fractions of a batch of samples; arguments as in `shares_below`."""
    found = branches_above(tree, np.concatenate(leaves))
    return BranchShares(shares_below(found, leaves, counts), found.length)


def faith_pd(branches: BranchShares) -> np.ndarray:
    """Faith's phylogenetic diversity [B]: the length of all branches with reads below them, the stem included."""
    return branches.length @ (branches.share > 0)


def unifrac_distances(branches: BranchShares, measure: Measure) -> np.ndarray:
    """Distances between all samples, float64 [B, B], exactly symmetric with an exactly zero diagonal."""
    if measure.metric == "unweighted":
        present = (branches.share > 0).astype(np.float64)
        shared = present.T @ (present * branches.length[:, None])
        shared = (shared + shared.T) / 2
        return unweighted_from_shared(shared, np.diagonal(shared), np.diagonal(shared))
    columns = columns_of(branches, measure)
    upper = np.zeros((branches.share.shape[1],) * 2)
    for sample in range(len(upper) - 1):
        upper[sample, sample + 1 :] = columns.to(sparse_sample(branches, sample), sample + 1)
    return upper + upper.T


def unweighted_from_shared(shared: np.ndarray, own_rows: np.ndarray, own_columns: np.ndarray) -> np.ndarray:
    """Unweighted UniFrac [R, C] from the branch length that samples share [R, C] and that of each alone [R], [C]."""
    both = own_rows[:, None] + own_columns
    unique = both - 2 * shared
    unique[unique <= ROUNDING * both] = 0.0
    return unique / np.where(unique > 0, both - shared, 1.0)


class SparseSample(NamedTuple):
    """One sample without its zeros: the fractions `share` float64 [k] at the branches `at` int64 [k]."""

    at: np.ndarray
    share: np.ndarray


def sparse_sample(branches: BranchShares, sample: int) -> SparseSample:
    """The branches that one of the samples has reads below."""
    at = np.flatnonzero(branches.share[:, sample])
    return SparseSample(at, branches.share[at, sample])


class Columns(Protocol):
    """Samples prepared for comparison with one other sample at a time."""

    def to(self, other: SparseSample, start: int = 0) -> np.ndarray:
        """Distances [B - start] of the samples from number `start` on to the other one."""


def columns_of(branches: BranchShares, measure: Measure) -> Columns:
    """The samples as columns of an abundance-weighted metric."""
    if measure.metric == "generalized":
        return GeneralizedColumns(branches, measure.alpha)
    return WeightedColumns(branches, normalized=measure.metric == "weighted_normalized")


class WeightedColumns:
    """Weighted UniFrac: `sum l |p - q| = sum l p + sum l q - 2 sum l min(p, q)`, and the minimum is 0 outside
    of the branches of either sample. So only the branches of one sample are visited, a tenth of all or less."""

    def __init__(self, branches: BranchShares, normalized: bool):
        self.branches, self.normalized = branches, normalized
        self.total = branches.length @ branches.share

    def to(self, other: SparseSample, start: int = 0) -> np.ndarray:
        length = self.branches.length[other.at]
        lesser = np.minimum(self.branches.share[other.at, start:], other.share[:, None])
        both = self.total[start:] + length @ other.share
        difference = both - 2 * (length @ lesser)
        difference[difference <= ROUNDING * both] = 0.0
        return difference / np.where(both > 0, both, 1.0) if self.normalized else difference


class GeneralizedColumns:
    """Generalized UniFrac; a branch of one sample only adds `l p^alpha` to numerator and denominator."""

    def __init__(self, branches: BranchShares, alpha: float):
        self.branches, self.alpha = branches, alpha
        self.alone = branches.length[:, None] * _power(branches.share, alpha)
        self.total = self.alone.sum(axis=0)

    def to(self, other: SparseSample, start: int = 0) -> np.ndarray:
        length, share = self.branches.length[other.at], self.branches.share[other.at, start:]
        both = share + other.share[:, None]
        weight = _power(both, self.alpha)
        elsewhere = self.total[start:] - self.alone[other.at, start:].sum(axis=0)
        elsewhere[elsewhere <= ROUNDING * self.total[start:]] = 0.0
        below = length @ weight + elsewhere
        above = length @ (weight * (np.abs(share - other.share[:, None]) / both)) + elsewhere
        return above / np.where(below > 0, below, 1.0)


def _power(values: np.ndarray, alpha: float) -> np.ndarray:
    """values^alpha with 0^0 = 0: a branch without reads has no weight. Uses the faster square root for alpha 0.5."""
    if alpha == 0.5:
        return np.sqrt(values)
    return np.power(values, alpha) if alpha > 0 else (values > 0).astype(np.float64)
