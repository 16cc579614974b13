"""Where reads lie on the 16S gene: strand, first and last column, and their bases on the columns."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from aam.gene.profile import NO_BASE, Profile, gene_profile, reverse_complement

SCOUTS = 48
"""Reads that are laid on the whole gene to find the window of all."""
MARGIN = 40
"""Columns by which that window is wider than the scouts."""
GOOD_BITS = 0.6
"""Bits per base of a read that needs no second look. Reads of three gut studies have 0.76 to 1.2, turned ones below
0.31."""
LEAST_BITS = 0.35
"""A read with fewer bits per base on either strand is no 16S."""
LEAST_BASES = 30
"""Bases in columns below which a read has no place."""


@dataclass(frozen=True)
class Reads:
    """A reads on W columns of the gene.

    `codes` uint8 [A, W]: A C G T as 0 to 3 on columns `first`, `first + 1`, ... (counted from 1), `NO_BASE` where the
    read has none. `strand` int8 [A]: 1 plus, -1 minus (the codes are those of the plus strand), 0 for what is no 16S
    (no codes). `begin`, `end` int64 [A]: first and last column with a base, 0 where there is none. `bits` float64 [A]:
    bits per base.
    """

    codes: NDArray[np.uint8]
    first: int
    strand: NDArray[np.int8]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    bits: NDArray[np.float64]

    def on(self, first: int, last: int) -> NDArray[np.uint8]:
        """Codes [A, last - first + 1] on the columns `first` to `last` (counted from 1, both included)."""
        found = np.full((len(self.codes), last - first + 1), NO_BASE, np.uint8)
        low, high = max(first, self.first), min(last, self.first + self.codes.shape[1] - 1)
        if low <= high:
            found[:, low - first : high - first + 1] = self.codes[:, low - self.first : high - self.first + 1]
        return found


def some_of(sequences: Sequence[str], most: int) -> list[str]:
    """At most `most` of some sequences, those of the smallest hashes: the same ones in whatever order they come."""
    if len(sequences) <= most:
        return list(sequences)
    return heapq.nsmallest(most, sequences, key=lambda text: hashlib.blake2b(text.encode(), digest_size=8).digest())


def scout(sequences: Sequence[str]) -> Reads | None:
    """`SCOUTS` of some reads on the whole gene; None if there are no reads."""
    return _scout(tuple(some_of(sequences, SCOUTS))) if len(sequences) else None


@lru_cache(maxsize=8)
def _scout(sequences: tuple[str, ...]) -> Reads:
    """What looks at a table and what places its reads begin with the same ones."""
    return lay(gene_profile(), sequences)


def window_of(sequences: Sequence[str]) -> Profile:
    """The part of the gene on which `SCOUTS` of the reads lie; the whole gene if none fits."""
    gene, scouts = gene_profile(), scout(sequences)
    if scouts is None or not (found := scouts.strand != 0).any():
        return gene
    return gene.window(int(scouts.begin[found].min()) - MARGIN, int(scouts.end[found].max()) + MARGIN)


def place_reads(sequences: Sequence[str], window: Profile | None = None, threads: int = 1, ends: bool = False) -> Reads:
    """Put upper-case DNA on the columns of the gene, each read on the strand that fits.

    `window`: where reads are expected (`window_of` the whole table, if these are some of its reads); those that do not
    fit it, or touch its edge, are put on the whole gene, so a read's columns do not depend on the other reads.
    `ends`: place the bases at the ends of reads, too, that the aligner leaves out.
    """
    window = window or window_of(sequences)
    reads = lay(window, sequences, threads, ends)
    gene = gene_profile()
    if (window.first, window.last) == (gene.first, gene.last):
        return reads
    before, behind = window.first > gene.first, window.last < gene.last
    cut = (before & (reads.begin == window.first)) | (behind & (reads.end == window.last))
    again = np.flatnonzero((reads.bits < GOOD_BITS) | cut).tolist()
    if not again:
        return reads
    return _replaced(reads, again, lay(gene, [sequences[row] for row in again], threads, ends))


def lay(profile: Profile, sequences: Sequence[str], threads: int = 1, ends: bool = False) -> Reads:
    """Put reads on one profile; those that fit the plus strand badly on the minus strand too."""
    lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
    codes = profile.align(sequences, threads, ends)
    bits, strand = profile.bits(codes, lengths), np.ones(len(sequences), np.int8)
    doubtful = np.flatnonzero(bits < GOOD_BITS)
    if doubtful.size:
        turned = profile.align([reverse_complement(sequences[row]) for row in doubtful.tolist()], threads, ends)
        other = profile.bits(turned, lengths[doubtful])
        better = other > bits[doubtful]
        rows = doubtful[better]
        codes[rows], bits[rows], strand[rows] = turned[better], other[better], -1
    real = codes != NO_BASE
    strand[(bits < LEAST_BITS) | (real.sum(axis=1) < LEAST_BASES)] = 0
    codes[strand == 0] = NO_BASE
    real[strand == 0] = False
    any_base = real.any(axis=1)
    begin = np.where(any_base, real.argmax(axis=1) + profile.first, 0)
    end = np.where(any_base, profile.last - real[:, ::-1].argmax(axis=1), 0)
    return Reads(codes, profile.first, strand, begin, end, bits)


def _replaced(reads: Reads, rows: list[int], others: Reads) -> Reads:
    """Reads of which some `rows` are replaced; the columns are widened to hold all."""
    found = others.strand != 0
    first = min([reads.first, *others.begin[found].tolist()])
    last = max([reads.first + reads.codes.shape[1] - 1, *others.end[found].tolist()])
    codes = reads.on(first, last)
    codes[rows] = others.on(first, last)
    parts = []
    for name in ("strand", "begin", "end", "bits"):
        part = getattr(reads, name).copy()
        part[rows] = getattr(others, name)
        parts.append(part)
    return Reads(codes, first, *parts)
