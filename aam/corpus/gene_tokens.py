"""Tokens of ASVs by columns of the 16S gene: position p holds the base in column p, so reads of any region fit.

Bases that the profile has no column for are left out. An ASV that is no 16S has START alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aam import vocab
from aam.config.fields import GENE_COLUMNS
from aam.corpus.lineup import threads
from aam.errors import SequenceError
from aam.gene.profile import NO_BASE
from aam.gene.reads import place_reads, window_of

PLACED_AT_ONCE = 1 << 14
"""ASVs that are put on the gene together; bounds memory and changes nothing."""
LEAST_SHARE = 0.5
"""Least share of the ASVs that must be 16S."""
TOKENS = np.array([vocab.A, vocab.C, vocab.G, vocab.T, vocab.PAD], np.uint8)
"""Token of each code of `aam.gene.profile`."""


def gene_tokens(sequences: Sequence[str], max_bp: int | None = None) -> NDArray[np.uint8]:
    """Tokens [A, 1 + last column in use] of upper-case DNA, of which the first `max_bp` bases are read (None: all).

    Reads of the minus strand are turned. Raises SequenceError if most are no 16S.
    """
    bases = [sequence[:max_bp].upper() for sequence in sequences]
    window, tokens, lost = window_of(bases), np.full((len(bases), 1 + GENE_COLUMNS), vocab.PAD, np.uint8), 0
    tokens[:, 0] = vocab.START
    for start in range(0, len(bases), PLACED_AT_ONCE):
        reads = place_reads(bases[start : start + PLACED_AT_ONCE], window, threads(), ends=True)
        lost += int((reads.strand == 0).sum())
        first = reads.first
        tokens[start : start + len(reads.codes), first : first + reads.codes.shape[1]] = TOKENS[reads.codes]
    if lost > (1 - LEAST_SHARE) * len(bases):
        raise SequenceError(
            f"{lost:,} of {len(bases):,} ASVs are no 16S, but --positions gene needs their columns on the 16S gene; "
            "check the sequences, or use a model of --positions read"
        )
    return trim_columns(tokens)


def trim_columns(tokens: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tokens [A, L] without the last columns that no row uses."""
    used = np.flatnonzero((tokens != vocab.PAD).any(axis=0))
    return np.ascontiguousarray(tokens[:, : 1 + int(used[-1])]) if len(used) else tokens


def cut_tokens(tokens: NDArray[np.uint8], begin: int, bases: int) -> NDArray[np.uint8]:
    """Tokens [A, L] of ASVs with the first `bases` bases from column `begin` of the gene on alone."""
    kept = tokens != vocab.PAD
    kept[:, 1:begin] = False
    kept[:, 1:] &= np.cumsum(kept[:, 1:], axis=1, dtype=np.int32) <= bases
    return np.where(kept, tokens, vocab.PAD).astype(np.uint8)


def tokens_of_codes(codes: NDArray[np.uint8], first: int, width: int, bases: int | None = None) -> NDArray[np.uint8]:
    """Tokens [T, width] of codes [C, T] on the columns `first`, `first + 1`, ... of the gene.

    `bases`: only so many bases of each, from the left, are read.
    """
    if bases is not None:
        codes = np.where(np.cumsum(codes != NO_BASE, axis=0) <= bases, codes, NO_BASE)
    tokens = np.full((codes.shape[1], width), vocab.PAD, np.uint8)
    tokens[:, 0] = vocab.START
    tokens[:, first : first + len(codes)] = TOKENS[codes].T
    return tokens
