"""Numbers before nouns, and tables of text."""

from __future__ import annotations

import pytest

from aam.text import counted, python_words, table_text


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


def test_a_table_has_names_on_the_left_numbers_on_the_right_and_remarks_that_run_on():
    rows = [("UniFrac", "R²", "MAE"), ("this model", "0.95", "0.0110"), ("UPGMA", "not computed: too many ASVs"), ()]
    assert table_text(rows).split("\n") == [
        "  UniFrac       R²     MAE",
        "  this model  0.95  0.0110",
        "  UPGMA       not computed: too many ASVs",
        "",
    ]
    assert table_text([("a", "1"), ("bcd", "10")], indent=0) == "a     1\nbcd  10"
    assert table_text([]) == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("--max-minutes 3 is too few; give --tree FILE", "max_minutes=3 is too few; give tree=FILE"),
        ("--target is age, but --no-preflight is given", "target is age, but preflight=False is given"),
        ("run `aam train --freeze` again", "run `aam train --freeze` again"),
        ("a--b is no option, nor is -- alone", "a--b is no option, nor is -- alone"),
    ],
)
def test_messages_name_options_as_arguments_in_python(text: str, words: str):
    assert python_words(text) == words
