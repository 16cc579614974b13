"""Clades of placed ASVs: by hand on a tree of four tips, and against the reads below each node."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import binom

from aam.gene.reads import Reads
from aam.learners.clades import CladeTable, clade_table, clades_of
from aam.learners.features import MOST, FeatureSet, choose_features, expected_presence
from aam.phylogeny.tree import Tree, parse_tree
from aam.placement.placements import PLACED, TOO_FAR, Placements

TREE = parse_tree(b"((a:1,b:1):2,(c:2,d:2):1);", "by hand")
"""Nodes in postorder: a 0, b 1, ab 2, c 3, d 4, cd 5, root 6; depths a 3, b 3, ab 2, c 3, d 3, cd 1, root 0."""


def placed(anchor: list[int], top: list[float], fate: list[int] | None = None) -> Placements:
    """Placements of which clades read only anchor, top and fate."""
    count = len(anchor)
    ints, floats = np.zeros(count, np.int64), np.zeros(count)
    candidates = np.zeros((count, 1), np.int64)
    return Placements(
        [f"asv{row}" for row in range(count)],
        Reads(*(np.zeros(count, np.int64) for _ in range(len(Reads.__dataclass_fields__)))),  # type: ignore[arg-type]
        np.array(fate or [PLACED] * count, np.int8),
        candidates, candidates, ints, np.array(anchor), np.array(top), floats,
        candidates.astype(float), candidates.astype(float), candidates.astype(float), floats,
    )  # fmt: skip


def test_an_asv_lies_below_the_nodes_above_its_branch():
    # asv0 is tip a itself; asv1 leaves the branch of b halfway, at depth 2.5; asv2 leaves that of cd at 0.5;
    # asv3 leaves the root; asv4 has no place.
    places = placed([0, 1, 3, 2, 0], [3.0, 2.5, 0.5, 0.0, 0.0], [PLACED] * 4 + [TOO_FAR])
    expected = [
        [1, 0, 1, 0, 0, 0, 1],
        [0, 0, 1, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0, 0],
    ]
    assert clades_of(places, TREE).toarray().tolist() == expected


def test_the_share_of_a_clade_is_that_of_the_reads_below_it():
    counts = csr_array(np.array([[3, 1, 0, 0], [0, 0, 2, 6]]))
    table = clade_table(counts, ["A", "C", "G", "T"], placed([0, 1, 2, 3], [3.0] * 4), TREE)
    # first sample: a 3/4, b 1/4, ab all; second: c 2/8, d 6/8, cd all
    assert table.clades.toarray().tolist() == [[0.75, 0.25, 1, 0, 0, 0, 1], [0, 0, 0, 0.25, 0.75, 1, 1]]
    assert table.rows(np.array([1])).clades.toarray().tolist() == [[0, 0, 0, 0.25, 0.75, 1, 1]]


def test_presence_is_the_chance_to_be_drawn():
    # a share of a half is seen in one of two reads with 1 - 1/2 * 1/2
    shares = np.array([0.0, 0.5, 0.01, 1.0], np.float32)
    assert expected_presence(shares, 2) == pytest.approx([0, 0.75, 1 - 0.99**2, 1], abs=1e-4)
    assert expected_presence(shares) == pytest.approx(1 - binom.pmf(0, 300, shares), abs=1e-4)


def table_of(shares: list[list[float]], tree: Tree = TREE) -> CladeTable:
    places = placed(list(range(len(shares[0]))), [3.0] * len(shares[0]))
    return CladeTable(csr_array(np.array(shares, np.float32)), clades_of(places, tree), ["A", "C", "G", "T"])


def test_features_are_prevalent_and_none_repeats():
    # b is in one sample of three, too few; ab equals a where b is nothing but not where it is there
    found = choose_features(table_of([[0.5, 0.1, 0.4, 0], [0.5, 0, 0.5, 0], [0.25, 0, 0.75, 0]]))
    # node 3 is c and 5 is cd, which are equal: the smaller clade stays; d is in no sample
    assert found.nodes.tolist() == [0, 2, 3, 6]
    assert found.sequences == ("A", "G")
    assert len(found) == 6 < MOST


def test_an_asv_that_a_table_lacks_is_not_there():
    features = FeatureSet(np.array([2, 6]), ("C", "unknown"))
    shares = features.shares(table_of([[0.5, 0.25, 0.25, 0]]))
    assert shares.tolist() == [[0.75, 1.0, 0.25, 0.0]]
