"""The insertion tree: its distances are those of the definition of a place, whatever ASVs leave each other where."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import numpy as np
import pytest
from generated_reference import random_tree
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from skbio import TreeNode
from skbio.diversity import beta_diversity

from aam.gene.reads import Reads
from aam.observer import no_progress
from aam.phylogeny.engines import full_matrix
from aam.phylogeny.tree import Tree, parse_tree
from aam.phylogeny.unifrac import Measure, build_community
from aam.placement.insertion import find_hosts, insertion_tree, rooted_newick
from aam.placement.placements import NOT_16S, PLACED, Placements
from aam.placement.reference import Reference

#          root
#        1/    \4
#        u      c       depths: u 1, a 2, b 3, c 4
#      1/ \2
#      a   b
SMALL = "((a:1,b:2):1,c:4);"


def reference_of(tree: Tree | str) -> Reference:
    tree = parse_tree(tree.encode(), "reference") if isinstance(tree, str) else tree
    return Reference(tree, np.zeros((1, len(tree.tip_names)), np.uint8), 1)


def placed(anchors: list[int], tops: list[float], stems: list[float]) -> Placements:
    """Placements of ASVs x0, x1, ... of which only the place in the tree is told."""
    total, nothing = len(anchors), np.zeros((len(anchors), 1))
    none, zeros = np.zeros(total, np.int64), np.zeros(total)
    reads = Reads(np.zeros((total, 1), np.uint8), 1, np.ones(total, np.int8), none, none, zeros)
    fate = np.full(total, PLACED, np.int8)
    return Placements(
        [f"x{row}" for row in range(total)], reads, fate, np.zeros((total, 1), np.int64), nothing.astype(np.int64),
        none, np.array(anchors), np.array(tops, float), np.array(stems, float), nothing, nothing, nothing, zeros,
    )  # fmt: skip


def skbio_tree(placements: Placements, reference: Reference, with_reference: bool) -> TreeNode:
    return TreeNode.read([rooted_newick(insertion_tree(placements, reference, with_reference))], format="newick")


@pytest.mark.parametrize(
    ("anchors", "tops", "stems", "expected"),
    [
        # x0 leaves the branch of a half way (depth 1.5), x1 that of c at 2: x0 - x1 is 0.5 + 1.5 + 2 + 1
        ([0, 2], [1.5, 2], [0.5, 1], {("x0", "x1"): 5.0, ("x0", "a"): 1.0, ("x0", "b"): 3.0, ("x1", "c"): 3.0}),
        # twins of a tip
        ([1, 1], [3, 3], [0, 0], {("x0", "x1"): 0.0, ("x0", "b"): 0.0, ("x0", "a"): 3.0}),
        # x0 leaves b at 2; x1 leaves x0's own branch, which goes from 2 to 3, at 2.5
        ([1, 3], [2, 2.5], [1, 0.25], {("x0", "x1"): 0.75, ("x1", "b"): 0.75 + 1, ("x1", "a"): 1.75 + 1}),
        # x1 is anchored to x0 but leaves above its own branch: on that of b, at 1.5
        ([1, 3], [2, 1.5], [1, 0.25], {("x0", "x1"): 1.5 + 0.25, ("x1", "b"): 1.75, ("x1", "a"): 0.75 + 1}),
        # and above u: on the branch from the root to u, at 0.5
        ([1, 3], [2, 0.5], [1, 0.25], {("x0", "x1"): 2.75, ("x1", "b"): 2.75, ("x1", "a"): 1.75, ("x1", "c"): 4.75}),
        # at the root, and no higher
        ([0, 2], [0, -1], [1, 1], {("x0", "x1"): 2.0, ("x0", "a"): 3.0, ("x1", "c"): 5.0}),
        # an ASV cannot leave beyond the end of its anchor
        ([1, 3], [2, 9], [1, 1], {("x0", "x1"): 1.0}),
    ],
)
@pytest.mark.parametrize("with_reference", [True, False])
def test_by_hand(anchors: list[int], tops: list[float], stems: list[float], expected: dict, with_reference: bool):
    tree = skbio_tree(placed(anchors, tops, stems), reference_of(SMALL), with_reference)
    tips = {tip.name: tip for tip in tree.tips()}
    assert set(tips) == ({"x0", "x1", "a", "b", "c"} if with_reference else {"x0", "x1"})
    for (left, right), length in expected.items():
        if left in tips and right in tips:
            assert tips[left].distance(tips[right]) == pytest.approx(length, abs=1e-12)


@st.composite
def random_placements(draw: st.DrawFn) -> tuple[Placements, Reference]:
    """ASVs anchored to tips and to each other, at depths of few values, so that many are equal."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    reference = reference_of(random_tree(draw(st.integers(2, 9)), rng, longest=1.0))
    tips, count = len(reference.tree.tip_names), draw(st.integers(1, 12))
    anchors, tops, stems, ends = [], [], [], reference.ancestors.tip_depth.tolist()
    for row in range(count):
        anchor = int(rng.integers(tips + row)) if rng.random() < 0.7 else int(rng.integers(tips))
        top = float(rng.choice([0, *np.linspace(0, ends[anchor], 4), *tops]))
        anchors.append(anchor)
        tops.append(min(top, ends[anchor]))
        stems.append(float(rng.choice([0.0, 0.5, rng.random()])))
        ends.append(tops[-1] + stems[-1])
    order = rng.permutation(count)  # rows are in the order of the table, not in that of placing
    place = np.argsort(order)
    moved = [anchor if anchor < tips else tips + int(place[anchor - tips]) for anchor in anchors]
    return placed(*([values[row] for row in order] for values in (moved, tops, stems))), reference


