"""Patterns of bad values, by planted masks and by bare counts from logs."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aam.health.stats import classify_pattern, explain_count


def mask(*shape, at):
    bad = torch.zeros(shape, dtype=torch.bool)
    bad[at] = True
    return bad


@pytest.mark.parametrize(
    ("bad", "kind", "text"),
    [
        (torch.zeros(2, 3, dtype=torch.bool), "none", "no value"),
        (torch.ones(2, 3, dtype=torch.bool), "all", "all 6 values"),
        (torch.ones((), dtype=torch.bool), "all", "the only value"),
        (mask(4, 5, at=(2, 3)), "element", "1 element at [2, 3] of [4, 5]"),
        (mask(4, 5, at=([0, 3], [1, 4])), "element", "2 elements, the first at [0, 1] of [4, 5]"),
        (mask(4, 5, at=2), "row", "1 whole row of 5: row 2 (5 of 20 values)"),
        (mask(4, 5, at=(slice(None), 1)), "feature", "feature 1 of 5 in every row (4 of 20 values)"),
        (mask(4, 3, 5, at=(1, 2)), "row", "1 whole row of 5: row 5 (5 of 60 values)"),
        (mask(4, 3, 5, at=1), "sample", "whole sample 1 of 15 (15 of 60 values)"),
        (mask(4, 3, 5, at=(slice(None), 2)), "row", "4 whole rows of 5: rows 2, 5, 8, 11 (20 of 60 values)"),
        (mask(4, 3, 5, 2, at=(slice(None), slice(None), 2)), "row", None),
        (mask(7, at=3), "element", "1 element at [3] of [7]"),
        (torch.zeros(0, 3, dtype=torch.bool), "none", "no value"),
    ],
)
def test_kinds(bad, kind, text):
    pattern = classify_pattern(bad)
    assert pattern.kind == kind
    assert text is None or pattern.text == text


def test_the_replica_of_a_log():
    assert explain_count(130_560) == "34 whole rows of 3,840"
    assert [explain_count(n, others=(130_560, 80_640, 157_440)) for n in (130_560, 80_640, 157_440)] == [
        "34 whole rows of 3,840", "21 whole rows of 3,840", "41 whole rows of 3,840",
    ]  # fmt: skip
    assert [explain_count(n, others=(166_656, 198_912)) for n in (166_656, 198_912)] == [
        "31 whole rows of 5,376", "37 whole rows of 5,376",
    ]  # fmt: skip
    assert explain_count(17) == "17 single values"
    assert explain_count(0) == "0 single values"
    assert explain_count(700, others=(1100, 1300)) == "7 whole rows of 100"  # no known width, but a common divisor


@given(st.lists(st.integers(1, 4), min_size=0, max_size=4), st.data())
def test_every_mask_is_classified(shape, data):
    total = math.prod(shape)
    bits = data.draw(st.lists(st.booleans(), min_size=total, max_size=total))
    bad = torch.tensor(bits, dtype=torch.bool).reshape(shape)
    pattern = classify_pattern(bad)
    assert (pattern.count, pattern.total) == (sum(bits), total)
    assert (pattern.kind == "none") == (sum(bits) == 0)
    assert (pattern.kind == "all") == (sum(bits) == total > 0)
