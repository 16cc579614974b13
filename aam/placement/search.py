"""Reads of a table on the columns of the gene, in groups that are searched together, and which have no place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from aam.gene.reads import LEAST_BASES, Reads, place_reads, window_of
from aam.observer import Progress
from aam.placement.placements import NOT_16S, NOT_COVERED, PLACED, TOO_FAR
from aam.placement.reference import Reference

READS_AT_ONCE = 1 << 8
"""ASVs that a thread aligns between two messages of progress; changes nothing else."""
STRIDE = 200
"""ASVs are searched together whose first and last columns lie in the same stretches of so many columns, so that one
read of the whole gene does not make the search for all others as wide as the gene."""
FARTHEST = 0.25
"""Share of differing columns from which an ASV is far from everything. Two random sequences differ in 0.75 of their
columns, and domains of life in about 0.25 to 0.35."""


def align_reads(sequences: Sequence[str], progress: Progress, threads: int = 1) -> Reads:
    """Put all sequences on the columns of the gene, block by block."""
    window, parts = window_of(sequences), []
    block = READS_AT_ONCE * threads
    for start in range(0, len(sequences), block):
        parts.append(place_reads(sequences[start : start + block], window, threads))
        progress(min(start + block, len(sequences)), 2 * len(sequences))
    return parts[0] if len(parts) == 1 else join_reads(parts)


def join_reads(parts: Sequence[Reads]) -> Reads:
    """Several blocks of reads as one, on the columns of all."""
    first = min(part.first for part in parts)
    last = max(part.first + part.codes.shape[1] - 1 for part in parts)
    rest = [np.concatenate([getattr(part, name) for part in parts]) for name in ("strand", "begin", "end", "bits")]
    return Reads(np.concatenate([part.on(first, last) for part in parts]), first, *rest)


def windows(reference: Reference, reads: Reads) -> Iterator[tuple[NDArray[np.int64], int, int]]:
    """Rows of reads, and the columns (first and last) that they and the reference have, in groups of like reads."""
    begin, end = np.maximum(reads.begin, reference.first), np.minimum(reads.end, reference.last)
    there = np.flatnonzero((reads.strand != 0) & (begin <= end))
    keys, group = np.unique(np.c_[begin, end][there] // STRIDE, axis=0, return_inverse=True)
    for number in range(len(keys)):
        rows = there[group.ravel() == number]
        yield rows, int(begin[rows].min()), int(end[rows].max())


def fates(strand: NDArray[np.int8], differing: NDArray[np.int64], covered: NDArray[np.int64]) -> NDArray[np.int8]:
    """What becomes of reads, int8 [A], by how many of their `covered` columns [A] the nearest reference differs in."""
    fate = np.full(len(covered), PLACED, np.int8)
    fate[differing > FARTHEST * covered] = TOO_FAR
    fate[covered < LEAST_BASES] = NOT_COVERED
    fate[strand == 0] = NOT_16S
    return fate
