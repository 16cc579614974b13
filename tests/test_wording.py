"""Numbers before nouns."""

from __future__ import annotations

import pytest

from aam.text import counted


@pytest.mark.parametrize(
    ("count", "things", "text"),
    [
        (0, "samples", "0 samples"),
        (1, "samples without reads", "1 sample without reads"),
        (2, "samples without reads", "2 samples without reads"),
        (1, "ASVs absent from the tree", "1 ASV absent from the tree"),
        (1, "studies", "1 study"),
        (12345, "models", "12,345 models"),
    ],
)
def test_one_of_many_things_is_one_thing(count: int, things: str, text: str):
    assert counted(count, things) == text
