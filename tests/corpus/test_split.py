"""Splits: complete, disjoint, seeded, whole groups, and files that fit the table."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aam.config import DataConfig
from aam.corpus import split as module
from aam.corpus.split import Split
from aam.errors import ConfigError, MetadataError
from aam.io.ids import read_ids

IDS = [f"s{k}" for k in range(10)]


def split_samples(ids: list[str], *asked: Any, **more: Any) -> Split:
    """The ids of both sides."""
    return module.split_samples(ids, *asked, **more).ids(ids)


@given(st.integers(4, 60), st.floats(0.01, 0.9), st.integers(0, 2**31))
def test_a_random_split_is_complete_disjoint_and_in_table_order(samples, fraction, seed):
    ids = [f"s{k}" for k in range(samples)]
    split = split_samples(ids, DataConfig(validation_fraction=fraction), seed)
    assert [s for s in ids if s in split.train] == split.train
    assert [s for s in ids if s in split.validation] == split.validation
    assert sorted(split.train + split.validation) == sorted(ids)
    wanted = round(fraction * samples)
    assert len(split.validation) == min(max(wanted, 2), samples - 2)


@given(st.lists(st.integers(0, 12), min_size=8, max_size=60), st.integers(0, 1000))
def test_groups_stay_whole(numbers, seed):
    ids = [f"s{k}" for k in range(len(numbers))]
    groups = {sample: f"g{number}" for sample, number in zip(ids, numbers, strict=True)}
    assume(max(Counter(numbers).values()) <= len(numbers) - 4)  # one group that is nearly all cannot be split off
    split = split_samples(ids, DataConfig(group_column="subject"), seed, groups)
    assert not {groups[s] for s in split.train} & {groups[s] for s in split.validation}
    assert len(split.train) >= 2 and len(split.validation) >= 2


def test_one_group_that_is_all_cannot_be_split():
    with pytest.raises(ConfigError, match="subject: all 10 samples are of one group, 'x'"):
        split_samples(IDS, DataConfig(group_column="subject"), 0, dict.fromkeys(IDS, "x"))


def test_the_fraction_counts_groups():
    # ten groups of three: a fraction of 0.2 holds out two groups, six samples
    ids = [f"s{k}" for k in range(30)]
    split = split_samples(ids, DataConfig(group_column="g"), 0, {s: str(k // 3) for k, s in enumerate(ids)})
    assert len(split.validation) == 6


def test_seed_decides_and_order_does_not():
    config = DataConfig(validation_fraction=0.3)
    split = split_samples(IDS, config, 0)
    assert split == split_samples(IDS, config, 0)
    assert any(split_samples(IDS, config, seed) != split for seed in range(1, 5))
    assert set(split_samples(IDS[::-1], config, 0).validation) == set(split.validation)


def test_a_given_file_decides(tmp_path):
    path = tmp_path / "held-out.txt"
    path.write_text("\ufeffs7\r\n\n s2 \n", encoding="utf-8")
    split = split_samples(IDS, DataConfig(validation_samples=path), 0)
    assert split.validation == ["s2", "s7"]
    assert split.train == [s for s in IDS if s not in ("s2", "s7")]


def test_a_file_may_name_samples_that_were_dropped_but_not_unknown_ones(tmp_path):
    path = tmp_path / "held-out.txt"
    path.write_text("s7\ns2\nshallow\n")
    config = DataConfig(validation_samples=path)
    assert split_samples(IDS, config, 0, dropped=["shallow"]).validation == ["s2", "s7"]
    with pytest.raises(ConfigError, match="held-out.txt: 1 of 3 ids are not samples of the table, first 'shallow'"):
        split_samples(IDS, config, 0)


def test_a_file_that_cuts_through_a_group(tmp_path):
    path = tmp_path / "held-out.txt"
    path.write_text("s0\ns1\n")
    groups = {s: f"subject {k % 5}" for k, s in enumerate(IDS)}
    words = "puts 2 groups of column 'subject' on both sides, first 'subject 0'; list all samples of a group"
    config = DataConfig(validation_samples=path, group_column="subject")
    with pytest.raises(ConfigError, match=words):
        split_samples(IDS, config, 0, groups)
    path.write_text("s0\ns5\n")
    assert split_samples(IDS, config, 0, groups).validation == ["s0", "s5"]


def test_samples_without_a_group_are_refused():
    groups = dict.fromkeys(IDS[:7], "x") | {"s7": ""}
    words = "metadata column 'subject' has no value for 3 of 10 samples, first 's7'"
    with pytest.raises(MetadataError, match=words):
        split_samples(IDS, DataConfig(group_column="subject"), 0, groups)


@pytest.mark.parametrize("samples", [0, 1, 2, 3])
def test_fewer_than_four_samples_cannot_be_split(samples):
    with pytest.raises(ConfigError, match=f"side of the split has . of {samples} samples, expected at least 2"):
        split_samples(IDS[:samples], DataConfig(), 0)


def test_a_file_that_leaves_a_side_empty(tmp_path):
    path = tmp_path / "held-out.txt"
    path.write_text("\n".join(IDS))
    with pytest.raises(ConfigError, match="the train side of the split has 0 of 10 samples"):
        split_samples(IDS, DataConfig(validation_samples=path), 0)
    path.write_text("s1\n")
    with pytest.raises(ConfigError, match="the validation side of the split has 1 of 10 samples"):
        split_samples(IDS, DataConfig(validation_samples=path), 0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\n \n", "holds no ids; expected one id a line"),
        (b"a\nb\na\n", "1 id found more than once, first 'a'"),
        (b"a\n\xff\n", "line 2 is not UTF-8"),
        (b"", "is an empty file"),
        (b"sample-id\tage\na\t6\n", "has 2 columns, expected one id a line"),
        (b"a\x07\n", r"holds the control character '\\x07'"),
    ],
)
def test_files_of_ids_that_are_refused(content, words, tmp_path):
    (tmp_path / "ids.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        read_ids(tmp_path / "ids.txt")
    with pytest.raises(ConfigError, match="none.txt does not exist; check the path given as --validation-samples"):
        read_ids(tmp_path / "none.txt")
