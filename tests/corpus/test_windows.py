"""Windows that training reads: ASVs that equal a tip are read as that tip, and tips that come twice are one."""

from __future__ import annotations

import numpy as np
from grown_reference import grown_reference

from aam.config import PretrainConfig, from_options
from aam.config.fields import GENE_COLUMNS
from aam.corpus.dataset import Sample
from aam.corpus.pretraining import open_with_reference
from aam.corpus.windows import GeneWindows, Window, draw_window, tips_of_reads
from aam.gene.reads import LEAST_BASES
from aam.training.run import training_batches
from aam.vocab import PAD

REFERENCE = grown_reference(120)
V4 = Window(611, 864, 150)
NONE = np.full(0, -1)
WHOLE = GeneWindows(REFERENCE, NONE)


def test_an_asv_is_the_tip_that_it_equals_on_its_own_columns():
    tokens = WHOLE.tokens(np.arange(60), V4)
    other = tokens[3].copy()
    other[700] = other[700] % 4 + 1
    found = tips_of_reads(np.vstack([tokens, other]), REFERENCE)
    assert found[-1] == -1 or not np.array_equal(tokens[found[-1]], other)
    for row, tip in enumerate(found[:-1].tolist()):
        np.testing.assert_array_equal(WHOLE.tokens(np.array([tip]), V4)[0], tokens[row])


def test_samples_are_read_in_another_window_and_unknown_asvs_stay():
    tips = np.array([5, 9, -1])
    windows = GeneWindows(REFERENCE, tips)
    read = WHOLE.tokens(np.array([5, 9, 20]), V4)[:, :800]
    samples = [
        Sample("a", np.array([0, 2]), read[[0, 2]], np.array([1, 2])),
        Sample("b", np.array([1]), read[[1]], np.array([3])),
    ]
    for seed in range(8):
        one, two = windows.cut(samples, np.random.default_rng(seed))
        window = draw_window(np.random.default_rng(seed))
        assert one.tokens.shape[1] == two.tokens.shape[1] == 1 + GENE_COLUMNS
        wanted = WHOLE.tokens(np.array([5, 9]), window)
        for got, tip, own in ((one.tokens[0], wanted[0], read[0]), (two.tokens[0], wanted[1], read[1])):
            enough = (tip != PAD).sum() > LEAST_BASES
            np.testing.assert_array_equal(
                got[: 1 + GENE_COLUMNS], tip if enough else np.pad(own, (0, len(got) - len(own)))
            )
        np.testing.assert_array_equal(one.tokens[1, :800], read[2])
        assert one.counts.tolist() == [1, 2] and one.sample_id == "a"


def test_a_window_has_as_many_bases_as_a_read():
    tokens = WHOLE.tokens(np.arange(120), V4)[:, 1:]
    assert (tokens != PAD).sum(axis=1).max() == 150
    assert not tokens[:, :610].any() and not tokens[:, 864:].any()


def test_most_windows_are_v4():
    drawn = [draw_window(np.random.default_rng(seed)) for seed in range(400)]
    assert 0.42 < np.mean([window.first == 611 for window in drawn]) < 0.68  # half, and v4-v5 too
    assert len({window.first for window in drawn}) > 20


def test_tips_that_come_twice_are_one_tip():
    """The distance of a tip to its twin is two branches of the tip, so that memberships of both are equal."""
    options = {"reference": "not read", "example": True, "preset": "tiny", "reference_tips": 64, "device": "cpu",
               "positions": "gene", "windows": "random"}  # fmt: skip
    config = from_options(PretrainConfig, options)
    batch = training_batches(config, open_with_reference(config, REFERENCE))[1]
    numbers = batch.reference_tips.numpy()
    repeated = [(row, other) for row in range(len(numbers)) for other in range(row) if numbers[row] == numbers[other]]
    assert repeated
    tree = REFERENCE.tree
    for row, other in repeated:
        branch = tree.length[tree.tips()[numbers[row]]]
        assert abs(batch.reference_patristic[row, other].item() - 2 * branch) < 1e-6
    assert (batch.reference_patristic.diagonal() == 0).all()
    assert batch.tokens.shape[1] == batch.reference_tokens.shape[1] == batch.masked_tokens.shape[1]
