"""Placement without learning: each ASV hangs half of its corrected distance above its nearest reference tip.

Half of the way from an ASV to its nearest relative is common to both where the two have changed equally fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.gene.profile import NO_BASE
from aam.gene.reads import Reads
from aam.observer import Progress
from aam.placement.neighbours import Neighbourhood, Neighbours
from aam.placement.placements import PLACED, Placements
from aam.placement.reference import Reference
from aam.placement.search import align_reads, fates, windows

CANDIDATES = 16
"""Nearest reference tips that are kept for each ASV."""
SATURATED = 0.74
"""Share of differing columns beyond which the Jukes-Cantor distance has no more meaning; it is infinite at 0.75."""
ROWS_AT_ONCE = 1 << 12
"""ASVs whose candidates are compared together; bounds memory and changes nothing."""


class Search(NamedTuple):
    """Nearest reference tips of A reads: `tips` and `differing` int64 [A, K], `covered` int64 [A] columns compared."""

    tips: NDArray[np.int64]
    differing: NDArray[np.int64]
    covered: NDArray[np.int64]


def place_by_nearest_tip(
    reference: Reference, ids: Sequence[str], sequences: Sequence[str], progress: Progress, threads: int = 1
) -> Placements:
    """Place upper-case DNA on the tree of a reference; of equally near tips see `most_central_first`."""
    reads = align_reads(sequences, progress, threads)
    found = search(reference, reads)
    most_central_first(reference, found)
    fate = fates(reads.strand, found.differing[:, 0], found.covered)
    lost = fate != PLACED
    candidates, differing = np.where(lost[:, None], -1, found.tips), np.where(lost[:, None], 0, found.differing)
    covered = np.where(lost, 0, found.covered)
    half = np.where(lost[:, None], 0.0, jukes_cantor(differing / np.maximum(covered, 1)[:, None]) / 2)
    depth = reference.ancestors.tip_depth[candidates] * ~lost[:, None]
    height = np.minimum(half, depth)
    tied = (differing == differing[:, :1]) & ~lost[:, None]
    progress(len(ids), len(ids))
    return Placements(
        ids,
        reads,
        fate,
        candidates,
        differing,
        covered,
        anchor=candidates[:, 0],
        top=(depth - height)[:, 0],
        stem=half[:, 0],
        chance=tied / np.maximum(tied.sum(axis=1, keepdims=True), 1),
        height=height,
        stem_of=half,
        error=half[:, 0],
    )


def jukes_cantor(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Substitutions per column for shares of differing columns, any shape (Jukes and Cantor 1969)."""
    return -0.75 * np.log1p(-4 / 3 * np.minimum(share, SATURATED))


def search(reference: Reference, reads: Reads) -> Search:
    """The nearest tips of all reads over the columns that both a read and the reference have."""
    count, total = min(CANDIDATES, len(reference.tree.tip_names)), len(reads.strand)
    found = Search(np.full((total, count), -1), np.zeros((total, count), np.int64), np.zeros(total, np.int64))
    for rows, first, last in windows(reference, reads):
        codes = reads.on(first, last)[rows]
        near: Neighbours = Neighbourhood(np.ascontiguousarray(reference.on(first, last).T)).nearest(codes, count)
        found.tips[rows], found.differing[rows] = near.rows, near.differing
        found.covered[rows] = (codes != NO_BASE).sum(axis=1)
    return found


def most_central_first(reference: Reference, found: Search) -> None:
    """Order equally near tips, in place, by how near they are on the tree to all that were found, nearer ones more.

    The first of them in the order of the tree is often an outlier: two tips that are equal in V4 may be 0.25 apart.
    """
    for start in range(0, len(found.tips), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        tips, differing = found.tips[rows], found.differing[rows]
        weight = np.exp((differing[:, :1] - differing) / 2)
        apart = np.sqrt(np.maximum(reference.ancestors.distance(tips[:, :, None], tips[:, None]), 0))
        order = np.lexsort(((apart * weight[:, None]).sum(axis=2), differing))
        found.tips[rows], found.differing[rows] = (np.take_along_axis(part, order, 1) for part in (tips, differing))
