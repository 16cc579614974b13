"""Reference tips as training draws them: their tokens, their distances, and what is held out."""

from __future__ import annotations

import numpy as np
import pytest
from grown_reference import grown_reference
from skbio import TreeNode

from aam.config import LossConfig, PretrainConfig, from_options
from aam.config.fields import AUTO_BASES
from aam.corpus.pretraining import Corpus, check_reference_options, open_corpus, open_with_reference
from aam.corpus.reference_tips import (
    REACH,
    ReferenceTips,
    Window,
    default_window,
    genus_of,
    reference_tips,
    split_tips,
    tips_in_window,
    window_of_reads,
)
from aam.errors import ConfigError
from aam.gene.profile import NO_BASE, gene_profile
from aam.gene.regions import REGIONS, STARTS
from aam.placement.reference import Reference
from aam.training.run import training_batches

V4 = Window(*REGIONS["v4"], 60)
REFERENCE = grown_reference(120)
OPTIONS = {"reference": "not read", "example": True, "preset": "tiny", "reference_tips": 32, "device": "cpu"}


def tips_of(reference: Reference = REFERENCE, count: int = 32, seed: int = 0) -> ReferenceTips:
    config = from_options(PretrainConfig, OPTIONS | {"reference_tips": count, "seed": seed})
    return reference_tips(reference, V4, 61, config)


def corpus(**options: object) -> tuple[PretrainConfig, Corpus]:
    config = from_options(PretrainConfig, OPTIONS | options)
    return config, open_with_reference(config, REFERENCE)


def test_distances_of_a_batch_are_those_of_scikit_bio():
    config, found = corpus()
    batch = training_batches(config, found)[3]
    tree = TreeNode.read([REFERENCE.tree.to_newick()])
    names = [REFERENCE.tree.tip_names[number] for number in batch.reference_tips.tolist()]
    wanted = tree.cophenet(endpoints=names).filter(names).data
    np.testing.assert_allclose(batch.reference_patristic.numpy(), wanted, atol=1e-6)


def test_tokens_of_a_tip_are_those_of_a_read_of_it():
    """START, then the bases of the window from its first column on without gaps: A C G T are 1 to 4."""
    codes = np.array([[0, 0, 3], [1, NO_BASE, 3], [2, 1, 3], [3, 2, NO_BASE], [0, 3, 0]], np.uint8)
    tree = grown_reference(3).tree
    window = Window(102, 105, 3)
    numbers, tokens = tips_in_window(Reference(tree, codes, 101), window, 5, "read")
    assert numbers.tolist() == [0, 1, 2]
    assert tokens.tolist() == [[5, 2, 3, 4, 0], [5, 2, 3, 4, 0], [5, 4, 4, 1, 0]]


def test_tips_with_too_few_bases_are_left_out():
    codes = REFERENCE.codes.copy()
    begins = STARTS["515F"] - REFERENCE.first
    codes[: begins + 40, 7] = NO_BASE  # begins 40 bases later, so 60 bases of it are there, but no read begins so late
    codes[:, 8] = NO_BASE
    window = Window(*REGIONS["v4"], 400)
    numbers, _ = tips_in_window(Reference(REFERENCE.tree, codes, REFERENCE.first), window, 401, "read")
    assert sorted(set(range(120)) - set(numbers.tolist())) == [7, 8]


def test_half_of_a_draw_is_near():
    """Of 32 among 3,000 tips, 16 are in two groups of 8 within `REACH` tips of their anchors."""
    tips = tips_of(grown_reference(3000))
    for number in range(5):
        places = np.searchsorted(tips.train, tips.draw(tips.train, np.random.default_rng(number)))
        company = (np.abs(places[:, None] - places) <= 2 * REACH).sum(axis=1) - 1  # others within the size of a group
        assert 24 <= len(places) <= 32 and (company >= 4).sum() >= 10
        assert (company < 4).sum() >= 6  # the others lie anywhere: 1.3 of 16 within that distance are expected


def test_a_draw_is_a_function_of_seed_and_number():
    config, found = corpus()
    batches = training_batches(config, found)
    first, again = batches[5].reference_tips, training_batches(config, found)[5].reference_tips
    assert first.equal(again) and not first.equal(batches[6].reference_tips)
    other = training_batches(from_options(PretrainConfig, OPTIONS | {"seed": 1}), found)[5].reference_tips
    assert not first.equal(other)


def test_the_samples_of_a_batch_do_not_depend_on_the_reference():
    config, found = corpus()
    alone = from_options(PretrainConfig, {**OPTIONS, "reference": None})
    plain, beside = training_batches(alone, open_corpus(alone))[2], training_batches(config, found)[2]
    for name, value in vars(plain).items():
        if value is not None:
            other = getattr(beside, name)
            assert value == other if name == "sample_ids" else value.equal(other), name


def test_held_out_tips_are_never_drawn():
    tips = tips_of()
    drawn = np.unique(np.concatenate([tips.draw(tips.train, np.random.default_rng(seed)) for seed in range(60)]))
    assert len(drawn) == len(tips.train)  # all that train were, and none of the others
    out = np.concatenate([tips.held_out, tips.genera])
    assert not np.isin(drawn, out).any()
    sequences = {row.tobytes() for row in tips.tokens[drawn]}
    assert not sequences & {row.tobytes() for row in tips.tokens[out]}


