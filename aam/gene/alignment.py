"""The column of each base of a read, by HMMER's posterior decoding (pyhmmer); reads are aligned in pieces.

HMMER decodes by vector instructions, whose numbers overflow for a read that fits by more than some 100 bits. It then
falls back on plain code, ten times as slow. A piece of `PIECE` bases does not overflow. Pieces overlap, and where two
of them disagree in the middle of their overlap, the read is aligned as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

SHORT, LONGEST = 105, 400
"""Bases up to which, and from which on, a read is aligned as a whole: a short one seldom overflows, and a long one lies
on so much of the gene that pieces are no faster."""
PIECE, OVERLAP = 90, 30
"""Bases of a piece, and how many of them at least are also in the next one."""
AGREED = 5
"""Bases on either side of the place where two pieces are joined that both must put on the same columns."""
NO_COLUMN = -1


class Columns(NamedTuple):
    """Columns of the bases of A reads, counted from 0, `NO_COLUMN` for insertions and ends that were not aligned.

    `of_bases` int32 [all bases], those of read i from `bounds[i]` to `bounds[i + 1]`; `bounds` int64 [A + 1].
    """

    of_bases: NDArray[np.int32]
    bounds: NDArray[np.int64]

    def of(self, read: int) -> NDArray[np.int32]:
        """The columns of one read [bases], a view."""
        return self.of_bases[self.bounds[read] : self.bounds[read + 1]]


def align_bases(hmm: Any, sequences: Sequence[str], threads: int = 1) -> Columns:
    """Columns of upper-case DNA on a `pyhmmer.plan7.HMM`, those of longer reads by pieces."""
    starts = [starts_of_pieces(len(text)) for text in sequences]
    pieces = [
        text[start : start + PIECE] if len(own) > 1 else text
        for text, own in zip(sequences, starts, strict=True)
        for start in own
    ]
    aligned, found, next_piece = align_whole(hmm, pieces, threads), [], 0
    for own in starts:
        found.append(join_pieces([aligned.of(next_piece + number) for number in range(len(own))], own))
        next_piece += len(own)
    again = [read for read, columns in enumerate(found) if columns is None]
    if again:
        whole = align_whole(hmm, [sequences[read] for read in again], threads)
        for number, read in enumerate(again):
            found[read] = whole.of(number)
    return Columns(np.concatenate([np.zeros(0, np.int32), *found]), bounds_of(sequences))


def starts_of_pieces(length: int) -> list[int]:
    """First bases of the pieces of a read of so many bases, counted from 0."""
    if not SHORT < length < LONGEST:
        return [0]
    count = -((OVERLAP - length) // (PIECE - OVERLAP))
    return [number * (length - PIECE) // (count - 1) for number in range(count)]


def join_pieces(pieces: Sequence[NDArray[np.int32]], starts: Sequence[int]) -> NDArray[np.int32] | None:
    """Columns of a read from those of its pieces, which begin at `starts`; None where two disagree."""
    found = [pieces[0]]
    for (start, columns), (next_start, following) in pairwise(zip(starts, pieces, strict=True)):
        cut = (next_start + start + len(columns)) // 2
        here = columns[cut - AGREED - start : cut + AGREED - start]
        there = following[cut - AGREED - next_start : cut + AGREED - next_start]
        if (here != there).any() or (here == NO_COLUMN).any():
            return None
        found[-1] = found[-1][: len(found[-1]) - (start + len(columns) - cut)]
        found.append(following[cut - next_start :])
    return np.concatenate(found)


def align_whole(hmm: Any, sequences: Sequence[str], threads: int = 1) -> Columns:
    """Columns of upper-case DNA, each read aligned as it is."""
    if not len(sequences):  # which crashes the aligner
        return Columns(np.zeros(0, np.int32), bounds_of(sequences))
    from pyhmmer import hmmalign
    from pyhmmer.easel import DigitalSequenceBlock, TextSequence

    reads = [
        TextSequence(name=str(row), sequence=text.replace("U", "T")).digitize(hmm.alphabet)
        for row, text in enumerate(sequences)
    ]
    aligned: Any = hmmalign(hmm, DigitalSequenceBlock(hmm.alphabet, reads), cpus=threads, all_consensus_cols=True)
    # Bases in columns are upper case and gaps '-'; insertions are lower case and their padding '.'.
    text = np.frombuffer("".join(aligned.alignment).encode(), np.uint8).reshape(len(reads), -1)
    is_column = ((text < ord("a")) & (text != ord("."))).all(axis=0)
    column = np.cumsum(is_column) - 1
    rows, places = np.nonzero((text != ord("-")) & (text != ord(".")))
    return Columns(np.where(is_column[places], column[places], NO_COLUMN).astype(np.int32), bounds_of(sequences))


def bounds_of(sequences: Sequence[str]) -> NDArray[np.int64]:
    """Where the bases of each of A sequences begin and end in all of them together, int64 [A + 1]."""
    return np.cumsum([0, *map(len, sequences)], dtype=np.int64)
