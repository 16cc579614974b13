"""The UPGMA stand-in tree: by hand, and node for node against scikit-bio's tree of the same linkage."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import cophenet, linkage
from scipy.spatial.distance import pdist, squareform
from skbio import TreeNode

from aam.io.sequences import tokenize
from aam.phylogeny.targets import TreeTargets
from aam.phylogeny.upgma import MAX_ASVS, hamming_tree, linkage_tree


def random_tokens(asvs: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return tokenize(["".join(rng.choice(list("ACGT"), 12)) for _ in range(asvs)], 12)


def test_by_hand() -> None:
    # START + 4 bases: fractions of 5. a-b differ at 1, a-c at 2, b-c at 3 positions.
    # a and b join at height 1/5 / 2 = 0.1; c joins at the mean of 2/5 and 3/5, halved: 0.25. Inner branch 0.25 - 0.1.
    tree = hamming_tree(tokenize(["AAAA", "AAAT", "TTAA"], 4), ["a", "b", "c"])
    lengths = {tree.tip_names[leaf]: tree.length[node] for leaf, node in enumerate(tree.tips())}
    assert lengths == pytest.approx({"a": 0.1, "b": 0.1, "c": 0.25})
    inner = [node for node in range(5) if tree.last[node] - tree.first[node] == 2]
    assert tree.length[inner] == pytest.approx([0.15])
    assert tree.length[-1] == 0.0 and tree.parent[-1] == -1


def test_distances_along_the_tree_are_the_cophenetic_ones() -> None:
    tokens, names = random_tokens(40, 0), [f"t{number}" for number in range(40)]
    merges = linkage(pdist(tokens.astype(float), "hamming"), "average")
    tree = linkage_tree(merges, names)
    targets = TreeTargets(tree, tree.leaves_of(names), "unweighted", 0.5)
    np.testing.assert_allclose(targets.patristic(np.arange(40)), squareform(cophenet(merges)), atol=1e-12)


@given(st.integers(2, 40), st.integers(0, 1000))
def test_the_tree_is_scikit_bios_of_the_same_linkage(asvs: int, seed: int) -> None:
    tokens, names = random_tokens(asvs, seed), [f"t{number}" for number in range(asvs)]
    ours = hamming_tree(tokens, names)
    theirs = TreeNode.from_linkage_matrix(linkage(pdist(tokens.astype(float), "hamming"), "average"), names)
    read = TreeNode.read(io.StringIO(ours.to_newick()))
    assert read.compare_rfd(theirs) == 0
    assert sum(node.length or 0 for node in theirs.traverse()) == pytest.approx(ours.length.sum())
    assert sorted(ours.tip_names) == sorted(names)
    # postorder: a node's parent comes after it, the root last, and leaves below it are a range within the parent's
    below = ours.parent[:-1]
    assert (below > np.arange(len(below))).all()
    assert (ours.first[below] <= ours.first[:-1]).all() and (ours.last[below] >= ours.last[:-1]).all()


def test_padding_counts_as_a_difference_and_equal_sequences_as_none() -> None:
    tree = hamming_tree(tokenize(["AC", "ACGT", "ACGT"], 4), ["short", "one", "two"])
    lengths = {tree.tip_names[leaf]: tree.length[node] for leaf, node in enumerate(tree.tips())}
    assert lengths == pytest.approx({"one": 0.0, "two": 0.0, "short": 2 / 5 / 2})


def test_one_asv_is_a_tree_of_one_tip_and_too_many_are_refused() -> None:
    tree = hamming_tree(tokenize(["ACGT"], 4), ["only"])
    assert (tree.tip_names, tree.length.tolist(), tree.parent.tolist()) == (["only"], [1.0], [-1])
    with pytest.raises(ValueError, match="expected 1 to"):
        hamming_tree(random_tokens(2, 0)[:0], [])
    with pytest.raises(ValueError, match=f"{MAX_ASVS + 1} ASVs"):
        hamming_tree(np.ones((MAX_ASVS + 1, 3), np.uint8), [str(n) for n in range(MAX_ASVS + 1)])
