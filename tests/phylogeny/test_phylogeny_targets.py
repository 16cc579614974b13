"""Targets of a batch: against scikit-bio on real studies, tree distances of ASVs, and look-up in a matrix."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skbio import TreeNode
from skbio.diversity import alpha_diversity, beta_diversity
from unifrac_definitions import Node, tip_names, trees

from aam.config import Metric
from aam.errors import MatrixError, TreeError
from aam.io.table import read_table
from aam.phylogeny.targets import ForestTargets, Leaves, MatrixTargets, TreeTargets
from aam.phylogeny.tree import match_tips, parse_tree, read_tree

HAND = "((a:1,b:2):1,(c:4,d:5):3):0.5;"
STUDIES = ["ecam-infants", "ibd-2538", "udca-gut", "alm-stool-saliva"]
SKBIO = {
    "unweighted": ("unweighted_unifrac", {}),
    "weighted": ("weighted_unifrac", {"normalized": False}),
    "weighted_normalized": ("weighted_unifrac", {"normalized": True}),
}


def hand(names: list[str], metric: Metric = "unweighted") -> TreeTargets:
    tree = parse_tree(HAND.encode(), "t.nwk")
    return TreeTargets(tree, tree.leaves_of(names), metric, 0.5)


def test_asvs_are_columns_of_the_table_not_leaves_of_the_tree():
    asvs, counts = [np.array([0, 2]), np.array([1])], [np.array([3, 1]), np.array([2])]
    found = hand(["d", "a", "b"])(["s", "t"], asvs, counts)
    # s holds d and b: 5 + 3 + 2 + 1 + stem 0.5; t holds a: 1 + 1 + 0.5; shared: the 1 above a and b, and the stem
    assert found.faith_pd == pytest.approx([11.5, 2.5])
    assert found.unifrac[0, 1] == pytest.approx((5 + 3 + 2 + 1) / (5 + 3 + 2 + 1 + 1 + 0.5))


def test_names_that_are_no_tips_are_refused():
    with pytest.raises(TreeError, match="no tips: 1 of 2, e.g. 'x'"):
        hand(["a", "x"])


@pytest.mark.parametrize("name", STUDIES)
def test_real_studies_agree_with_scikit_bio(study: Callable[[str], Path], name: str):
    folder = study(name)
    tree, table = read_tree(folder / "tree.nwk"), read_table(folder / "table.biom")
    match = match_tips(table.asv_ids, table.sequences, tree, 0.0)
    rows = np.random.default_rng(0).choice(len(table.sample_ids), 8, replace=False)
    counts = table.counts[rows].toarray()
    asvs = [np.flatnonzero(row) for row in counts]
    reads = [row[columns] for row, columns in zip(counts, asvs, strict=True)]
    options = {
        "taxa": match.tips,
        "tree": TreeNode.read(str(folder / "tree.nwk"), format="newick", convert_underscores=False),
        "validate": False,
    }
    expected_pd = alpha_diversity("faith_pd", counts, **options).to_numpy()
    for metric, (their_name, extra) in SKBIO.items():
        expected = beta_diversity(their_name, counts, **options, **extra).data
        for each in (tree, tree.shear(match.tips)):
            found = TreeTargets(each, each.leaves_of(match.tips), metric, 0.5)([], asvs, reads)
            assert np.abs(found.unifrac - expected).max() < 1e-9
            assert np.abs(found.faith_pd - expected_pd).max() < 1e-9


def test_real_tree_distances_agree_with_scikit_bio(study: Callable[[str], Path]):
    path = study("ecam-infants") / "tree.nwk"
    tree = read_tree(path)
    asvs = np.random.default_rng(0).choice(len(tree.tip_names), 40, replace=False)
    found = TreeTargets(tree, tree.leaves_of(tree.tip_names), "unweighted", 0.5).patristic(asvs)
    names = [tree.tip_names[asv] for asv in asvs]
    theirs = TreeNode.read(str(path), format="newick", convert_underscores=False).cophenet(names)
    assert np.abs(found - theirs.filter(names).data).max() < 1e-9


def test_tree_distances_by_hand():
    #            d-a: 5 + 3 + 1 + 1   d-b: 5 + 3 + 1 + 2   a-b: 1 + 2; an ASV named twice is at 0 from itself
    expected = [[0, 10, 11, 0], [10, 0, 3, 10], [11, 3, 0, 11], [0, 10, 11, 0]]
    assert hand(["d", "c", "b", "a"]).patristic(np.array([0, 3, 2, 0])).tolist() == expected
    assert hand(["d"]).patristic(np.array([0])).tolist() == [[0]]


@settings(deadline=None, max_examples=40)
@given(trees(), st.data())
def test_tree_distances_agree_with_scikit_bio_on_any_tree(drawn: Node, data: st.DataObject):
    names = tip_names(drawn)
    chosen = data.draw(st.lists(st.integers(0, len(names) - 1), min_size=1, unique=True))
    parsed = parse_tree((drawn.newick() + ";").encode(), "t.nwk")
    targets = TreeTargets(parsed, parsed.leaves_of(names), "unweighted", 0.5)
    found = targets.patristic(np.array(chosen))
    tree = TreeNode.read([drawn.newick() + ";"], convert_underscores=False)
    for row, one in enumerate(chosen):
        for column, other in enumerate(chosen):
            expected = tree.find(names[one]).distance(tree.find(names[other]))
            assert found[row, column] == pytest.approx(expected, abs=1e-12)
    assert np.array_equal(found, found.T)


def test_targets_travel_to_worker_processes():
    targets = pickle.loads(pickle.dumps(hand(["a", "b"])))  # noqa: S301 - our own bytes
    assert targets.patristic(np.array([0, 1]))[0, 1] == 3


def test_a_matrix_is_read_by_id_never_by_position():
    values = np.array([[0, 0.1, 0.2], [0.1, 0, 0.3], [0.2, 0.3, 0]])
    targets = MatrixTargets(["x", "y", "z"], values)
    found = targets(["z", "x"], [], [])
    assert found.unifrac.tolist() == [[0, 0.2], [0.2, 0]]
    assert found.faith_pd is None
    assert targets.patristic(np.array([0, 1])) is None


def test_a_matrix_without_the_sample_is_refused():
    with pytest.raises(MatrixError, match="the distance matrix lacks 1 of 2 samples, e.g. b"):
        MatrixTargets(["a"], np.zeros((1, 1)))(["a", "b"], [], [])


def test_studies_are_measured_by_their_own_trees_and_not_against_each_other() -> None:
    # columns of the joined table: a, b, c, d; the leaves of the second tree are d, c, b, columns 3, 2, 1
    first, tree = hand(["a", "b"]), parse_tree(b"((d:3,c:2):4,b:1);", "u.nwk")
    leaves = Leaves(columns=np.array([3, 2, 1]), order=np.array([2, 1, 0]))
    second = TreeTargets(tree, leaves, "unweighted", 0.5)
    forest = ForestTargets([first, second], {"x": 0, "y": 0, "z": 1, "w": 1})
    asvs = [np.array([0]), np.array([1]), np.array([1, 2]), np.array([3])]
    counts = [np.ones(len(own), np.int64) for own in asvs]
    found = forest(
        ["x", "z", "y", "w"], [asvs[0], asvs[2], asvs[1], asvs[3]], [counts[0], counts[2], counts[1], counts[3]]
    )
    # z holds b and c (1 + 2 + 4), w holds d (3 + 4): they share 4 of 1 + 2 + 3 + 4.
    assert found.unifrac[1, 3] == pytest.approx(1 - 4 / 10)
    assert found.faith_pd[[1, 3]] == pytest.approx([7, 7])
    alone = first(["x", "y"], [np.array([0]), np.array([1])], [counts[0], counts[1]])
    assert found.unifrac[0, 2] == alone.unifrac[0, 1]
    assert np.isnan(found.unifrac[[0, 0, 2, 2], [1, 3, 1, 3]]).all()
    assert forest.patristic(np.array([1, 3]), ["w", "z"])[0, 1] == pytest.approx(1 + 4 + 3)
    with pytest.raises(TreeError, match="samples of 2 studies have no tree in common; ask for those of one study"):
        forest.patristic(np.array([0, 3]), ["x", "z"])
    assert forest.tree_of(["w", "z"]) is tree and forest.tree_of(["x"]) is first.tree
    with pytest.raises(TreeError, match="column 0 of the table is no tip of the tree asked"):
        forest.patristic(np.array([0, 3]), ["z"])
