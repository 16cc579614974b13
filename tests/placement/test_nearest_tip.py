"""Placement by the nearest tip: by hand on reads cut from a reference, and what has no place."""

from __future__ import annotations

import numpy as np
import pytest
from generated_reference import V4, consensus, dna, random_reference, read_of

from aam.gene.profile import gene_profile, reverse_complement
from aam.observer import no_progress
from aam.phylogeny.tree import parse_tree
from aam.placement import search
from aam.placement.nearest_tip import jukes_cantor, place_by_nearest_tip
from aam.placement.outcome import distances_text, doubts, fates_text, where_text
from aam.placement.placements import NOT_16S, NOT_COVERED, PLACED, TOO_FAR, Placements
from aam.placement.reference import Reference
from aam.placement.tables import placements_table


@pytest.fixture(scope="module")
def reference() -> Reference:
    return random_reference(40)


def changed(read: str, places: list[int]) -> str:
    """A read with other bases at some places."""
    return "".join("CGTA"["ACGT".index(base)] if place in places else base for place, base in enumerate(read))


def place(reference: Reference, *reads: str) -> Placements:
    return place_by_nearest_tip(reference, [f"a{row}" for row in range(len(reads))], reads, no_progress)


def test_an_asv_hangs_half_of_its_distance_above_its_nearest_tip(reference: Reference):
    """Three of 150 columns differ: p = 0.02, Jukes-Cantor -3/4 ln(1 - 4/3 0.02) = 0.02027."""
    equal, other = read_of(reference, 7), changed(read_of(reference, 20), [40, 80, 120])
    found, depth = place(reference, equal, other), reference.ancestors.tip_depth
    assert (found.fate == PLACED).all()
    assert found.candidates[:, 0].tolist() == [7, 20] and found.anchor.tolist() == [7, 20]
    assert found.differing[:, 0].tolist() == [0, 3] and found.covered.tolist() == [150, 150]
    assert found.stem.tolist() == pytest.approx([0, 0.02027 / 2], abs=1e-5)
    assert found.top.tolist() == pytest.approx([depth[7], depth[20] - 0.02027 / 2], abs=1e-5)
    assert found.error.tolist() == found.stem.tolist()
    assert found.chance[:, 0].tolist() == [1, 1] and found.chance.sum() == 2


def test_candidates_are_the_nearest_tips_in_order(reference: Reference):
    found = place(reference, changed(read_of(reference, 20), [10, 20, 30]))
    read = reference.codes[V4, 20].copy()
    read[[10, 20, 30]] = (read[[10, 20, 30]] + 1) % 4
    differing = (reference.codes[V4] != read[:, None]).sum(axis=0)
    assert found.differing[0].tolist() == sorted(differing.tolist())[:16]
    assert differing[found.candidates[0]].tolist() == found.differing[0].tolist()


def test_tips_that_are_equally_near_share_the_chance():
    whole = random_reference(12)
    codes = whole.codes.copy()
    codes[:, 5] = codes[:, 9] = codes[:, 2]
    found = place(Reference(whole.tree, codes, 1), read_of(whole, 2))
    assert sorted(found.candidates[0, :3].tolist()) == [2, 5, 9] and found.anchor[0] == found.candidates[0, 0]
    assert found.chance[0].tolist() == pytest.approx([1 / 3] * 3 + [0] * 9)


def test_of_equally_near_tips_the_one_among_the_others_has_the_asv():
    """a and b are equal; c and d, one and two bases away, are at 0.04 and 0.08 from b, and at 0.44 from a."""
    tree = parse_tree(b"(a:0.3,((b:0.02,c:0.02):0.02,d:0.04):0.1);", "tree")
    codes = np.repeat(random_reference(2).codes[:, :1], 4, axis=1)
    for tip, places in ((2, [650]), (3, [650, 700])):
        codes[places, tip] = (codes[places, tip] + 1) % 4
    found = place(Reference(tree, codes, 1), dna(codes[V4, 0]))
    assert found.differing[0].tolist() == [0, 0, 1, 2]
    assert found.candidates[0].tolist() == [1, 0, 2, 3] and found.anchor.tolist() == [1]
    assert found.chance[0].tolist() == [0.5, 0.5, 0, 0]


