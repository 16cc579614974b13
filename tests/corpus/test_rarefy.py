"""Rarefaction: properties of every draw, the distribution of many, and seeds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from aam.config import DataConfig
from aam.corpus.rarefy import AUTO_DEPTH, AUTO_LOSS, choose_depth, rarefy, sample_rng
from aam.errors import ConfigError, TableError

COUNTS = hnp.arrays(np.int64, st.integers(1, 30), elements=st.integers(0, 1000)).filter(lambda c: c.sum() > 0)


@given(COUNTS, st.floats(0, 1), st.integers(0, 2**32))
def test_every_draw_has_the_depth_and_takes_no_more_than_there_is(counts, part, seed):
    depth = max(1, int(part * counts.sum()))
    drawn = rarefy(counts, depth, sample_rng(seed, 0, "s"))
    assert drawn.dtype == np.int64 and drawn.shape == counts.shape
    assert drawn.sum() == depth
    assert (drawn >= 0).all() and (drawn <= counts).all()


@given(COUNTS, st.integers(0, 2**63), st.integers(0, 10**6), st.text(max_size=9))
def test_the_same_seed_epoch_and_sample_draw_the_same(counts, seed, epoch, sample):
    depth = int(counts.sum() + 1) // 2
    first, second = (rarefy(counts, depth, sample_rng(seed, epoch, sample)) for _ in range(2))
    assert first.tolist() == second.tolist()


def test_all_reads_are_the_sample_itself():
    counts = np.array([3, 0, 7, 1])
    assert rarefy(counts, 11, sample_rng(0, 0, "s")).tolist() == [3, 0, 7, 1]
    with pytest.raises(ValueError, match="sum"):
        rarefy(counts, 12, sample_rng(0, 0, "s"))


def test_seed_epoch_and_sample_each_give_another_stream():
    streams = {
        key: tuple(sample_rng(*key).integers(0, 2**62, 4).tolist())
        for key in [(0, 0, "a"), (1, 0, "a"), (0, 1, "a"), (0, 0, "b"), (0, 1, "b"), (1, 1, "a"), (2**64 + 1, 0, "a")]
    }
    assert len(set(streams.values())) == len(streams)


def test_mean_and_variance_are_hypergeometric():
    counts = np.array([60, 30, 9, 1, 0])
    depth, total, draws = 20, 100, 4_000
    drawn = np.array([rarefy(counts, depth, sample_rng(5, epoch, "s3")) for epoch in range(draws)])
    share = counts / total
    # K of N reads are of this ASV, n are drawn: mean n K/N, variance n K/N (1 - K/N) (N - n)/(N - 1)
    mean = depth * share
    variance = depth * share * (1 - share) * (total - depth) / (total - 1)
    standard_error = np.sqrt(variance / draws)
    assert (np.abs(drawn.mean(axis=0) - mean) <= 5 * standard_error).all()
    assert drawn.var(axis=0) == pytest.approx(variance, rel=0.1)


def test_a_draw_takes_the_same_reads_whatever_was_drawn_before():
    """Streams are functions, so the order in which workers ask does not matter."""
    counts = np.arange(1, 50)
    forward = [rarefy(counts, 100, sample_rng(0, 2, str(s))).tolist() for s in range(5)]
    backward = [rarefy(counts, 100, sample_rng(0, 2, str(s))).tolist() for s in reversed(range(5))]
    assert forward == backward[::-1] and forward[0] != forward[1]


@pytest.mark.parametrize(
    ("depths", "setting", "expected"),
    [
        (np.arange(1, 11), "auto", 2),  # ten samples: one may go, and depth 2 keeps nine
        (np.arange(1, 10), "auto", 1),  # nine samples: none may go
        (np.arange(1, 21) * 100, "auto", 300),  # twenty: two may go
        (np.full(30, 10**6), "auto", 5000),
        (np.array([7]), "auto", 7),
        (np.array([7, 9]), "none", None),
        (np.array([7, 9]), "8", 8),
        (np.array([7, 9]), "9", 9),
    ],
)
def test_choice_of_depth(depths, setting, expected):
    assert choose_depth(depths, setting) == expected


@given(hnp.arrays(np.int64, st.integers(1, 200), elements=st.integers(1, 20_000)))
def test_auto_keeps_nine_of_ten_and_no_larger_depth_would(depths):
    depth = choose_depth(depths, "auto")
    assert 10 * (depths >= depth).sum() >= 9 * len(depths)
    assert depth == 5000 or 10 * (depths >= depth + 1).sum() < 9 * len(depths)


@pytest.mark.parametrize("setting", ["0", "-5", "1.5", "many", "", "1e3"])
def test_settings_that_are_none(setting):
    with pytest.raises(ConfigError, match="--rarefy-depth is .*, expected a whole number >= 1, 'auto' or 'none'"):
        choose_depth(np.array([7, 9]), setting)


def test_a_depth_that_drops_every_sample():
    words = "drawing 10,000 reads of each drops all 2 samples, the deepest has 9,000; give a smaller --rarefy-depth"
    with pytest.raises(TableError, match=words):
        choose_depth(np.array([7, 9000]), "10000")


def test_the_help_line_says_what_auto_does():
    (option,) = [field for field in dataclasses.fields(DataConfig) if field.name == "rarefy_depth"]
    assert f"at most {AUTO_DEPTH}" in option.metadata["help"]
    assert f"{100 - 100 // AUTO_LOSS} %" in option.metadata["help"]
