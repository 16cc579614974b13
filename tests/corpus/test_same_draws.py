"""A draw of a sample depends on seed, epoch, id, depth and its counts by DNA, and on nothing else of a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from aam.config import Selection
from aam.corpus.dataset import ASVDataset, Draw
from aam.corpus.equal_asvs import merge_equal_asvs, order_asvs, order_by_id
from aam.corpus.rarefy import rarefy_table
from aam.corpus.token_limit import limit_text
from aam.io.sequences import tokenize
from aam.io.table import Table

DNA = st.text("ACGT", min_size=4, max_size=6)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Counts of up to six samples, all with reads."""
    sequences = draw(st.lists(DNA, min_size=2, max_size=9, unique=True))
    ids = draw(st.lists(st.text("abc1é", min_size=1, max_size=3), min_size=1, max_size=6, unique=True))
    row = st.lists(st.integers(0, 30), min_size=len(sequences), max_size=len(sequences)).filter(any)
    return table_of([draw(row) for _ in ids], ids, sequences)


def table_of(counts: list[list[int]], ids: list[str], sequences: list[str], names: list[str] | None = None) -> Table:
    return Table(sparse.csr_array(np.array(counts, np.int64)), ids, names or sequences, sequences, Path("t"))


def drawn(table: Table, depth: int, limit: int | None, selection: Selection) -> dict[str, dict[str, int]]:
    """What epoch 3 draws of each sample, by DNA."""
    table = order_asvs(merge_equal_asvs(table))
    samples = ASVDataset(
        table.counts, tokenize(table.sequences, 9), table.sample_ids, Draw(depth, limit, selection, seed=5)
    )
    found = [samples[3, row] for row in range(len(samples))]
    return {
        one.sample_id: {table.sequences[a]: int(n) for a, n in zip(one.asvs, one.counts, strict=True)} for one in found
    }


@given(tables(), st.data(), st.integers(1, 40), st.sampled_from([None, 1, 3]), st.sampled_from(Selection.__args__))
def test_order_company_and_ids_change_no_draw(
    table: Table, data: st.DataObject, depth: int, limit: int | None, selection: Selection
):
    whole = drawn(table, depth, limit, selection)
    rows = np.array(data.draw(st.permutations(range(len(table.sample_ids)))))
    columns = np.array(data.draw(st.permutations(range(len(table.asv_ids)))))
    kept = rows[: data.draw(st.integers(1, len(rows)))]
    other = table.select(samples=kept, asvs=columns).drop_absent_asvs()
    assert drawn(other, depth, limit, selection) == {
        table.sample_ids[row]: whole[table.sample_ids[row]] for row in kept
    }


@given(tables(), st.data(), st.integers(1, 40))
def test_one_asv_under_two_ids_is_one(table: Table, data: st.DataObject, depth: int):
    counts = table.counts.toarray()
    first = np.array([data.draw(st.integers(0, int(reads))) for reads in counts[:, 0]])
    parts = np.c_[first, counts[:, 1:], counts[:, 0] - first]
    names = [f"x{place}" for place in range(parts.shape[1])]
    twice = table_of(parts.tolist(), list(table.sample_ids), [*table.sequences, table.sequences[0]], names)
    assert drawn(twice, depth, 2, "abundance") == drawn(table, depth, 2, "abundance")


@given(tables(), st.integers(1, 40))
def test_a_rarefied_table_has_what_the_first_epoch_draws(table: Table, depth: int):
    table = order_asvs(table)
    deep = table.select(samples=np.flatnonzero(table.depths() >= depth))
    if not len(deep.sample_ids):
        return
    samples = ASVDataset(deep.counts, tokenize(deep.sequences, 9), deep.sample_ids, Draw(depth, None, "abundance", 7))
    whole = rarefy_table(deep.counts, deep.sample_ids, depth, seed=7).toarray()
    for row in range(len(samples)):
        assert whole[row, samples[row].asvs].tolist() == samples[row].counts.tolist() and whole[row].sum() == depth


def test_ties_at_the_token_limit_are_broken_by_the_dna():
    """Four ASVs of one read each, of which two are kept: the same two in any order of the columns."""
    sequences = ["AAAA", "CCCC", "GGGG", "TTTT"]
    found = set()
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        table = table_of([[1, 1, 1, 1]], ["s"], [sequences[place] for place in order])
        found.add(frozenset(drawn(table, 9, 2, "abundance")["s"]))
    assert len(found) == 1 and len(next(iter(found))) == 2


def test_the_order_of_ids_is_that_of_their_characters():
    table = table_of([[1], [1], [1]], ["s10", "s9", "a"], ["ACGT"])
    assert order_by_id(table).tolist() == [2, 0, 1]


def test_what_the_token_limit_cuts_is_counted():
    """a: 5, 3, 2 reads of three ASVs, of which two are read; b: two ASVs; c: 6, 1, 1, 1, of which 6 and 1 are read."""
    counts = [[5, 3, 2, 0], [0, 4, 4, 0], [6, 1, 1, 1]]
    table = table_of(counts, ["a", "b", "c"], ["AAAA", "CCCC", "GGGG", "TTTT"])
    tokens = tokenize(table.sequences, 9)
    text = limit_text(ASVDataset(table.counts, tokens, table.sample_ids, Draw(None, 2, "abundance", 0)))
    # 1 + 2 ASVs with 2 + 2 reads of 10 + 9
    assert text == (
        "2 samples of 3 have more than 2 ASVs; 3 of their ASVs (the least abundant of each) with 4 reads, "
        "21.1% of theirs, are not read; --token-limit 4 reads all"
    )
    assert limit_text(ASVDataset(table.counts, tokens, table.sample_ids, Draw(None, 4, "abundance", 0))) == ""
    # 2 reads of each: no more than two ASVs are left
    assert limit_text(ASVDataset(table.counts, tokens, table.sample_ids, Draw(2, 2, "abundance", 0))) == ""
