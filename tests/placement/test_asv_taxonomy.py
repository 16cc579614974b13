"""Taxa of placed ASVs: shares of candidates by hand, ranks without a name, and the threshold."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from generated_reference import random_reference, read_of
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from aam.observer import no_progress
from aam.phylogeny.tree import parse_tree
from aam.placement.nearest_tip import place_by_nearest_tip
from aam.placement.placements import NOT_16S, Placements
from aam.placement.reference import Reference, is_named
from aam.placement.tables import ranks_table, taxonomy_table
from aam.placement.taxonomy import Taxonomy, clade_lineages, classify, decide, parse_lineages, short_name

GREENGENES = [
    "k__Bacteria; p__Firmicutes; c__Clostridia; o__; f__; g__; s__",
    "k__Bacteria; p__Firmicutes; c__Clostridia; o__Clostridiales; f__Lachnospiraceae; g__Blautia; s__obeum",
    "k__Bacteria; p__Firmicutes; c__Clostridia; o__Clostridiales; f__Lachnospiraceae; g__Blautia; s__",
    "k__Archaea; p__Crenarchaeota",
]


@pytest.mark.parametrize(
    ("lineage", "name"),
    [
        ("k__B; p__F; c__; o__; f__; g__Blautia; s__obeum", "g__Blautia s__obeum"),
        ("k__B; p__F; c__C; o__; f__; g__; s__", "c__C"),
        ("Bacteria;Firmicutes;Bacilli;X;Y;Blautia;obeum", "Blautia obeum"),
        ("Unassigned", "Unassigned"),
        ("", ""),
    ],
)
def test_the_lowest_name_of_a_lineage(lineage: str, name: str):
    assert short_name(lineage) == name


@pytest.mark.parametrize("name", ["", "g__", "D_5__", "s__"])
def test_names_that_say_nothing(name: str):
    assert not is_named(name)


def test_taxa_are_whole_lineages():
    """The same epithet in another genus is another taxon; ranks without a name are none."""
    taxa = parse_lineages([*GREENGENES, "k__Bacteria; p__P; c__; o__; f__; g__Other; s__obeum"])
    assert list(taxa.ranks) == ["domain", "phylum", "class", "order", "family", "genus", "species"]
    assert (taxa.codes[0] >= 0).tolist() == [True] * 3 + [False] * 4
    assert taxa.codes[1, :6].tolist() == taxa.codes[2, :6].tolist() and taxa.codes[2, 6] == -1
    assert taxa.codes[1, 6] != taxa.codes[4, 6] >= 0
    assert taxa.lineages[taxa.codes[4, 5]] == "k__Bacteria; p__P; c__; o__; f__; g__Other"
    assert (taxa.codes[3] >= 0).tolist() == [True, True] + [False] * 5


@pytest.mark.parametrize(
    ("lineage", "ranks"),
    [
        ("Bacteria;Firmicutes;Bacilli;X;Y;Z;z", ["domain", "phylum", "class", "order", "family", "genus", "species"]),
        ("d__Bacteria;p__P;c__C", ["domain", "phylum", "class"]),
        ("D_0__Bacteria;D_1__P;D_2__C", ["rank_1", "rank_2", "rank_3"]),
    ],
)
def test_ranks_of_other_taxonomies(lineage: str, ranks: list[str]):
    taxa = parse_lineages([lineage, ""])
    assert list(taxa.ranks) == ranks and (taxa.codes[0] >= 0).all() and (taxa.codes[1] == -1).all()


def test_candidates_of_one_taxon_add_up():
    """Phylum 1 has 0.3 + 0.3, phylum 2 has 0.4 of the weight; within phylum 1 each class has 0.3, the first comes."""
    codes = np.array([[[0, 2, 20], [0, 1, 10], [0, 1, 11]]])
    weight = np.broadcast_to(np.array([[[0.4], [0.3], [0.3]]]), codes.shape)
    taxon, confidence = decide(codes, weight)
    assert taxon.tolist() == [[0, 1, 10]]
    assert confidence[0].tolist() == pytest.approx([1.0, 0.6, 0.3])


def test_a_rank_without_a_name_is_left_out_and_the_next_decided():
    codes = np.array([[[0, -1, 20], [0, -1, 20], [0, -1, -1]]])
    taxon, confidence = decide(codes, np.full(codes.shape, 1 / 3))
    assert taxon.tolist() == [[0, -1, 20]]
    assert confidence[0].tolist() == pytest.approx([1, 0, 2 / 3])


@given(
    arrays(np.int64, (4, 5, 3), elements=st.integers(-1, 2)),
    arrays(float, (4, 5), elements=st.floats(0, 1)),
)
def test_confidence_never_rises_down_a_lineage(names: np.ndarray, weight: np.ndarray):
    codes = np.where(names >= 0, names + 3 * np.cumsum(names * 10, axis=2) + 1000 * np.arange(3), -1)
    chance = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)
    taxon, confidence = decide(codes, np.broadcast_to(chance[:, :, None], codes.shape))
    for row in range(4):
        named = confidence[row][taxon[row] >= 0]
        assert (np.diff(named) <= 1e-12).all() and (named <= 1 + 1e-9).all() and (named >= 0).all()
    assert (confidence[taxon < 0] == 0).all()


def test_what_is_reported_ends_at_the_threshold():
    taxonomy = Taxonomy(
        ["domain", "phylum", "genus"],
        ["B", "B; P", "B; P; G"],
        np.array([[0, 1, 2], [0, 1, 2], [0, -1, -1], [-1, -1, -1]]),
        np.array([[1, 0.9, 0.69], [0.6, 0.5, 0.4], [0.8, 0, 0], [0, 0, 0]]),
    )
    taxa, confidence = taxonomy.reported(0.7)
    assert taxa == ["B; P", "Unassigned", "B", "Unassigned"]
    assert confidence.tolist() == [0.9, 0.6, 0.8, 0.0]
    assert taxonomy.reported(0.4)[0] == ["B; P; G", "B; P; G", "B", "Unassigned"]


@pytest.fixture(scope="module")
def case() -> tuple[Placements, Reference]:
    reference = random_reference(40)
    reads = [read_of(reference, 2), read_of(reference, 38), "ACGT" * 40]
    return place_by_nearest_tip(reference, ["a", "b", "c"], reads, no_progress), reference


def test_tables_for_users_of_qiime(case: tuple[Placements, Reference]):
    placements, reference = case
    taxonomy = classify(placements, reference)
    table = taxonomy_table(placements.ids, taxonomy, 0.7)
    assert placements.fate[2] == NOT_16S
    assert table.index.name == "Feature ID" and list(table.columns) == ["Taxon", "Confidence"]
    assert table["Taxon"].tolist() == [
        "k__Bacteria; p__P0; c__; o__; f__F0; g__G0",
        "k__Bacteria; p__P1; c__; o__; f__F3; g__G7",
        "Unassigned",
    ]
    assert table["Confidence"].tolist() == [1, 1, 0]
    ranks = ranks_table(placements.ids, taxonomy, "feature-id")
    assert ranks.loc["b", "family"] == "f__F3" and ranks.loc["b", "family_confidence"] == 1
    assert ranks.loc["b", "class"] == "" and ranks.loc["c", "domain"] == ""


def test_learned_confidence_takes_the_place_of_shares(case: tuple[Placements, Reference]):
    placements, reference = case
    confidence = np.zeros((*placements.chance.shape, 7))
    confidence[:, 0] = [0.99, 0.95, 0.9, 0.9, 0.8, 0.4, 0.1]
    taxonomy = classify(dataclasses.replace(placements, confidence=confidence), reference)
    assert taxonomy_table(placements.ids, taxonomy, 0.7)["Taxon"].iloc[0] == "k__Bacteria; p__P0; c__; o__; f__F0"
    assert taxonomy.confidence[0].tolist() == pytest.approx([0.99, 0.95, 0, 0, 0.8, 0.4, 0])


def test_no_taxonomy_without_lineages(case: tuple[Placements, Reference]):
    placements, reference = case
    assert classify(placements, dataclasses.replace(reference, lineages=None)) is None


def test_a_clade_is_named_by_what_its_tips_have_in_common():
    tree = parse_tree(b"((a:1,b:1):1,(c:1,d:1):1);", "by hand")  # postorder: a 0, b 1, ab 2, c 3, d 4, cd 5, root 6
    lineages = ["k__B; p__F; f__; g__X", "k__B; p__F; f__; g__Y", "k__B; p__G; f__; g__", "k__B; p__G; f__; g__"]
    reference = Reference(tree, np.zeros((1, 4), np.uint8), 1, lineages)
    names = clade_lineages(reference, np.arange(7))
    assert names == [lineages[0], lineages[1], "k__B; p__F", "k__B; p__G", "k__B; p__G", "k__B; p__G", "k__B"]
    assert clade_lineages(Reference(tree, reference.codes, 1), np.arange(2)) == ["", ""]
