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

PROFILE_NAME = "16S-gg85"
PROFILE_FILE = Path(__file__).parent / "16s.hmm.gz"
"""Written by scripts/make_profile.py, which says from what."""
BASES = "ACGT"
NO_BASE = 4
"""Code of a column without a base: a gap, an ambiguity code, or outside of the read. A C G T are 0 to 3."""
_LETTERS = np.full(256, NO_BASE, np.uint8)
_LETTERS[[ord(base) for base in BASES]] = range(4)
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
            codes[start : start + _READS_AT_ONCE] = self._align(
                sequences[start : start + _READS_AT_ONCE], threads, ends
            )
        return codes

    def _align(self, sequences: Sequence[str], threads: int, ends: bool) -> NDArray[np.uint8]:
        text, is_column = self.aligned_text(sequences, threads)
        codes = _LETTERS[text[:, is_column]]
        if ends:
            extend_ends(codes, text)
        return codes

    def aligned_text(self, sequences: Sequence[str], threads: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """The alignment of sequences, all at once: ASCII [A, T], and which of the T places are columns of the profile.

        Bases in columns are upper case and gaps '-'; insertions are lower case and their padding '.'.
        """
        from pyhmmer import hmmalign
        from pyhmmer.easel import DigitalSequenceBlock, TextSequence

        alphabet = self.hmm.alphabet
        reads = [
            TextSequence(name=str(row), sequence=text.replace("U", "T")).digitize(alphabet)
            for row, text in enumerate(sequences)
        ]
        block = DigitalSequenceBlock(alphabet, reads)
        aligned: Any = hmmalign(self.hmm, block, cpus=threads, all_consensus_cols=True)
        text = np.frombuffer("".join(aligned.alignment).encode(), np.uint8).reshape(len(reads), -1)
        return text, ((text < ord("a")) & (text != ord("."))).all(axis=0)

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


def extend_ends(codes: NDArray[np.uint8], text: NDArray[np.uint8]) -> None:
    """Give the bases at both ends of reads that the aligner left out the columns next to those it placed, in place.

    codes [A, W] and aligned text [A, T] as in `Profile`. Posterior decoding leaves out the last bases of a read where
    one of them differs from what is usual: one to eight bases of every second read of V4.
    """
    placed = codes != NO_BASE
    upper, lower = (text >= ord("A")) & (text <= ord("Z")), text >= ord("a")
    begin, end = placed.argmax(axis=1), placed.shape[1] - 1 - placed[:, ::-1].argmax(axis=1)
    first, last = upper.argmax(axis=1), upper.shape[1] - 1 - upper[:, ::-1].argmax(axis=1)
    for row in np.flatnonzero(placed.any(axis=1)).tolist():
        letters = text[row]
        before = letters[: first[row]][lower[row, : first[row]]]
        behind = letters[last[row] + 1 :][lower[row, last[row] + 1 :]]
        if 0 < len(before) <= MOST_ENDS:
            kept = before[max(0, len(before) - begin[row]) :]
            codes[row, begin[row] - len(kept) : begin[row]] = _LETTERS[kept - 32]
        if 0 < len(behind) <= MOST_ENDS:
            kept = behind[: codes.shape[1] - 1 - end[row]]
            codes[row, end[row] + 1 : end[row] + 1 + len(kept)] = _LETTERS[kept - 32]


@cache
def gene_profile() -> Profile:
    """The profile of the whole 16S gene, 1,739 columns, that comes with the package."""
    import io

    from pyhmmer.plan7 import HMMFile

    text = io.BytesIO(gzip.decompress(PROFILE_FILE.read_bytes()))
    with HMMFile(text) as profiles:
        hmm = next(iter(profiles))
    return Profile(hmm)
