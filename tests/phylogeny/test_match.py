"""Which ASVs are tips: by id, else by sequence, and what is said of those that are not."""

from __future__ import annotations

import pytest

from aam.errors import TreeError
from aam.phylogeny.tree import match_tips, parse_tree

SEQUENCES = ["ACGT", "CCGG", "TTTT", "GATTACA"]
HASHES = ["d41d8", "0cc17", "5b9f1", "e4d90"]


def tree(names: list[str]):
    return parse_tree(f"(({','.join(f'{name}:1' for name in names)}):1);".encode(), "t.nwk")


def test_ids_are_tips():
    match = match_tips(SEQUENCES, SEQUENCES, tree(["TTTT", "ACGT", "CCGG", "GATTACA", "AAAA"]), 0.0)
    assert (match.columns.tolist(), match.tips, match.missing) == ([0, 1, 2, 3], SEQUENCES, [])


def test_hashed_ids_are_tips_whatever_their_sequences():
    assert match_tips(HASHES, SEQUENCES, tree(HASHES), 0.0).tips == HASHES


def test_sequences_are_tips_where_no_id_is():
    match = match_tips(HASHES, SEQUENCES, tree(SEQUENCES[::-1]), 0.0)
    assert match.tips == SEQUENCES


def test_a_sequence_in_another_spelling_is_its_tip_too():
    """Some ids are tips as they are, others only as DNA in upper case; one of these has the tip of another."""
    match = match_tips(["ACGT", "acgt", "ccgg"], ["ACGT", "ACGT", "CCGG"], tree(["ACGT", "CCGG", "TTTT"]), 0.0)
    assert (match.columns.tolist(), match.tips, match.missing) == ([0, 1, 2], ["ACGT", "ACGT", "CCGG"], [])


def test_absent_asvs_up_to_the_threshold_are_told_by_id():
    match = match_tips(HASHES, SEQUENCES, tree(["ACGT", "TTTT", "GATTACA"]), 0.25)  # 1 of 4 is missing
    assert (match.columns.tolist(), match.tips) == ([0, 2, 3], ["ACGT", "TTTT", "GATTACA"])
    assert match.missing == ["0cc17"]


def test_more_absent_asvs_are_refused():
    with pytest.raises(TreeError) as caught:
        match_tips(SEQUENCES, SEQUENCES, tree(["ACGT", "TTTT"]), 0.25)
    message = "t.nwk: 2 of 4 ASVs (50.0%, allowed 25.0%) are no tips of the tree, e.g. 'CCGG', 'GATTACA'; "
    assert str(caught.value).startswith(message)
    assert "--max-missing" in str(caught.value)


def test_a_tree_of_something_else_is_refused():
    with pytest.raises(TreeError, match=r"none of the 4 ASVs is a tip .* its tips are e.g. 'x', 'y'; use the tree"):
        match_tips(HASHES, SEQUENCES, tree(["x", "y"]), 1.0)


def test_long_ids_are_cut_in_messages():
    with pytest.raises(TreeError, match=f"e.g. '{'A' * 39}…', "):
        match_tips(["A" * 150, "C" * 150], ["A", "C"], tree(["x", "y"]), 1.0)


def test_tips_with_annotations_of_vsearch_are_matched_without():
    tree = parse_tree(b"(('x;size=4;':1,y:1):1,('ACGT;size=2':1,'z;size=1;':1,'z;size=2;':1):1);", "t.nwk")
    match = match_tips(["x", "y", "hash"], ["TTTT", "CCCC", "ACGT"], tree, 0.0)
    assert match.tips == ["x;size=4;", "y", "ACGT;size=2"]
    with pytest.raises(TreeError, match="1 of 2 ASVs"):  # which z?
        match_tips(["x", "z"], ["TTTT", "CCCC"], tree, 0.0)
