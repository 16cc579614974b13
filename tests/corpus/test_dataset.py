"""Draws from a table: which ASVs stay, what is refused, and that a draw is a function of seed, epoch and sample."""

from __future__ import annotations

import numpy as np
import pytest
from generated_samples import community
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from aam.config import Selection
from aam.corpus.dataset import ASVDataset, Draw, select_asvs
from aam.errors import ConfigError, EmptySampleError

TOKENS = np.array([[5, 1, 1], [5, 2, 2], [5, 3, 3], [5, 4, 4]], dtype=np.uint8)
COUNTS = [[5, 0, 2, 1], [0, 7, 0, 3], [1, 1, 1, 1]]
SELECTIONS: list[Selection] = ["abundance", "random", "weighted"]


def dataset(counts: object = COUNTS, **draw: object) -> ASVDataset:
    settings = {"depth": None, "token_limit": None, "selection": "abundance", "seed": 0} | draw
    counts = csr_array(np.asarray(counts)) if isinstance(counts, list) else counts
    return ASVDataset(counts, TOKENS, [f"s{row}" for row in range(counts.shape[0])], Draw(**settings))


def test_all_that_is_there_in_table_order():
    sample = dataset()[0]
    assert sample.sample_id == "s0" and sample.asvs.tolist() == [0, 2, 3] and sample.counts.tolist() == [5, 2, 1]
    assert sample.tokens.tolist() == TOKENS[[0, 2, 3]].tolist()
    assert (sample.asvs.dtype, sample.counts.dtype, sample.tokens.dtype) == (np.int64, np.int64, np.uint8)


def test_it_is_a_sequence():
    samples = dataset()
    assert len(samples) == 3 and [sample.sample_id for sample in samples] == ["s0", "s1", "s2"]
    for row in (-1, 3):
        with pytest.raises(IndexError, match=rf"sample {row} of 3"):
            samples[row]


def test_a_sample_without_counts_is_refused_by_name():
    stored_zeros = csr_array((np.array([0, 0, 4]), np.array([0, 2, 1]), np.array([0, 2, 3])), shape=(2, 4))
    samples = dataset(stored_zeros)
    with pytest.raises(ValueError, match="has no ASVs") as caught:
        samples[0]
    assert isinstance(caught.value, EmptySampleError)
    assert str(caught.value) == "Sample s0 has no ASVs with count > 0 (num_asvs=2, counts_sum=0)"
    assert samples[1].asvs.tolist() == [1]


def test_a_row_without_entries_is_refused_by_name():
    with pytest.raises(ValueError, match="has no ASVs") as caught:
        dataset([[0, 0, 0, 0], [1, 0, 0, 0]])[0]
    assert str(caught.value) == "Sample s0 has no ASVs with count > 0 (num_asvs=0, counts_sum=0)"


def test_token_limits_below_1_are_refused():
    with pytest.raises(ConfigError, match="token limit 0: a sample needs at least 1 ASV; use --token-limit 1 or more"):
        dataset(token_limit=0)


def kept(counts: list[int], selection: Selection, limit: int, seed: int = 0) -> list[int]:
    return select_asvs(np.array(counts), Draw(None, limit, selection, 0), np.random.default_rng(seed)).tolist()


def test_abundance_keeps_the_largest_and_of_equals_the_first():
    # 9 and 4 stay, and of the three ones the first; positions come in table order
    assert kept([1, 4, 1, 9, 1], "abundance", 3) == [0, 1, 3]
    assert kept([2, 2, 2, 2], "abundance", 2) == [0, 1]


@pytest.mark.parametrize("selection", SELECTIONS)
def test_nothing_is_cut_below_the_limit(selection: Selection):
    assert kept([3, 1, 2], selection, 3) == [0, 1, 2]
    assert kept([3, 1, 2], selection, 10**9) == [0, 1, 2]


def test_random_keeps_every_asv_equally_often_and_weighted_by_its_reads():
    times = {selection: np.zeros(3) for selection in SELECTIONS}
    for seed in range(2000):
        for selection in SELECTIONS:
            times[selection][kept([70, 20, 10], selection, 1, seed)] += 1
    share = {selection: found / 2000 for selection, found in times.items()}
    # standard error of a share of 2,000 draws is at most sqrt(0.25 / 2000) = 0.011
    assert share["random"] == pytest.approx([1 / 3] * 3, abs=0.05)
    assert share["weighted"] == pytest.approx([0.7, 0.2, 0.1], abs=0.05)
    assert share["abundance"].tolist() == [1, 0, 0]


@given(
    counts=st.lists(st.integers(1, 10**6), min_size=1, max_size=40),
    limit=st.integers(1, 50),
    selection=st.sampled_from(SELECTIONS),
    seed=st.integers(0, 2**63 - 1),
)
def test_every_selection_keeps_as_many_as_it_may(counts: list[int], limit: int, selection: Selection, seed: int):
    found = kept(counts, selection, limit, seed)
    assert len(found) == min(limit, len(counts)) and found == sorted(set(found))


def test_rarefaction_draws_from_what_is_there():
    samples = dataset(depth=6)
    for epoch in range(20):
        sample = samples[epoch, 0]
        assert sample.counts.sum() == 6 and (sample.counts > 0).all()
        assert (sample.counts <= np.array(COUNTS[0])[sample.asvs]).all()
    # a sample with no more reads than the depth is taken whole
    assert samples[3, 2].counts.tolist() == [1, 1, 1, 1]


def test_a_rarefied_sample_is_the_same_in_mean():
    drawn = [dataset(depth=4)[epoch, 0] for epoch in range(1500)]
    share = sum(float(sample.counts[sample.asvs == 0].sum()) for sample in drawn) / (4 * len(drawn))
    assert share == pytest.approx(5 / 8, abs=0.02)


@given(seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 10**6), row=st.integers(0, 7))
@settings(max_examples=50)
def test_a_draw_is_a_function_of_seed_epoch_and_sample(seed: int, epoch: int, row: int):
    found = community(samples=8, asvs=30, richness=20)
    fresh, used = (found.dataset(5, depth=40, seed=seed) for _ in range(2))
    for other in range(8):
        used[epoch + 1, other]
    one, two = fresh[epoch, row], used[epoch, row]
    assert one.sample_id == two.sample_id
    assert np.array_equal(one.asvs, two.asvs) and np.array_equal(one.counts, two.counts)


def test_epochs_samples_and_seeds_draw_differently():
    counts = csr_array(np.full((2, 4), 1000))
    drawn = {
        (seed, epoch, row): tuple(dataset(counts, depth=1000, seed=seed)[epoch, row].counts)
        for seed in (0, 1)
        for epoch in (0, 1)
        for row in (0, 1)
    }
    assert len(set(drawn.values())) == len(drawn)


def test_a_plain_number_means_epoch_0():
    samples = dataset(depth=5)
    assert np.array_equal(samples[0].counts, samples[0, 0].counts)


@given(
    counts=st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any),
    depth=st.none() | st.integers(1, 60),
    limit=st.integers(1, 5),
    selection=st.sampled_from(SELECTIONS),
    epoch=st.integers(0, 1000),
)
def test_a_sample_with_reads_never_loses_all_of_them(
    counts: list[int], depth: int | None, limit: int, selection: Selection, epoch: int
):
    sample = dataset([counts], depth=depth, token_limit=limit, selection=selection)[epoch, 0]
    assert 1 <= sample.counts.size <= limit and (sample.counts > 0).all()
    assert (sample.counts <= np.array(counts)[sample.asvs]).all()
