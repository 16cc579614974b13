"""How the reads of a table lie, told from real ASVs of V4 that are moved, turned and cut here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aam.config.reads import ReadsRecord
from aam.datasets import example
from aam.gene.layout import (
    Window,
    common_window,
    layout_text,
    same_layout,
    skipped_bases,
    summarise_reads,
)
from aam.gene.profile import gene_profile, reverse_complement
from aam.gene.reads import some_of
from aam.io.table import read_table

V4 = gene_profile().window(580, 800)
RECORD = ReadsRecord(300, 300, 611, 1.0, 150, 1.0, 0.0, 611, 150)


@pytest.fixture(scope="module")
def reads() -> list[str]:
    """ASVs of the example that begin at 515F."""
    some = list(read_table(example().table).sequences)[:80]
    return [text for text, begin in zip(some, skipped_bases(V4, some, 1).begin, strict=True) if begin == 611]


@pytest.mark.parametrize("moved", [0, 1, 10, 25])
def test_reads_begin_where_they_were_cut(reads: list[str], moved: int):
    found = summarise_reads([text[moved:] for text in reads])
    assert found is not None
    assert (found.begin, found.bases, found.minus) == (611 + moved, 100 - moved, 0.0)
    assert found.begins > 0.9 and found.alike == 1.0 and found.found == found.asvs == len(reads)


def test_turned_reads_lie_on_the_same_columns(reads: list[str]):
    plain = summarise_reads(reads)
    assert plain is not None
    assert summarise_reads(list(map(reverse_complement, reads))) == replace(plain, minus=1.0)
    mixed = summarise_reads([reverse_complement(text) if row % 4 == 0 else text for row, text in enumerate(reads)])
    assert mixed is not None and mixed.minus == pytest.approx(0.25, abs=0.02)
    assert layout_text(mixed).split(" (")[0] == f"reads begin at 515F, 100 bases, both strands, {mixed.minus:.0%} minus"


def test_what_is_no_16s_has_no_columns():
    rng = np.random.default_rng(0)
    random = ["".join(rng.choice(list("ACGT"), 120)) for _ in range(40)]
    assert summarise_reads(random) is None and summarise_reads(["ACGT", "A"]) is None and summarise_reads([]) is None
    assert summarise_reads(["A" * 60_000]) is None  # without aligning it
    assert layout_text(None) == "reads are not 16S: no columns"


def test_bases_before_a_column_are_those_that_were_put_there(reads: list[str]):
    """A read that lost its first 7 bases has 7 fewer before column 630, and begins 7 later."""
    whole, cut = (skipped_bases(V4, [text[by:] for text in reads], 630) for by in (0, 7))
    assert np.array_equal(whole.bases - 7, cut.bases) and np.array_equal(whole.begin + 7, cut.begin)
    assert (skipped_bases(V4, reads, 611).bases == 0).all()
    assert (skipped_bases(V4, reads, 1500).bases == 100).all()  # all of them


def test_a_first_base_that_fits_nowhere_still_stands_before_the_second(reads: list[str]):
    """Reads of 515F begin with TACG: any other first bases are errors, and the read begins there all the same."""
    wrong = ["CC" + text[2:] for text in reads]
    found = skipped_bases(V4, wrong, 612)
    assert (found.begin == 611).mean() > 0.9 and (found.bases[found.begin == 611] == 1).all()


def test_the_common_window_by_hand():
    later = replace(RECORD, begin=621, start=621, bases=233, length=233)
    short = replace(RECORD, bases=100, length=100)
    assert common_window([RECORD, later]) == Window(621, 140)  # 150 bases less the 10 before 621
    assert common_window([RECORD, later, short]) == Window(621, 90) and str(Window(621, 90)) == "621:90"
    assert common_window([RECORD]) == Window(611, 150)


def test_layouts_are_alike_if_their_asvs_can_be():
    later, turned, short = replace(RECORD, begin=612), replace(RECORD, minus=1.0), replace(RECORD, bases=149)
    assert same_layout(RECORD, replace(RECORD, begins=0.9))
    assert not any(same_layout(RECORD, other) for other in (later, turned, short))
    assert same_layout(RECORD, replace(RECORD, bases=250), 150) and not same_layout(RECORD, short, 150)
    merged, other = replace(RECORD, bases=253, alike=0.8), replace(RECORD, bases=252, alike=0.7)
    assert same_layout(merged, other)  # lengths vary by themselves
    assert not same_layout(merged, replace(other, bases=200))


def test_layouts_in_words():
    text = layout_text(replace(RECORD, begin=621, begins=0.7, found=290))
    assert text == (
        "reads begin at 515F + 10, 150 bases, plus strand (column 621 of the gene; 30% begin elsewhere; 10 of 300 ASVs "
        "looked at are no 16S)"
    )
    assert "about 253 bases, minus strand" in layout_text(replace(RECORD, bases=253, alike=0.6, minus=1.0))


def test_some_reads_are_the_same_in_whatever_order_they_come():
    texts = [f"ACGT{number}" for number in range(1000)]
    some = some_of(texts, 300)
    assert len(some) == 300 and some_of(texts[::-1], 300) == some and some_of(texts[:3], 300) == texts[:3]
    assert set(some_of(texts[:500], 300)) >= set(some) & set(texts[:500])  # of a part, those that the whole has too