def test_no_place_for_what_is_no_16s_or_far_or_where_the_reference_has_nothing(reference: Reference):
    rng = np.random.default_rng(0)
    window = Reference(reference.tree, np.ascontiguousarray(reference.codes[V4]), V4.start + 1)
    noise = dna(rng.integers(0, 4, 150))
    variable = np.argsort(gene_profile().log_odds[V4].max(axis=1))[:55]  # elsewhere it would no longer be 16S
    far = changed(dna(consensus()[V4]), variable.tolist())
    elsewhere, good = read_of(reference, 3, slice(900, 1100)), read_of(reference, 3)
    found = place(window, noise, elsewhere, far, good, reverse_complement(good))
    assert found.fate.tolist() == [NOT_16S, NOT_COVERED, TOO_FAR, PLACED, PLACED]
    assert found.placed.tolist() == [3, 4] and found.reads.strand.tolist() == [0, 1, 1, 1, -1]
    for row in (0, 1, 2):
        assert (found.candidates[row] == -1).all() and found.covered[row] == 0
        assert not found.chance[row].any() and found.stem[row] == found.top[row] == found.error[row] == 0
    assert fates_text(found) == "1 not 16S, 1 not covered by the reference, 1 far from every reference"
    assert distances_text(found).startswith("2 ASVs equal a reference, 0 differ by less than 3%, 0 by 3% to 10%")
    assert "the reference has v4" in where_text(found, window)
    warned = doubts(found, window)
    assert warned[0].startswith("3 of 5 ASVs cannot be placed (1 not 16S, 1 not covered")
    assert warned[1] == "1 ASV of 5 are reverse complements and were turned"
    assert warned[2] == "1 ASV of 5 lie on another region of the gene than most"
    rows = placements_table(found, window, "feature-id")
    assert rows["fate"].tolist() == [
        "not 16S", "not covered by the reference", "far from every reference", "placed", "placed"
    ]  # fmt: skip
    assert rows["warnings"].tolist() == ["", "another region than most", "", "", "reverse complement"]
    assert rows["nearest"].tolist()[:3] == ["", "", ""] and rows["nearest"].iloc[3].startswith(
        reference.tree.tip_names[3]
    )
    assert rows["distance"].tolist()[3:] == [0, 0] and rows["distance"].isna().tolist() == [True] * 3 + [False] * 2


def test_places_do_not_depend_on_the_other_asvs_or_the_blocks(reference: Reference, monkeypatch):
    reads = [read_of(reference, tip) for tip in range(0, 40, 4)] + [read_of(reference, 1, slice(30, 400))]
    together = place(reference, *reads)
    monkeypatch.setattr(search, "READS_AT_ONCE", 3)
    monkeypatch.setattr(search, "STRIDE", 7)
    blocks = place(reference, *reads)
    for row, read in enumerate(reads):
        alone = place(reference, read)
        for name in ("anchor", "top", "stem", "covered"):
            assert getattr(alone, name)[0] == getattr(together, name)[row] == getattr(blocks, name)[row]


def test_jukes_cantor_is_finite_for_the_most_distant():
    assert jukes_cantor(np.array([0.0, 0.75, 1.0])).tolist() == pytest.approx([0, 3.24, 3.24], abs=0.01)


def test_distance_in_the_table_is_that_of_the_tree(reference: Reference):
    from skbio import TreeNode

    from aam.placement.insertion import insertion_tree, rooted_newick

    reads = [changed(read_of(reference, tip), list(range(tip, 150, 40))) for tip in range(0, 40, 7)]
    found = place(reference, *reads)
    tree = TreeNode.read([rooted_newick(insertion_tree(found, reference, True))], format="newick")
    tips = {tip.name: tip for tip in tree.tips()}
    for name, row in placements_table(found, reference, "feature-id").iterrows():
        nearest = row["nearest"].split("; ")[0]
        assert row["distance"] == pytest.approx(tips[name].distance(tips[nearest]), abs=1e-12)
