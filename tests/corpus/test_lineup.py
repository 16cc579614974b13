"""Turning, trimming and merging of ASVs: what becomes of sequences, counts and ids."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from aam.config import DataConfig, from_dict, to_dict
from aam.config.reads import ReadsRecord
from aam.corpus.equal_asvs import merge_equal_asvs, most_read, number_sequences
from aam.corpus.lineup import (
    ALL_OUTSIDE,
    OUTSIDE,
    Rules,
    compare_tables,
    line_up,
    parse_trim,
)
from aam.corpus.samples import length_of_reads, match_tree
from aam.datasets import example
from aam.errors import ConfigError
from aam.gene.layout import Window
from aam.gene.profile import reverse_complement
from aam.io.table import Table, read_table
from aam.phylogeny.tree import parse_tree

NONE, AUTO = Rules("none", "none"), Rules("auto", "auto")
MODEL = ReadsRecord(300, 300, 611, 1.0, 100, 1.0, 0.0, 611, 100)


def table_of(sequences: list[str], counts: object = None, ids: list[str] | None = None) -> Table:
    found = np.ones((1, len(sequences)), np.int64) if counts is None else np.array(counts)
    samples = [f"s{row}" for row in range(len(found))]
    return Table(csr_array(found), samples, ids or sequences, sequences, Path("t"))


@pytest.fixture(scope="module")
def reads() -> list[str]:
    """ASVs of V4 that all begin at 515F."""
    return [text for text in read_table(example().table).sequences[:90] if text.startswith("TAC")]


def test_equal_asvs_are_added_up_under_the_id_of_the_most_read():
    table = table_of(["AC", "GG", "AC", "AC"], [[1, 5, 0, 2], [0, 0, 4, 3]], ["a", "b", "c", "d"])
    found = merge_equal_asvs(table)
    assert list(found.asv_ids) == ["d", "b"] and list(found.sequences) == ["AC", "GG"]  # d has 5 reads, c 4, a 1
    assert found.counts.toarray().tolist() == [[1 + 0 + 2, 5], [4 + 3, 0]]
    assert merge_equal_asvs(found) is found


@given(st.lists(st.text("AC", min_size=1, max_size=2), min_size=1), st.data())
def test_merging_keeps_every_read(sequences: list[str], data: st.DataObject):
    reads = data.draw(st.lists(st.integers(0, 9), min_size=len(sequences), max_size=len(sequences)))
    found = merge_equal_asvs(table_of(sequences, [reads], [f"a{number}" for number in range(len(sequences))]))
    of = {text: sum(n for own, n in zip(sequences, reads, strict=True) if own == text) for text in sequences}
    assert dict(zip(found.sequences, found.counts.toarray()[0].tolist(), strict=True)) == of
    groups = number_sequences(sequences)
    best = most_read(groups, np.array(reads), [str(row) for row in range(len(reads))])
    assert all(reads[row] == max(n for n, g in zip(reads, groups, strict=True) if g == k) for k, row in enumerate(best))


def test_turned_reads_are_turned_and_turned_ones_stay(reads: list[str]):
    turned = line_up(table_of(list(map(reverse_complement, reads)), ids=reads), Rules("none", "auto"))
    assert sorted(turned.table.sequences) == sorted(reads) and turned.lineup.records[0].minus == 0
    assert turned.lineup.notes[1] == f"turned: {len(reads)} ASVs of the minus strand"
    again = line_up(turned.table, Rules("none", "auto"))
    assert again.table is turned.table and len(again.lineup.notes) == 1


def as_pairs(table: Table) -> set[tuple[str, str, int]]:
    """Id, DNA and reads in the first sample of each ASV."""
    return set(zip(table.asv_ids, table.sequences, table.counts.toarray()[0].tolist(), strict=True))


def test_nothing_is_done_where_nothing_was_asked(reads: list[str]):
    for table in (table_of(reads), table_of(["ACGT", "GGTA"]), table_of(["ACGGT" * 20, "GATTT" * 20])):
        for rules in (Rules("none", "auto"), NONE):
            assert as_pairs(line_up(table, rules).table) == as_pairs(table)
    minus = table_of(list(map(reverse_complement, reads)))
    assert as_pairs(line_up(minus, NONE).table) == as_pairs(minus)
    assert line_up(table_of(["ACGGT" * 20]), AUTO).lineup.notes == ("reads are not 16S: no columns",)
    assert line_up(table_of(["ACGT"]), AUTO).lineup.notes == ()  # too short to tell anything


def test_trimming_twice_is_trimming_once(reads: list[str]):
    rules = Rules("621:80", "auto")
    once = line_up(table_of(reads), rules)
    assert {len(text) for text in once.table.sequences} == {80}
    assert list(line_up(once.table, rules).table.sequences) == list(once.table.sequences)
    assert once.lineup.window == Window(621, 80) and once.lineup.records[0].begin == 621


def test_trimmed_reads_are_those_that_begin_there(reads: list[str]):
    """Of two laboratories, one begins ten bases later and reads five fewer: the window is that of the second."""
    other = line_up(table_of([text[10:95] for text in reads]), Rules("621:85", "auto")).table
    assert set(line_up(table_of(reads), Rules("621:85", "auto")).table.sequences) == set(other.sequences)


def test_a_table_alone_is_trimmed_to_what_its_own_reads_have_in_common(reads: list[str]):
    ragged = [text[: 100 - row % 5] for row, text in enumerate(reads)]
    found = line_up(table_of(ragged), AUTO)
    assert found.lineup.window == Window(611, 96)
    assert {len(text) for text in found.table.sequences} == {96}


def test_what_a_table_lacks_of_the_window_of_a_model_is_unknown(reads: list[str]):
    moved = table_of([text[10:80] for text in reads])
    found = line_up(moved, Rules("auto", "auto", (MODEL,), 150))
    assert set(found.table.sequences) == {"N" * 10 + text[10:80] + "N" * 20 for text in reads}
    assert any("10 bases before and 20 behind them are unknown (N)" in note for note in found.lineup.notes)


def test_a_table_unlike_its_model_is_warned_of_with_the_window_of_both(reads: list[str]):
    rules = Rules("none", "auto", (MODEL,), 100)
    assert line_up(table_of(reads), rules).lineup.doubts == ()
    (text,) = line_up(table_of([text[10:] for text in reads]), rules).lineup.doubts
    assert text.startswith(
        "reads begin at 515F + 10, 90 bases, plus strand (column 621 of the gene), but those that the model"
    )
    assert "no ASV of one is an ASV of the other; --trim auto" in text and "--trim 621:90" in text


def test_a_model_of_the_minus_strand_gets_reads_as_they_are(reads: list[str]):
    minus = table_of(list(map(reverse_complement, reads)))
    model = ReadsRecord(300, 300, 611, 1.0, 100, 1.0, 1.0, 611, 100)
    assert as_pairs(line_up(minus, Rules("none", "auto", (model,), 100)).table) == as_pairs(minus)


def test_asvs_outside_of_the_window_are_listed_and_a_window_of_nothing_is_refused(reads: list[str]):
    table = table_of([*reads, reads[0][:35]], np.eye(len(reads) + 1, dtype=int).tolist())
    found = line_up(table, Rules("621:80", "auto")).table
    assert found.dropped == {OUTSIDE: [reads[0][:35]], ALL_OUTSIDE: [f"s{len(reads)}"]}
    with pytest.raises(ConfigError, match="--trim 900:80: none of the .* ASVs of t has 30 bases there; reads begin at"):
        line_up(table, Rules("900:80", "auto"))


def test_a_tree_is_matched_by_what_the_table_was_read_with(reads: list[str]):
    """Tips are named by whole sequences, ids are hashes; of ASVs that became equal the most read one has the tip."""
    pair = [reads[0], "G" + reads[0][1:]]  # equal behind the first base
    count = len(reads) + 1
    table = table_of([*pair, *reads[1:]], [[1, 9] + [1] * (count - 2)], [f"id{number}" for number in range(count)])
    table = line_up(table, Rules("612:90", "auto")).table
    tips = [*pair, *reads[1:]]
    tree = parse_tree(f"({pair[0]}:1,({','.join(f'{tip}:1' for tip in tips[1:3])}):1);".encode(), "tree")
    found, sheared, names = match_tree(table, tree, 1.0)
    assert pair[1] in names and "id1" in found.asv_ids and sorted(sheared.tip_names) == sorted(tips[1:3])


@pytest.mark.parametrize("text", ["", "621", "621:", ":140", "a:b", "621:140:2", "0:140", "621:29", "-1:50", "Auto"])
def test_a_window_that_is_none_is_refused(text: str):
    with pytest.raises(ConfigError, match="^--trim is .*expected"):
        parse_trim(text)


def test_windows_that_are_some():
    assert parse_trim("621:140") == Window(621, 140) and parse_trim("auto") is None and parse_trim("none") is None


def test_tables_that_differ_are_told_with_their_common_window():
    later = ReadsRecord(300, 300, 621, 1.0, 233, 1.0, 0.0, 621, 233)
    assert compare_tables(["a", "b", "its"], [MODEL, MODEL, None]) == () == compare_tables([], [])
    (text,) = compare_tables(["its", "a", "b"], [None, MODEL, later])
    assert text.startswith("the reads of 1 of 2 tables differ from those of the first") and "621:90" in text
    far = ReadsRecord(300, 300, 900, 1.0, 150, 1.0, 0.0, 900, 150)
    assert "no window in common" in compare_tables(["a", "b"], [MODEL, far])[0]


def test_auto_bases_cut_one_asv_of_a_hundred():
    assert (
        length_of_reads(np.r_[np.full(99, 150), 400]) == 150
        and length_of_reads(np.r_[np.full(98, 150), 400, 400]) == 400
    )


def test_auto_is_a_word_for_a_number_that_the_data_tell():
    config = from_dict(DataConfig, {"max_bp": "auto"})
    assert (
        config.max_bp == 0 and to_dict(config)["max_bp"] == "auto" and from_dict(DataConfig, to_dict(config)) == config
    )
    with pytest.raises(ConfigError, match="--max-bp is 0, expected at least 1"):
        from_dict(DataConfig, {"max_bp": 0})