def test_a_tenth_and_whole_genera_are_held_out():
    tips = tips_of()
    assert 12 <= len(tips.held_out) <= 12 + 5  # a tenth of 120, and those of the same sequence
    lineages = np.array([genus_of(lineage) for lineage in REFERENCE.lineages])[tips.numbers]
    chosen = set(lineages[tips.genera])
    assert chosen and "" not in chosen
    assert set(np.flatnonzero(np.isin(lineages, list(chosen)))) == set(tips.genera)
    assert not chosen & set(lineages[tips.train])


def test_twins_of_a_held_out_tip_are_held_out_too():
    tokens = np.array([[5, 1], [5, 1], [5, 2], [5, 3], [5, 4], [5, 4], [5, 4], [5, 2], [5, 3], [5, 3]], np.uint8)
    train, held_out, genera = split_tips(tokens, None, 0)
    assert len(genera) == 0 and len(held_out) >= 2 and len(train) + len(held_out) == 10
    assert not set(tokens[train, 1]) & set(tokens[held_out, 1])


@pytest.mark.parametrize(
    ("lineage", "genus"),
    [
        ("k__B; p__F; c__C; o__L; f__L; g__Lactobacillus; s__", "k__B; p__F; c__C; o__L; f__L; g__Lactobacillus"),
        ("k__B; p__F; c__C; o__L; f__L; g__; s__", ""),
        ("k__B; p__F", ""),
        ("Bacteria;Firmicutes;Bacilli;Lactobacillales;L;Lactobacillus;", "Bacteria; Firmicutes; Bacilli; "
         "Lactobacillales; L; Lactobacillus"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_genus_is_part_of_the_lineage(lineage: str, genus: str):
    assert genus_of(lineage) == genus


def read(first: int, last: int) -> str:
    """The bases of the consensus of the gene on some columns."""
    return "".join("ACGT"[code] for code in gene_profile().log_odds[first - 1 : last, :4].argmax(axis=1))


def test_the_window_is_where_most_reads_begin():
    reads = [read(621, 800)] * 8 + [read(611, 800)]
    assert window_of_reads(reads, 100) == (621, 720, 100)
    assert window_of_reads([each.lower() for each in reads], 100) == (621, 720, 100)


def test_without_a_table_the_window_is_v4_or_what_there_is():
    assert default_window(REFERENCE, 150) == (*REGIONS["v4"], 150)
    later = Reference(REFERENCE.tree, REFERENCE.codes[100:], REFERENCE.first + 100)
    assert default_window(later, 150) == (later.first, later.last, 150)
    assert default_window(REFERENCE, AUTO_BASES) == default_window(REFERENCE, 999) == (611, 864, 254)


def test_reads_of_the_other_strand_are_refused():
    turned = [read(611, last)[::-1].translate(str.maketrans("ACGT", "TGCA")) for last in (750, 760, 770, 780)]
    with pytest.raises(ConfigError, match="of 4 ASVs of the table 4 are the reverse complement of 16S and 0 no 16S"):
        window_of_reads(turned, 150)


def test_a_reference_of_another_region_is_refused():
    elsewhere = Reference(REFERENCE.tree, REFERENCE.codes, 1000)
    with pytest.raises(ConfigError, match=r"its tips lie on v.*\(columns 1,000 to 1,263\), expected .* v4 \(columns"):
        tips_in_window(elsewhere, V4, 61, "read")
    with pytest.raises(ConfigError, match="0 of its 120 tips have bases on v4"):
        tips_in_window(
            Reference(REFERENCE.tree, np.full_like(REFERENCE.codes, NO_BASE), REFERENCE.first), V4, 61, "read"
        )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"unifrac_head": "euclidean"}, "--reference teaches tree distances, which --unifrac-head euclidean"),
        ({"unifrac_metric": "weighted"}, "has the units of one tree, .* or --same-scale"),
    ],
)
def test_options_that_a_reference_cannot_be_with(options: dict[str, str], text: str):
    with pytest.raises(ConfigError, match=text):
        check_reference_options(from_options(PretrainConfig, OPTIONS | options))


def test_simulated_samples_that_train_have_tips_that_train():
    _, found = corpus(example=False)
    assert len(found.sides.train) == 512 and len(found.sides.validation) == 128
    tips, table = found.reference, found.table
    assert tips is not None
    place_of = {REFERENCE.tree.tip_names[number]: place for place, number in enumerate(tips.numbers.tolist())}
    places = np.array([place_of[name] for name in table.asv_ids])
    trained = places[np.unique(table.counts[found.sides.train].indices)]
    assert np.isin(trained, tips.train).all()
    seen = places[np.unique(table.counts[found.sides.validation].indices)]
    assert np.isin(seen, np.concatenate([tips.held_out, tips.genera])).any()
    assert [record.begin for record in found.lineup.records] == [STARTS["515F"]]
    assert (table.depths() == 2000).all() and (found.tokens == tips.tokens[places]).all()
    assert table.sequences[0] == "".join("-ACGT"[token] for token in found.tokens[0][1:] if token)


def test_masked_bases_of_tips_are_theirs():
    tips = tips_of()
    batch = training_batches(*corpus())[0]
    hidden = LossConfig(masked_asvs=1.0, mask_ratio=0.5)
    found = tips.add_to(batch, tips.train, hidden, np.random.default_rng(0))
    at, bases = found.reference_masked_at, found.reference_masked_bases
    rows = found.reference_masked_rows[at[:, 0]]
    assert found.reference_tokens[rows, at[:, 1]].equal(bases.to(found.reference_tokens.dtype))
    assert (found.reference_masked_tokens[at[:, 0], at[:, 1]] == 6).all() and len(bases) > 100