def path(placements: Placements, reference: Reference, tip: int) -> list[tuple[object, float, float]]:
    """The way of a tip (or R + row of an ASV) to the root: pieces (branch, depth of its lower end, of its upper)."""
    tree, ancestors, tips = reference.tree, reference.ancestors, len(reference.tree.tip_names)
    if tip < tips:
        node, pieces = int(ancestors.tips[tip]), []
        while node >= 0:
            upper = int(tree.parent[node])
            pieces.append((node, float(ancestors.depth[node]), float(ancestors.depth[upper]) if upper >= 0 else 0.0))
            node = upper
        return pieces
    row = tip - tips
    top, end = float(placements.top[row]), float(placements.top[row] + placements.stem[row])
    above = path(placements, reference, int(placements.anchor[row]))
    rest = [(branch, min(low, top), high) for branch, low, high in above if high < top]
    return [(f"own {row}", end, top), *rest]


def common_length(left: list[tuple[object, float, float]], right: list[tuple[object, float, float]]) -> float:
    """How much of two ways is the same: of each branch on both, the upper part."""
    lows = {branch: (low, high) for branch, low, high in right}
    return sum(min(low, lows[branch][0]) - high for branch, low, high in left if branch in lows)


@settings(max_examples=30)
@given(random_placements())
def test_distances_are_those_of_the_definition(case: tuple[Placements, Reference]):
    placements, reference = case
    tips, count = len(reference.tree.tip_names), len(placements.ids)
    ways = [path(placements, reference, number) for number in range(tips + count)]
    names = [*reference.tree.tip_names, *placements.ids]
    whole = insertion_tree(placements, reference, with_reference=True)
    sheared = insertion_tree(placements, reference, with_reference=False)
    assert set(whole.tip_names) == set(names) and set(sheared.tip_names) == set(placements.ids)
    for tree, numbers in ((whole, range(tips + count)), (sheared, range(tips, tips + count))):
        found = TreeNode.read([rooted_newick(tree)], format="newick")
        at = {tip.name: tip for tip in found.tips()}
        for left, right in combinations(numbers, 2):
            depths = [sum(low - high for _, low, high in ways[number]) for number in (left, right)]
            expected = sum(depths) - 2 * common_length(ways[left], ways[right])
            assert at[names[left]].distance(at[names[right]]) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=30)
