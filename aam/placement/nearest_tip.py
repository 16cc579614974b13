"""Placement without learning: each ASV hangs half of its corrected distance above its nearest reference tip.

Half of the way from an ASV to its nearest relative is common to both where the two have changed equally fast.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.gene.profile import NO_BASE
from aam.gene.reads import LEAST_BASES, Reads, place_reads, window_of
from aam.observer import Progress
from aam.placement.neighbours import Neighbourhood, Neighbours
from aam.placement.placements import NOT_16S, NOT_COVERED, PLACED, TOO_FAR, Placements
from aam.placement.reference import Reference

CANDIDATES = 16
"""Nearest reference tips that are kept for each ASV."""
FARTHEST = 0.25
"""Share of differing columns from which an ASV is far from everything. Two random sequences differ in 0.75 of their
columns, and domains of life in about 0.25 to 0.35."""
SATURATED = 0.74
"""Share of differing columns beyond which the Jukes-Cantor distance has no more meaning; it is infinite at 0.75."""
READS_AT_ONCE = 1 << 12
"""ASVs aligned together; bounds memory and changes nothing."""
STRIDE = 200
"""ASVs are searched together whose first and last columns lie in the same stretches of so many columns, so that one
read of the whole gene does not make the search for all others as wide as the gene."""


class Search(NamedTuple):
    """Nearest reference tips of A reads: `tips` and `differing` int64 [A, K], `covered` int64 [A] columns compared."""

    tips: NDArray[np.int64]
    differing: NDArray[np.int64]
    covered: NDArray[np.int64]


def place_by_nearest_tip(
    reference: Reference, ids: Sequence[str], sequences: Sequence[str], progress: Progress, threads: int = 1
) -> Placements:
    """Place upper-case DNA on the tree of a reference; among equally near tips the first has the ASV."""
    reads = align_reads(sequences, progress, threads)
    found = search(reference, reads)
    fate = np.full(len(ids), PLACED, np.int8)
    share = found.differing[:, 0] / np.maximum(found.covered, 1)
    fate[share > FARTHEST] = TOO_FAR
    fate[found.covered < LEAST_BASES] = NOT_COVERED
    fate[reads.strand == 0] = NOT_16S
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


def align_reads(sequences: Sequence[str], progress: Progress, threads: int = 1) -> Reads:
    """Put all sequences on the columns of the gene, block by block."""
    window, parts = window_of(sequences), []
    for start in range(0, len(sequences), READS_AT_ONCE):
        parts.append(place_reads(sequences[start : start + READS_AT_ONCE], window, threads))
        progress(min(start + READS_AT_ONCE, len(sequences)), 2 * len(sequences))
    return parts[0] if len(parts) == 1 else join_reads(parts)


def join_reads(parts: Sequence[Reads]) -> Reads:
    """Several blocks of reads as one, on the columns of all."""
    first = min(part.first for part in parts)
    last = max(part.first + part.codes.shape[1] - 1 for part in parts)
    rest = [np.concatenate([getattr(part, name) for part in parts]) for name in ("strand", "begin", "end", "bits")]
    return Reads(np.concatenate([part.on(first, last) for part in parts]), first, *rest)


def search(reference: Reference, reads: Reads) -> Search:
    """The nearest tips of all reads over the columns that both a read and the reference have."""
    count, total = min(CANDIDATES, len(reference.tree.tip_names)), len(reads.strand)
    found = Search(np.full((total, count), -1), np.zeros((total, count), np.int64), np.zeros(total, np.int64))
    for rows, first, last in windows(reference, reads):
        codes = reads.on(first, last)[rows]
        near: Neighbours = Neighbourhood(reference.on(first, last)).nearest(codes, count)
        found.tips[rows], found.differing[rows] = near.rows, near.differing
        found.covered[rows] = (codes != NO_BASE).sum(axis=1)
    return found


def windows(reference: Reference, reads: Reads) -> Iterator[tuple[NDArray[np.int64], int, int]]:
    """Rows of reads, and the columns (first and last) that they and the reference have, in groups of like reads."""
    begin, end = np.maximum(reads.begin, reference.first), np.minimum(reads.end, reference.last)
    there = np.flatnonzero((reads.strand != 0) & (begin <= end))
    keys, group = np.unique(np.c_[begin, end][there] // STRIDE, axis=0, return_inverse=True)
    for number in range(len(keys)):
        rows = there[group.ravel() == number]
        yield rows, int(begin[rows].min()), int(end[rows].max())
