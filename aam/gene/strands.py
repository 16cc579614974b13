"""Strand and begin of every read of a table. Reads that begin like the usual ones are not aligned, which takes minutes.

In five studies (V1 to V4, of the gut, mouth and vagina), of which a tenth was reverse complemented, all reads of the
other strand were found, and 0 to 0.5 % of the reads were aligned besides them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.config.reads import ReadsRecord
from aam.gene.layout import FAR, Looked, in_blocks, is_usable, look_at
from aam.gene.reads import place_reads, window_of
from aam.gene.regions import begin_text

WORD, HEAD, STEP = 8, 60, 8
"""Bases of the words that reads are compared by, of the begin of a read that has them, and by which a word may move."""
ALIKE = 0.4
"""Share of its words, from which on a read begins like the usual ones."""
FEW = 0.01
"""Share of the ASVs that may begin elsewhere: in sixteen studies of one region 0 to 0.4 % seem to."""
ROWS_AT_ONCE = 1 << 14
"""Bounds memory and changes nothing."""
OTHER = 255
_CODES = np.full(256, OTHER, np.uint8)
_CODES[np.frombuffer(b"ACGT", np.uint8)] = range(4)


class Lying(NamedTuple):
    """How reads lie: `record` is that of some of them, with the share of the minus strand of all.

    `strand` int8 [A]: 1 plus, -1 minus, 0 no 16S; `begin` int64 [A]: column of the first base, that of the record for
    reads that begin as usual.
    """

    record: ReadsRecord
    strand: NDArray[np.int8]
    begin: NDArray[np.int64]

    @property
    def minus(self) -> int:
        """Reads of the minus strand."""
        return int((self.strand < 0).sum())

    def strands_text(self) -> str:
        """A doubt if reads are of both strands."""
        minus, plus = self.minus, int((self.strand > 0).sum())
        if not (minus and plus):
            return ""
        return (
            f"{minus:,} of {minus + plus:,} ASVs are of the minus strand, the others of the plus strand: no ASV of one "
            "is an ASV of the other; turn the reads, e.g. with --orient auto"
        )

    def regions_text(self) -> str:
        """A doubt if reads begin elsewhere on the gene, more of them than there are in a study of one region."""
        far = self.begin[(self.strand != 0) & (np.abs(self.begin - self.record.begin) > FAR)]
        if len(far) < FEW * len(self.begin):
            return ""
        columns, times = np.unique(far, return_counts=True)
        where, usual = int(columns[times.argmax()]), self.record.begin
        return (
            f"{len(far):,} of {len(self.begin):,} ASVs begin elsewhere on the gene than at {begin_text(usual)} (column "
            f"{usual}), most of them at {begin_text(where)} (column {where}): reads of two regions share no ASV; "
            "separate them, or cut all to one window with --trim"
        )


def lie_of(sequences: Sequence[str], threads: int = 1) -> Lying | None:
    """How all reads (upper-case DNA) lie; None if they are not 16S."""
    looked = look_at(sequences)
    if looked is None:
        return None
    usual = -1 if looked.record.minus > 0.5 else 1
    strand = np.full(len(sequences), usual, np.int8)
    begin = np.full(len(sequences), looked.record.begin, np.int64)
    odd = find_odd(sequences, looked)
    strand[odd] = 0
    rows = [row for row in odd.tolist() if is_usable(sequences[row])]
    window = window_of([sequences[row] for row in rows])
    for block in in_blocks(rows):
        found = place_reads([sequences[row] for row in block], window, threads)
        strand[block], begin[block] = found.strand, found.begin
    minus = float((strand < 0).sum() / max(1, np.count_nonzero(strand)))
    return Lying(replace(looked.record, minus=minus), strand, begin)


def find_odd(sequences: Sequence[str], looked: Looked) -> NDArray[np.int64]:
    """Numbers of the reads that do not begin like the usual ones."""
    stretch = np.arange(HEAD - WORD + 1) // STEP
    known, words = np.zeros((stretch[-1] + 3, 4**WORD), bool), words_of(looked.usual)
    for move in range(3):
        known[np.broadcast_to(stretch + move, words.shape)[words >= 0], words[words >= 0]] = True
    odd = []
    for start in range(0, len(sequences), ROWS_AT_ONCE):
        words = words_of(sequences[start : start + ROWS_AT_ONCE])
        real = words >= 0
        alike = (known[stretch + 1, words] & real).sum(axis=1) / np.maximum(real.sum(axis=1), 1)
        odd.append(start + np.flatnonzero(alike < ALIKE))
    return np.concatenate(odd) if odd else np.zeros(0, np.int64)


def words_of(sequences: Sequence[str]) -> NDArray[np.int64]:
    """Number of the word at each place of the begin of reads [A, HEAD - WORD + 1]; -1 where a letter is no base."""
    text = b"".join(sequence[:HEAD].ljust(HEAD, "-").encode() for sequence in sequences)
    codes = _CODES[np.frombuffer(text, np.uint8)].reshape(-1, HEAD)
    windows = np.lib.stride_tricks.sliding_window_view(codes, WORD, axis=1)
    words = windows.astype(np.int64) @ (4 ** np.arange(WORD))
    words[(windows == OTHER).any(axis=2)] = -1
    return words
