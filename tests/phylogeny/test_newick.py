"""Newick text: what is understood, what is refused and with which words, and that size and depth do not matter."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skbio import TreeNode
from unifrac_definitions import Node, tip_names, trees

from aam.errors import TreeError
from aam.phylogeny import newick, newick_text
from aam.phylogeny.newick import parse_newick, quote_name
from aam.phylogeny.tree import parse_tree


def parse(text: str):
    return parse_newick(text.encode(), "t.nwk")


def test_arrays_of_a_tree_by_hand():
    # Postorder: a=0, b=1, (a,b)=2, c=3, root=4; leaves a=0, b=1, c=2.
    tree = parse("((a:1,b:2):0.5,c:3):0.25;")
    assert tree.tip_names == ["a", "b", "c"]
    assert tree.tips.tolist() == [0, 1, 3]
    assert tree.first.tolist() == [0, 1, 0, 2, 0]
    assert tree.last.tolist() == [1, 2, 2, 3, 3]
    assert tree.parent.tolist() == [2, 2, 4, 4, -1]
    assert tree.length.tolist() == [1, 2, 0.5, 3, 0.25]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("(a_b:1,c d:1);", ["a_b", "c d"]),
        ("('a,b':1,'it''s (c):d;':1);", ["a,b", "it's (c):d;"]),
        ("(5'-end:1,3'-end:1);", ["5'-end", "3'-end"]),
        ("(a[a comment, with (marks):; [nested]]:1,[first]b:[last]1)[&R];", ["a", "b"]),
        ("(\n  a : 1 ,\r\n\tb:1\n)\n;\n\n", ["a", "b"]),
        ("(größe:1,β:1);", ["größe", "β"]),
        ("\ufeff(a:1,b:1);", ["a", "b"]),
        ("a:1;", ["a"]),
    ],
    ids=["underscores", "quotes", "primes", "comments", "blanks", "unicode", "byte order mark", "one tip"],
)
def test_names(text: str, names: list[str]):
    assert parse(text).tip_names == names


@pytest.mark.parametrize("written", ["0.001", "1e-3", "1E-3", ".001", "+0.001", " 0.001 ", "1.0e-03"])
def test_notations_of_a_length(written: str):
    assert parse(f"(a:{written},b:1)inner:1;").length[0] == 0.001


def test_names_and_supports_of_inner_nodes_are_passed_over():
    tree = parse("((a:1,b:1)'0.98:g__X':0.5,(c:1,d:1)100:0.5)root;")
    assert tree.tip_names == ["a", "b", "c", "d"]
    assert tree.given.tolist() == [True] * 6 + [False]


@settings(deadline=None, max_examples=50)
@given(trees())
def test_any_tree_reads_as_scikit_bio_reads_it(tree: Node):
    text = tree.newick() + ";"
    ours, theirs = parse(text), TreeNode.read([text], convert_underscores=False)
    nodes = list(theirs.postorder(include_self=True))
    names = [node.name for node in nodes if node.is_tip()]
    place = {id(node): number for number, node in enumerate(nodes)}
    assert ours.tip_names == names
    assert ours.length.tolist() == [node.length for node in nodes]
    assert ours.parent.tolist() == [-1 if node.parent is None else place[id(node.parent)] for node in nodes]
    for node, first, last in zip(nodes, ours.first, ours.last, strict=True):
        below = [node.name] if node.is_tip() else [tip.name for tip in node.tips()]
        assert names[first:last] == below


@settings(deadline=None, max_examples=50)
@given(trees())
def test_what_is_written_reads_back_to_the_last_bit(tree: Node):
    first = parse_tree((tree.newick() + ";").encode(), "t.nwk")
    second = parse_tree(first.to_newick().encode(), "t.nwk")
    assert second.tip_names == first.tip_names == tip_names(tree)
    for name in ("first", "last", "length", "parent"):
        assert np.array_equal(getattr(first, name), getattr(second, name))


REFUSED = {
    "": "t.nwk: the file is empty; expected a Newick tree",
    "  \n": "t.nwk: the file is empty",
    "((a:1,b:1):1,c:1": "character 17: the tree ends without ';'; the file may be cut off",
    "((a:1,b:1):1,c:1;": "character 1: found '(' without its ')'; the parentheses are unbalanced by 1",
    "(a:1,b:1)):1;": "character 10: found ')' without its '('",
    "(a:1,b:1),c:1;": "character 10: found ',' outside the outermost parentheses",
    "(a:1,b:1)(c:1,d:1);": "character 10: found '(' after ')'; expected ',' between siblings",
    "(x(a:1,b:1):1,c:1);": "character 3: found 'x' before '('; a name stands after the ')'",
    "(a:1,b:1); (c:1,d:1);": "character 11: found '(c:1,d:1);' after the ';'",
    "(a:1,,b:1);": "character 6: found a tip without a name",
    "(a:1:2,b:1);": "character 3: found a second ':' in one node",
    "(a:1,b:long);": "character 8: found the branch length 'long'; expected a number",
    "(a:1,b:1_000);": "character 8: found the branch length '1_000'; expected a number",
    "('a:1,b:1);": "character 2: a quoted name begins here and never ends",
    "(a[:1,b:1);": "character 3: a comment begins here and never ends",
    "('a'b:1,c:1);": "character 2: found text after the closing quote",
    "(ä:1,(b:1):x,c:1);": "character 12: found the branch length 'x'",
}


@pytest.mark.parametrize(("text", "message"), REFUSED.items(), ids=range(len(REFUSED)))
def test_refused_in_one_line_with_place_and_remedy(text: str, message: str):
    with pytest.raises(TreeError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("t.nwk")
    assert "\n" not in str(caught.value)


@settings(deadline=None, max_examples=50)
@given(trees())
def test_pieces_change_nothing(tree: Node):
    text = f"{tree.newick()};".encode()
    whole = parse_newick(text, "tree")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(newick, "NODES_AT_ONCE", 2)
        patch.setattr(newick, "BYTES_AT_ONCE", 5)
        cut = parse_newick(text, "tree")
    assert cut.tip_names == whole.tip_names
    for part in ("tips", "first", "last", "parent", "length", "given", "start"):
        np.testing.assert_array_equal(getattr(cut, part), getattr(whole, part))


def test_names_keep_letters_whose_last_byte_looks_like_a_space():
    """The last byte of a-grave in UTF-8 is a no-break space in Latin-1."""
    assert parse_newick("(voilà:1,b:2);".encode(), "tree").tip_names == ["voilà", "b"]


def test_names_that_are_not_utf_8_are_refused():
    with pytest.raises(TreeError, match="character 2: the name is not UTF-8 text"):
        parse_newick(b"(\xff\xfe:1,b:1);", "t.nwk")


@settings(deadline=None, max_examples=50)
@given(trees())
def test_a_tree_cut_off_anywhere_is_refused(tree: Node):
    text = tree.newick() + ";"
    for stop in range(len(text)):
        with pytest.raises(TreeError):
            parse(text[:stop])


TIPS = 200_000


def caterpillar() -> bytes:
    """As deep as it has tips."""
    return f"{'(' * (TIPS - 1)}t0:1{''.join(f',t{tip}:1):1' for tip in range(1, TIPS))};".encode()


def balanced() -> bytes:
    parts = [f"'tip_{tip}':{tip % 7}.125" for tip in range(TIPS)]
    while len(parts) > 1:
        left_over = [parts.pop()] if len(parts) % 2 else []
        parts = [f"({a},{b})0.95:1e-2" for a, b in zip(parts[::2], parts[1::2], strict=True)] + left_over
    return (parts[0] + ";").encode()


@pytest.mark.parametrize("build", [caterpillar, balanced])
def test_two_hundred_thousand_tips_of_any_shape(build):
    tree = parse_tree(build(), "t.nwk")
    small = tree.shear(tree.tip_names[::100])
    deepest = tree.depths().max()
    assert len(tree.tip_names) == TIPS
    assert len(small.tip_names) == TIPS // 100
    # The stem above the last common ancestor stays, so the way down to the deepest kept tip is the same.
    if build is caterpillar:
        assert deepest == TIPS  # t0: its own branch, TIPS - 2 above it, and the stem
        assert small.depths().max() == deepest


REFERENCE = (
    "[&R [of GTDB]]((('RS_GCF_1.1':0.1,'x (T), ''nested''':0.2)'100.0:g__Foo; s__Foo bar':0.3,c:0.1)'d__B; p__C':0.9,"
    "d:1)1.0;"
)


def test_names_of_inner_nodes_in_trees_of_references_may_hold_anything():
    """Colons, blanks, semicolons and quotes in quoted names, as in Greengenes2, SILVA and GTDB."""
    tree = parse(REFERENCE)
    assert tree.tip_names == ["RS_GCF_1.1", "x (T), 'nested'", "c", "d"]
    assert tree.length[:-1].tolist() == [0.1, 0.2, 0.3, 0.1, 0.9, 1.0]


@given(
    names=st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=12), min_size=2, max_size=5
    )
)
def test_quoted_names_read_back(names: list[str]):
    text = "(" + ",".join(f"{quote_name(name)}:1" for name in names) + ");"
    assert parse(text).tip_names == names


def test_names_in_quotes_keep_their_underscores_in_scikit_bio():
    tree = TreeNode.read([f"({quote_name('a_b')}:1,{quote_name('plain-1.2')}:1);"])
    assert [tip.name for tip in tree.tips()] == ["a_b", "plain-1.2"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"(" * 5000, "5,000 '(' for 1 tips"),
        (b"(" * 5000 + b"a:1" + b"):1" * 5000 + b";", "5,000 '(' for 1 tips"),
        (b"[" * 5000, "5,000 '[' for 1 tips"),
        (b"(a:1,b:1" + b"'" * 5000, '5,000 "\'" for 2 tips'),
        (b"(" + b"a:1," * 3000 + b"b:1);", "3,001 tips by its commas, more than the 2,000"),
    ],
    ids=range(5),
)
def test_texts_that_would_take_all_memory_are_refused_by_counting(text, words, monkeypatch):
    monkeypatch.setattr(newick_text, "FREE_MARKS", 1000)
    monkeypatch.setattr(newick_text, "MAX_TIPS", 2000)
    with pytest.raises(TreeError, match=re.escape(words)):
        parse_newick(text, "t.nwk")


def test_comments_of_all_programs_change_nothing():
    plain = parse_tree(b"((a:0.1,b:0.2):0.3,c:0.4);", "plain")
    for text in (
        "((a:0.1[&&NHX:S=x:B=100],b:0.2[&&NHX:D=N]):0.3[&&NHX:B=90],c:0.4);",
        "[&R] ((a:[&rate=0.1]0.1,b[&x={1,2}]:0.2)[&posterior=1]:0.3,c:0.4);",
        "((a:0.1[0],b:0.2[1])95:0.3[2],c:0.4)root;",
    ):
        tree = parse_tree(text.encode(), "commented")
        assert list(tree.tip_names) == ["a", "b", "c"]
        assert tree.length.tolist() == plain.length.tolist()
