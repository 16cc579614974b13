"""ASVs whose reads miss a part of the window are recognised by what is there."""

from __future__ import annotations

from aam.io.sequences import tokenize
from aam.models.finetune_model import match_inside_masks

KNOWN = tokenize(["ACGTAC", "TTGTAC", "ACGTAG", "CC"], 8)


def match(*sequences: str) -> list[int]:
    return match_inside_masks(tokenize(sequences, 8), KNOWN).tolist()


def test_masked_ends_by_hand():
    assert match("NCGTAC") == [0]  # behind the first base
    assert match("NNGTAC") == [0]  # numbers 0 and 1 are equal there: the first
    assert match("NNGTAG", "NNGTAN", "TTGNNN") == [2, 0, 1]
    assert match("NNGTAA", "NNNNNN", "N") == [-1, -1, -1]


def test_asvs_without_masked_ends_are_not_looked_at():
    """They are found by their whole sequence, or not at all: a shorter ASV is another one."""
    assert match("ACGTAC", "ACG", "ACNTAC") == [-1, -1, -1]


def test_known_asvs_that_end_earlier_do_not_match_behind_their_end():
    assert match("CCN") == [3] and match("NCG") == [0]
    assert match("NNTTTTTN") == [-1]
