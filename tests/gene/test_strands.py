"""Strand and begin of every read: those that are turned or of another region are counted to the last one."""

from __future__ import annotations

import numpy as np
import pytest

from aam.datasets import example
from aam.gene.layout import look_at
from aam.gene.profile import reverse_complement
from aam.gene.strands import find_odd, lie_of, words_of
from aam.io.table import read_table


@pytest.fixture(scope="module")
def reads() -> list[str]:
    return list(read_table(example().table).sequences)


def mixed(reads: list[str], turned: int, late: int) -> list[str]:
    """The last `turned` reads reverse complemented, and the `late` before them without their first 40 bases."""
    count = len(reads)
    plain, shifted = reads[: count - turned - late], reads[count - turned - late : count - turned]
    return [*plain, *(text[40:] for text in shifted), *map(reverse_complement, reads[count - turned :])]


def test_words_are_numbers_of_eight_bases_and_none_where_a_letter_is_no_base():
    words = words_of(["AAAAAAAAC", "CAAAAAAAN"])
    # A C G T are 0 to 3, the first base is the smallest digit to base 4: C in front is 1, C behind is 4^7
    assert words[0, :2].tolist() == [0, 4**7] and words[1, :2].tolist() == [1, -1] and (words[:, 2:] == -1).all()


@pytest.mark.parametrize(("turned", "late"), [(0, 0), (1, 0), (31, 0), (0, 31), (20, 40)])
def test_each_read_that_is_turned_or_begins_elsewhere_is_counted(reads: list[str], turned: int, late: int):
    found = lie_of(mixed(reads, turned, late))
    assert found.minus == turned and set(np.flatnonzero(found.strand < 0)) == set(range(310 - turned, 310))
    assert found.record.minus == turned / 310
    assert bool(found.strands_text()) == (turned > 0) and bool(found.regions_text()) == (late > 3)
    if late:
        assert found.regions_text().startswith(f"{late} of 310 ASVs begin elsewhere on the gene than at 515F")
    if turned:
        assert found.strands_text().startswith(f"{turned} of 310 ASVs are of the minus strand")


def test_the_order_of_the_reads_tells_nothing(reads: list[str]):
    given = mixed(reads, 20, 40)
    order = np.random.default_rng(0).permutation(len(given))
    one, other = lie_of(given), lie_of([given[row] for row in order])
    assert one.record == other.record and (one.strand[order] == other.strand).all()
    assert (one.begin[order] == other.begin).all()


def test_a_table_of_the_minus_strand_has_few_odd_reads(reads: list[str]):
    turned = list(map(reverse_complement, reads))
    assert len(find_odd(turned, look_at(turned))) < 0.05 * len(reads)
    assert lie_of(turned).minus == len(reads) and not lie_of(turned).strands_text()


def test_what_is_no_16s_is_none():
    rng = np.random.default_rng(0)
    assert lie_of(["".join(rng.choice(list("ACGT"), 100)) for _ in range(60)]) is None
