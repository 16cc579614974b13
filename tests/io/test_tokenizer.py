"""Tokens: by hand, against a loop over characters, and refusals by place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aam.errors import SequenceError
from aam.io import sequences as tokenizer
from aam.io.sequences import tokenize
from aam.vocab import AMBIGUOUS, BASES, MASK, PAD, START

LETTERS = "".join(sorted({*BASES, *AMBIGUOUS}))


def test_by_hand():
    tokens = tokenize(["ACGT", "n", "uU"], max_bp=3)
    # START 5; A C G T = 1 2 3 4; N is MASK 6; U is T; PAD 0 on the right; ACGT is cut to three bases
    assert tokens.tolist() == [[5, 1, 2, 3], [5, 6, 0, 0], [5, 4, 4, 0]]
    assert tokens.dtype == np.uint8


@given(
    st.lists(st.text(LETTERS + LETTERS.lower(), max_size=12), max_size=8),
    st.integers(1, 15),
)
def test_equals_a_loop_over_characters(sequences, max_bp):
    tokens = tokenize(sequences, max_bp)
    assert tokens.shape == (len(sequences), 1 + min(max_bp, max(map(len, sequences), default=0)))
    for row, text in zip(tokens.tolist(), sequences, strict=True):
        expected = [START] + [BASES.get(letter, MASK) for letter in text[:max_bp].upper()]
        assert row == expected + [PAD] * (tokens.shape[1] - len(expected))


def test_real_sequences_have_one_token_a_base(study):
    from aam.io.table import read_table

    table = read_table(study("udca-gut") / "table.biom")
    tokens = tokenize(table.sequences, 150, table.asv_ids)
    assert ((tokens != PAD).sum(axis=1) == [1 + len(s) for s in table.sequences]).all()
    letters = np.array(list("?ACGT"))
    assert "".join(letters[tokens[7, 1:]]) == table.sequences[7]


@pytest.mark.parametrize("bad", ["-", ".", "X", "*", " ", "é", "中", "0", "ß"])
def test_other_characters_are_refused_by_place(bad):
    with pytest.raises(SequenceError) as refusal:
        tokenize(["ACGT", f"AC{bad}GT{bad}", f"{bad}"], 150, ["one", "two", "three"])
    assert str(refusal.value) == (
        f"2 of 3 sequences are not DNA, first that of ASV 'two': {bad!r} at position 3; "
        "expected A C G T U or IUPAC codes; correct the sequences"
    )


def test_without_ids_the_number_is_named_and_what_is_cut_does_not_count():
    with pytest.raises(SequenceError, match="first that of ASV number 2: '!' at position 2"):
        tokenize(["AC", "A!"], 2)
    assert tokenize(["AC", "A!"], 1).tolist() == [[5, 1], [5, 1]]


def test_pieces_change_nothing(monkeypatch):
    """Neither the tokens nor what is said of characters that are no DNA."""
    sequences, wrong = ["ACGTA", "C", "", "GGTT", "NT"], ["AC", "G", "T", "A-G", "C-"]
    whole = tokenize(sequences, 4)
    monkeypatch.setattr(tokenizer, "SEQUENCES_AT_ONCE", 2)
    np.testing.assert_array_equal(tokenize(sequences, 4), whole)
    with pytest.raises(
        SequenceError, match="2 of 5 sequences are not DNA, first that of ASV number 4: '-' at position 2"
    ):
        tokenize(wrong, 4)
