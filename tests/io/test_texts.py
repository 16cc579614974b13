"""Strings in one array of bytes are the strings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aam.io import ids as texts
from aam.io.ids import Texts, encode_texts, pick_texts

STRINGS = st.lists(st.text(st.characters(codec="utf-8"), max_size=5), max_size=12)


def stored(strings: list[str]) -> Texts:
    data, lengths = encode_texts(strings)
    return Texts(data, np.r_[0, np.cumsum(lengths)])


@given(STRINGS, st.data())
def test_they_read_as_a_list(strings: list[str], data: st.DataObject):
    found = stored(strings)
    assert list(found) == strings and len(found) == len(strings)
    assert [found[place] for place in range(-len(strings), len(strings))] == strings + strings
    low, high = (data.draw(st.integers(-15, 15)) for _ in range(2))
    assert list(found[low:high]) == strings[low:high]
    if strings:
        places = np.array(data.draw(st.lists(st.integers(0, len(strings) - 1))), dtype=np.int64)
        assert list(found.take(places)) == pick_texts(strings, places)
        assert list(found.take(places).take(np.arange(len(places))[::-1])) == pick_texts(strings, places)[::-1]


def test_a_number_beyond_the_end_is_an_error():
    with pytest.raises(IndexError, match="string 2 of 2"):
        stored(["a", "b"])[2]


def test_more_than_a_piece(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(texts, "STRINGS_AT_ONCE", 3)
    strings = ["é" * number for number in range(10)]
    assert list(stored(strings)) == strings
