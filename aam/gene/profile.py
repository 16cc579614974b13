"""The profile of the 16S gene: every read gets the columns of one alignment, by HMMER's posterior decoding (pyhmmer).

A column is the coordinate of a base: column 611 is the first base behind primer 515F, in every read and every
reference. Bases that the profile has no column for (insertions) are dropped.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aam.gene.alignment import NO_COLUMN, Columns, align_bases

PROFILE_NAME = "16S-gg85"
PROFILE_FILE = Path(__file__).parent / "16s.hmm.gz"
"""Written by scripts/make_profile.py, which says from what."""
BASES = "ACGT"
NO_BASE = 4
"""Code of a column without a base: a gap, an ambiguity code, or outside of the read. A C G T are 0 to 3."""
_LETTERS = np.full(256, NO_BASE, np.uint8)
_LETTERS[[ord(base) for base in f"{BASES}U"]] = [*range(4), 3]
_COMPLEMENT = str.maketrans("ACGTURYSWKMBDHVN", "TGCAAYRSWMKVHDBN")
MOST_ENDS = 10
"""Bases at an end that are placed without the aligner; more are no end of the gene, but, e.g., an adapter."""
_READS_AT_ONCE = 1024
"""Bounds memory and changes nothing."""


def reverse_complement(sequence: str) -> str:
    """The other strand of upper-case DNA, IUPAC codes included."""
    return sequence.translate(_COMPLEMENT)[::-1]


class Profile:
    """Columns `first` to `last` of the 16S gene, counted from 1, both included. W is their number."""

    def __init__(self, hmm: Any, first: int = 1) -> None:
        """Take over a `pyhmmer.plan7.HMM` whose first column is column `first` of the gene."""
        self.hmm, self.first, self.last = hmm, first, first + hmm.M - 1

    def window(self, first: int, last: int) -> Profile:
        """The profile of some of the columns; reads that lie on them get the same columns as from the whole, faster."""
        from pyhmmer.plan7 import HMM

        first, last = max(first, self.first), min(last, self.last)
        if (first, last) == (self.first, self.last):
            return self
        part: Any = HMM(self.hmm.alphabet, last - first + 1, self.hmm.name)
        rows = np.r_[0, first - self.first + 1 : last - self.first + 2]  # row 0 is the state before the first column
        ends = np.r_[rows[:-1], self.hmm.M]  # the last column leaves as that of the whole does
        for name, kept in (("match_emissions", rows), ("insert_emissions", rows), ("transition_probabilities", ends)):
            np.asarray(getattr(part, name))[:] = np.asarray(getattr(self.hmm, name))[kept]
        part.set_composition()
        part.set_consensus()  # or the aligner crashes
        return Profile(part, first)

    def align(self, sequences: Sequence[str], threads: int = 1, ends: bool = False) -> NDArray[np.uint8]:
        """Codes [A, W] of upper-case DNA on the columns: 0 to 3 for A C G T, `NO_BASE` for none.

        Every sequence is aligned somewhere; `bits` tells whether it fits. `ends`: see `extend_ends`.
        """
        codes = np.full((len(sequences), self.last - self.first + 1), NO_BASE, np.uint8)
        for start in range(0, len(sequences), _READS_AT_ONCE):
            some = sequences[start : start + _READS_AT_ONCE]
            columns = align_bases(self.hmm, some, threads)
            if ends:
                extend_ends(columns, codes.shape[1])
            letters = np.frombuffer("".join(some).encode(), np.uint8)
            rows = start + np.repeat(np.arange(len(some)), np.diff(columns.bounds))
            there = columns.of_bases != NO_COLUMN
            codes[rows[there], columns.of_bases[there]] = _LETTERS[letters[there]]
        return codes

    @cached_property
    def log_odds(self) -> NDArray[np.float32]:
        """log2 of how much likelier a base is in a column than among all, [W, 5]; 0 for no base."""
        emissions = np.asarray(self.hmm.match_emissions)[1:]
        return np.c_[np.log2(emissions / 0.25), np.zeros(len(emissions))].astype(np.float32)

    def bits(self, codes: NDArray[np.uint8], lengths: NDArray[np.integer]) -> NDArray[np.float64]:
        """Bits per base of reads with codes [A, W] and `lengths` [A] in bases, [A]: about 1 for 16S, 0 for other DNA.

        Each base in a column counts `log_odds`; dropped insertions and bases outside the columns count 0.
        """
        found = np.zeros(len(codes))
        for column, odds in enumerate(self.log_odds):
            found += odds[codes[:, column]]
        return found / np.maximum(lengths, 1)


def extend_ends(columns: Columns, width: int) -> None:
    """Give the bases at both ends of reads that the aligner left out the columns next to those it placed, in place.

    Posterior decoding leaves out the last bases of a read where one of them differs from what is usual: one to eight
    bases of every second read of V4. `width`: number of columns.
    """
    for read in range(len(columns.bounds) - 1):
        own = columns.of(read)
        if not len(own) or NO_COLUMN not in (own[0], own[-1]) or not (own != NO_COLUMN).any():
            continue
        placed = np.flatnonzero(own != NO_COLUMN)
        before, behind = int(placed[0]), int(placed[-1])
        if before <= MOST_ENDS:
            kept = min(before, int(own[before]))
            own[before - kept : before] = np.arange(own[before] - kept, own[before])
        if len(own) - 1 - behind <= MOST_ENDS:
            kept = min(len(own) - 1 - behind, width - 1 - int(own[behind]))
            own[behind + 1 : behind + 1 + kept] = np.arange(own[behind] + 1, own[behind] + 1 + kept)


@cache
def gene_profile() -> Profile:
    """The profile of the whole 16S gene, 1,739 columns, that comes with the package."""
    import io

    from pyhmmer.plan7 import HMMFile

    text = io.BytesIO(gzip.decompress(PROFILE_FILE.read_bytes()))
    with HMMFile(text) as profiles:
        hmm = next(iter(profiles))
    return Profile(hmm)
