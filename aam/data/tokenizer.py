"""From DNA text to tokens, all ASVs of a table at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.errors import SequenceError
from aam.vocab import AMBIGUOUS, BASES, MASK, PAD, START
from aam.wording import quote

PIECE = 1 << 12
"""Sequences looked at together; bounds memory and changes nothing."""
BAD = 255
"""Code of a character that is neither a base nor an IUPAC ambiguity code."""


def _code_table() -> NDArray[np.uint8]:
    """Token of each ASCII character, in both cases."""
    table = np.full(256, BAD, dtype=np.uint8)
    for letter, token in {**dict.fromkeys(AMBIGUOUS, MASK), **BASES}.items():
        table[ord(letter)] = table[ord(letter.lower())] = token
    return table


_CODES = _code_table()


class Fault(NamedTuple):
    """First character that is not DNA: `row` of the sequence, `position` in it (from 1), and how many rows have one."""

    row: int
    position: int
    character: str
    rows: int


def encode(sequences: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Codes of all characters in one array [sum of lengths], BAD where they are no DNA, and the lengths [A]."""
    text = "".join(sequences).encode("ascii", "replace")
    return _CODES[np.frombuffer(text, dtype=np.uint8)], np.fromiter(map(len, sequences), np.int64, len(sequences))


def find_fault(sequences: Sequence[str]) -> Fault | None:
    """Where the first character is that is no DNA; None where all are."""
    if is_dna(sequences):
        return None
    codes, lengths = encode(sequences)
    bad, ends = np.flatnonzero(codes == BAD), np.cumsum(lengths)
    rows = np.unique(np.searchsorted(ends, bad, side="right"))
    row = int(rows[0])
    position = int(bad[0] - (ends[row] - lengths[row]))
    return Fault(row, position + 1, sequences[row][position], rows.size)


def is_dna(sequences: Sequence[str]) -> bool:
    """Whether all of them are DNA in either case, RNA, or IUPAC codes."""
    return all((encode(sequences[start : start + PIECE])[0] != BAD).all() for start in range(0, len(sequences), PIECE))


def tokenize(sequences: Sequence[str], max_bp: int, ids: Sequence[str] | None = None) -> NDArray[np.uint8]:
    """Tokens [A, L] of DNA sequences: START, at most `max_bp` bases, PAD on the right; L = 1 + min(max_bp, longest).

    Lower case reads as upper case, U as T, IUPAC ambiguity codes as MASK. Raises `SequenceError` for any other
    character within the bases that are read, naming the ASV (by `ids`, else by number), the position and how many ASVs
    are affected.
    """
    cut = [sequence[:max_bp] for sequence in sequences]
    tokens = np.full((len(cut), 1 + max(map(len, cut), default=0)), PAD, dtype=np.uint8)
    tokens[:, 0] = START
    for start in range(0, len(cut), PIECE):
        codes, lengths = encode(cut[start : start + PIECE])
        if (codes == BAD).any():
            raise SequenceError(not_dna(cut, ids))
        rows = tokens[start : start + PIECE, 1:]
        rows[np.arange(rows.shape[1]) < lengths[:, None]] = codes
    return tokens


def not_dna(sequences: Sequence[str], ids: Sequence[str] | None) -> str:
    """What to say of sequences of which some are no DNA."""
    fault = find_fault(sequences)
    assert fault is not None
    who = quote(ids[fault.row]) if ids is not None else f"number {fault.row + 1}"
    return (
        f"{fault.rows:,} of {len(sequences):,} sequences are not DNA, first that of ASV {who}: {fault.character!r} at "
        f"position {fault.position}; expected A C G T U or IUPAC codes; correct the sequences"
    )
