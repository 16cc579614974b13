"""Trees as arrays: what they must have, how they are pruned, and how deep their nodes lie."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unifrac_definitions import Node, tip_names, trees

from aam.errors import TreeError
from aam.phylogeny import newick_text
from aam.phylogeny.tree import Tree, parse_tree, read_tree


def parse(text: str) -> Tree:
    return parse_tree(text.encode(), "t.nwk")


REFUSED = {
    "(a:1,b:1,c:1);": "unrooted: its outermost parentheses hold 3 branches, expected 2; root it first with `qiime",
    "((a:1,b:1):1,(a:1,(b:2,a:1):1):1);": "occur more than once: 2, e.g. 'a' 3 times",
    "((a,b),c);": "has no branch lengths",
    "((a:1,b:1),(c:1,d):1);": "without a length: 2 of 6 (1 of them tips), first an inner node at character 11",
    "(a:1,b:);": "without a length: 1 of 2 (1 of them tips), first tip 'b' at character 6",
    "((a:1,b:-0.5):1,c:-1);": "negative: 2, first tip 'b' at character 7 (-0.5)",
    "(a:nan,b:1);": "not finite: 1, first tip 'a' at character 2 (nan)",
    "(a:1,b:inf);": "not finite: 1, first tip 'b' at character 6 (inf)",
    "(a:1,b:1e400);": "not finite: 1, first tip 'b' at character 6 (inf)",
    "(a:1,b:1):-1;": "negative: 1, first an inner node at character 10 (-1)",
    "(a:0,(b:0,c:0):0):0;": "all branch lengths are 0",
    "(a:1e308,(b:1e308,c:0):0);": "the branches are inf long in all, expected 1e-15 to 1e+18",
    "(a:1e-320,(b:0,c:0):0);": "the branches are 1e-320 long in all, expected 1e-15 to 1e+18",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=range(len(REFUSED)))
def test_refused_in_one_line(text: str, message: str):
    with pytest.raises(TreeError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("t.nwk: ")
    assert "\n" not in str(caught.value)


def test_only_the_root_may_lack_a_length():
    assert parse("(a:1,b:1);").length.tolist() == [1, 1, 0]


@pytest.mark.parametrize("text", ["((a:1,b:2)'k__Bacteria');", "((a:1,b:2)k__Bacteria,(c:1,d:1):3);"])
def test_one_inner_child_of_the_root_may_lack_a_length_which_is_said(text: str):
    tree = parse(text)
    assert tree.notes == ["t.nwk: a branch at the root has no length and is taken as 0"]
    node = int(np.flatnonzero((tree.first == 0) & (tree.last == 2))[0])
    assert tree.length[node] == 0
    assert tree.shear(["a"]).notes == tree.notes
    assert not parse("(a:1,b:1);").notes


@pytest.mark.parametrize(
    "text", ["((a:1,b:1),(c:1,d:1));", "(a,(b:1,c:1):1);", "(((a:1,b:1),c:1):1,d:1);", "((a:1,b),(c:1,d:1):1);"]
)
def test_other_branches_without_a_length_are_refused(text: str):
    with pytest.raises(TreeError, match="branches without a length: [12] of"):
        parse(text)


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path):
    for path in (tmp_path / "absent.nwk", tmp_path):
        with pytest.raises(TreeError, match=f"^{path}: the tree cannot be read"):
            read_tree(path)


def test_a_tree_of_gigabytes_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "large.nwk"
    with path.open("wb") as handle:
        handle.truncate(newick_text.MAX_BYTES + 1)  # a hole in the file: no disk, no memory
    with pytest.raises(TreeError, match="more than 1 GiB; reduce it to the features"):
        read_tree(path)


def test_messages_use_the_name_they_are_given(tmp_path):
    path = tmp_path / "unpacked.nwk"
    path.write_text("(a,b);")
    with pytest.raises(TreeError, match="^tree.qza: "):
        read_tree(path, "tree.qza")


def test_shear_by_hand():
    # Kept: b and d. Above b alone: b 2, then (a,b) 0.5 merges into it. Above d alone: d 4. Both: x 1; stem 0.25 + root.
    tree = parse("((((a:1,b:2):0.5,(c:3,d:4):0):1,e:9):0.25,f:9):0.125;")
    small = tree.shear(["d", "b"])
    assert small.tip_names == ["b", "d"]
    assert small.length.tolist() == [2.5, 4.0, 1.375]
    assert small.parent.tolist() == [2, 2, -1]
    assert small.first.tolist() == [0, 1, 0]
    assert small.last.tolist() == [1, 2, 2]
    assert tree.shear(["f"]).length.tolist() == [9.125]


def test_shear_refuses_names_that_are_no_tips():
    tree = parse("((a:1,b:1)x:1,c:1);")
    with pytest.raises(TreeError, match="names that are no tips: 2 of 3, e.g. 'x'"):
        tree.shear(["a", "x", "y"])
    with pytest.raises(TreeError, match="name at least one"):
        tree.shear([])


@settings(deadline=None, max_examples=50)
@given(trees(), st.data())
def test_shear_keeps_ways_to_the_top_and_is_as_small_as_can_be(drawn: Node, data: st.DataObject):
    tree = parse(drawn.newick() + ";")
    kept = data.draw(st.lists(st.sampled_from(tip_names(drawn)), min_size=1, unique=True))
    small = tree.shear(kept)
    assert sorted(small.tip_names) == sorted(kept)
    before = dict(zip(tree.tip_names, tree.depths()[tree.tips()], strict=True))
    after = dict(zip(small.tip_names, small.depths()[small.tips()], strict=True))
    assert all(after[name] == pytest.approx(before[name], abs=1e-12) for name in kept)
    assert len(small.first) <= 2 * len(kept) - 1
    children = np.bincount(small.parent[:-1], minlength=len(small.first))
    assert (children != 1).all()
    again = small.shear(kept)
    assert np.array_equal(again.length, small.length)


def test_depths_by_hand():
    #                  a 0.125+1+2, b +3, (a,b) 1.125, c 4.125, root 0.125
    assert parse("((a:2,b:3):1,c:4):0.125;").depths().tolist() == [3.125, 4.125, 1.125, 4.125, 0.125]


def test_a_tree_as_deep_as_python_cannot_recurse_travels_to_another_process():
    tips = 20_000
    tree = parse(f"{'(' * (tips - 1)}t0:1{''.join(f',t{tip}:1):1' for tip in range(1, tips))};")
    copy = pickle.loads(pickle.dumps(tree))  # noqa: S301 - our own bytes, as the workers of a loader exchange them
    assert np.array_equal(copy.parent, tree.parent)


@pytest.mark.parametrize("unit", [b"(", b"()", b" ", b"a", b":"])
def test_a_text_without_commas_is_refused_by_its_beginning(unit, tmp_path):
    path = tmp_path / "t.nwk"
    path.write_bytes(unit * (1 << 23))
    with pytest.raises(TreeError, match="t.nwk: the first 4 MiB are .* and more without a comma, as in no tree"):
        read_tree(path)
