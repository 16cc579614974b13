"""Reads aligned in pieces: how they are cut and joined, by hand, and against whole reads."""

from __future__ import annotations

import numpy as np
import pytest
from generated_reference import random_reference, read_of
from hypothesis import given
from hypothesis import strategies as st

from aam.gene.alignment import (
    AGREED,
    LONGEST,
    NO_COLUMN,
    OVERLAP,
    PIECE,
    SHORT,
    align_bases,
    align_whole,
    join_pieces,
    starts_of_pieces,
)
from aam.gene.profile import gene_profile

V4 = gene_profile().window(571, 900)


@given(st.integers(0, 2 * LONGEST))
def test_pieces_cover_a_read_and_overlap(length: int):
    starts = starts_of_pieces(length)
    assert starts[0] == 0
    if not SHORT < length < LONGEST:
        assert starts == [0]
    else:
        assert starts[-1] + PIECE == length
        assert all(0 < later - start <= PIECE - OVERLAP for start, later in zip(starts, starts[1:], strict=False))


def test_pieces_are_joined_in_the_middle_of_their_overlap():
    """90 + 90 bases of 120: bases 30 to 89 are in both, so the cut is at 60; base 80 of the first piece is not read."""
    first, second = np.arange(90, dtype=np.int32), np.arange(30, 120, dtype=np.int32)
    first[80:], second[:3] = NO_COLUMN, NO_COLUMN
    joined = join_pieces([first, second], [0, 30])
    assert joined is not None and joined.tolist() == list(range(120))


@pytest.mark.parametrize("wrong", [60 - AGREED, 60, 60 + AGREED - 1])
def test_pieces_that_disagree_near_the_cut_are_not_joined(wrong: int):
    first, second = np.arange(90, dtype=np.int32), np.arange(30, 120, dtype=np.int32)
    first[wrong] += 1
    assert join_pieces([first, second], [0, 30]) is None
    first[wrong] = second[wrong - 30] = NO_COLUMN
    assert join_pieces([first, second], [0, 30]) is None


def test_reads_in_pieces_lie_where_whole_ones_do():
    """All but some bases at the ends, which posterior decoding leaves out or not."""
    reference = random_reference(60)
    reads = [read_of(reference, tip) for tip in range(60)]
    assert min(map(len, reads)) > SHORT and max(map(len, reads)) < LONGEST
    whole, found = align_whole(V4.hmm, reads), align_bases(V4.hmm, reads)
    assert found.bounds.tolist() == whole.bounds.tolist() == np.cumsum([0, *map(len, reads)]).tolist()
    inner = [slice(low + 10, high - 10) for low, high in zip(found.bounds, found.bounds[1:], strict=False)]
    assert all((found.of_bases[part] == whole.of_bases[part]).all() for part in inner)
    assert (found.of_bases != whole.of_bases).mean() < 0.01


def test_a_read_that_cannot_be_joined_is_aligned_as_a_whole():
    """Twenty bases without a column lie where its two pieces would be joined."""
    read = read_of(random_reference(60), 7)
    read = read[:65] + "ACGTACGTACGTACGTACGT" + read[65:130]
    whole, starts = align_whole(V4.hmm, [read]), starts_of_pieces(len(read))
    pieces = align_whole(V4.hmm, [read[start : start + PIECE] for start in starts])
    assert join_pieces([pieces.of(number) for number in range(len(starts))], starts) is None
    assert (align_bases(V4.hmm, [read]).of_bases == whole.of_bases).all()
    assert align_bases(V4.hmm, []).of_bases.tolist() == []
