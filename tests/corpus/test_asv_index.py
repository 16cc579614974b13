"""Sequences get columns as a dictionary would give them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aam.corpus.asv_index import AsvIndex

DNA = st.text("ACGT", min_size=1, max_size=3)


@given(st.lists(st.lists(DNA, max_size=12), max_size=4))
def test_columns_are_those_of_a_dictionary(tables: list[list[str]]):
    index, column_of = AsvIndex(), dict[str, int]()
    for sequences in tables:
        fresh = [
            place for place, text in enumerate(sequences) if text not in column_of | dict.fromkeys(sequences[:place])
        ]
        for text in sequences:
            column_of.setdefault(text, len(column_of))
        assigned = index.assign(sequences)
        assert assigned.columns.tolist() == [column_of[text] for text in sequences]
        assert assigned.new.tolist() == fresh and len(index) == len(column_of)