@given(random_placements())
def test_the_tree_is_in_postorder_and_keeps_the_depths(case: tuple[Placements, Reference]):
    placements, reference = case
    tree = insertion_tree(placements, reference, with_reference=True)
    again = parse_tree(rooted_newick(tree).encode(), "again")
    assert again.tip_names == tree.tip_names
    nodes = np.arange(len(tree.parent))
    assert (tree.parent[:-1] > nodes[:-1]).all() and tree.parent[-1] == -1
    assert (tree.first[tree.tips()] == np.arange(len(tree.tip_names))).all() and tree.first[-1] == 0
    assert (tree.first[tree.parent[:-1]] <= tree.first[:-1]).all()
    assert (tree.last[tree.parent[:-1]] >= tree.last[:-1]).all()
    ends = dict(zip(tree.tip_names, tree.depths()[tree.tips()], strict=True))
    expected = find_hosts(placements, reference).end
    assert [ends[name] for name in placements.ids] == pytest.approx(expected.tolist(), abs=1e-12)


@settings(max_examples=30)
@given(random_placements())
def test_unifrac_is_that_of_the_whole_tree(case: tuple[Placements, Reference]):
    placements, reference = case
    placements = dataclasses.replace(placements, stem=placements.stem + 0.1)  # of no length scikit-bio makes NaN
    counts = np.random.default_rng(0).integers(0, 4, (4, len(placements.ids))) + np.eye(
        4, len(placements.ids), dtype=int
    )
    counts[:, 0] += 1
    community = build_community(csr_array(counts), placements.ids, insertion_tree(placements, reference, False))
    text = rooted_newick(insertion_tree(placements, reference, True))
    whole = TreeNode.read([f"({text.removesuffix(';')}):0.0;"], format="newick")
    for metric, (name, options) in {
        "unweighted": ("unweighted_unifrac", {}),
        "weighted_normalized": ("weighted_unifrac", {"normalized": True}),
    }.items():
        found = full_matrix(community, Measure(metric, 0.5), "torch", no_progress)
        expected = beta_diversity(name, counts, taxa=list(placements.ids), tree=whole, **options)
        np.testing.assert_allclose(found, expected.data, atol=1e-9)


def test_asvs_without_a_place_are_not_in_the_tree():
    whole = placed([0, 2, 1], [1, 1, 1], [1, 1, 1])
    some = dataclasses.replace(whole, fate=np.array([PLACED, NOT_16S, PLACED], np.int8))
    assert set(insertion_tree(some, reference_of(SMALL), False).tip_names) == {"x0", "x2"}
    none = dataclasses.replace(whole, fate=np.full(3, NOT_16S, np.int8))
    with pytest.raises(ValueError, match="no ASV is placed"):
        insertion_tree(none, reference_of(SMALL), False)


def test_anchors_in_a_circle_are_refused():
    with pytest.raises(ValueError, match="lead in a circle"):
        insertion_tree(placed([4, 3], [1, 1], [1, 1]), reference_of(SMALL), False)


def test_names_that_need_quotes_and_names_of_both():
    placements = dataclasses.replace(placed([0, 1], [1, 1], [1, 1]), ids=["it's_(x)", "a"])
    text = rooted_newick(insertion_tree(placements, reference_of(SMALL), True))
    names = {"it's_(x)", "a", "a (reference)", "b", "c"}
    assert {tip.name for tip in TreeNode.read([text], format="newick").tips()} == names
    assert set(parse_tree(text.encode(), "tree").tip_names) == names


def test_one_asv_and_several_at_the_root_are_rooted_trees():
    for placements in (placed([0], [1.5], [0.5]), placed([0, 1, 2], [0, 0, 0], [1, 2, 3])):
        tree = parse_tree(rooted_newick(insertion_tree(placements, reference_of(SMALL), False)).encode(), "tree")
        assert sorted(tree.depths()[tree.tips()]) == sorted(placements.top + placements.stem)


@pytest.mark.slow
def test_a_hundred_thousand_asvs_take_seconds():
    import time

    rng = np.random.default_rng(0)
    reference = reference_of(random_tree(100_000, rng))
    count = 100_000
    anchors = np.where(rng.random(count) < 0.5, rng.integers(0, 100_000, count), 100_000 + np.arange(count) // 2)
    anchors[:2] = 0
    tops = rng.uniform(0, 0.05, count)
    placements = placed(anchors.tolist(), tops.tolist(), rng.uniform(0, 0.05, count).tolist())
    started = time.monotonic()
    tree = insertion_tree(placements, reference, with_reference=False)
    assert len(tree.tip_names) == count
    assert time.monotonic() - started < 20
