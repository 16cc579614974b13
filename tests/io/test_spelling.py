"""Names that look alike to a reader, numbers however they are written, and what a message shows of the difference."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aam.spelling import alike_strangers, look_alike, look_of, nearest, number_of, plain_number, tell_apart, whole_of

ALIKE = [
    *(("case", "case\u200b"), ("id", "\ufeffid"), ("a\u200db", "ab"), ("S1\u2060", "S1"), ("a\u00adb", "ab")),
    *(("café", "cafe\u0301"), ("Å", "A\u030a"), ("ＧＵＴ", "gut"), ("\ufb01n", "fin"), ("m²", "m2")),
    *(("yes please", "yes  please"), ("a b", "a\u00a0b"), ("a b", "a\u2009b"), ("a ", "a"), ("a\tb", "a b")),
    *(
        ("1", "1.0"),
        ("1", "01"),
        ("1", "1e0"),
        ("1.10", "1.1"),
        ("5", "５"),
        ("5", "٥"),
        ("-5", "\u22125"),
        ("0", "-0"),
    ),
    *(("gut", "Gut"), ("STRASSE", "Straße"), ("a", "\u0430"), ("CD", "\u0421D"), ("Kit", "\u039ait"), ("o", "\u03bf")),
    *(('"yes"', "yes"), ("don’t", "don't"), ("“x”", '"x"'), ("x-y", "x–y"), ("a\ufe0f", "a")),
]


@pytest.mark.parametrize(("one", "other"), ALIKE, ids=ascii)
def test_what_looks_alike(one: str, other: str):
    assert look_of(one) == look_of(other)
    assert look_alike([one, "else", other, one]) == [[one, other]]
    assert len(set(tell_apart([one, other]))) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [("gut", "skin"), ("café", "cafe"), ("1", "2"), ("1.1", "1.01"), ("S1", "S10"), ("a b", "ab"), ("x-y", "x_y"),
     ("123456789012345678901", "123456789012345678902"), ("CD", "UC"), ("+", "-")],
)  # fmt: skip
def test_what_does_not(one: str, other: str):
    assert look_of(one) != look_of(other)


def test_a_message_shows_the_characters_that_differ():
    assert tell_apart(["case", "case\u200b"]) == ["'case'", "'case\\u200b' (U+200B)"]
    assert tell_apart(["café", "cafe\u0301"]) == ["'café' (U+00E9)", "'cafe\u0301' (U+0301)"]
    assert nearest("age", ["sex", "\u0430ge"]) == "did you mean '\u0430ge' (U+0430), not 'age'?"
    assert nearest("Age", ["sex", "age"]) == nearest("agee", ["sex", "age"]) == "did you mean 'age'?"
    assert nearest("xyz", ["sex", "age"]) == ""
    assert alike_strangers(["S1", "S2", "S3"], {"s1", "S2", "x"}) == [("S1", "s1")]
    assert alike_strangers(["S1", "s1"], {"S1", "s1"}) == []


@given(st.text(max_size=30))
def test_the_look_of_a_look_is_itself_and_capitals_never_matter(text: str):
    assert look_of(look_of(text)) == look_of(text)
    assert look_of(unicodedata.normalize("NFD", text)) == look_of(unicodedata.normalize("NFC", text))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_of_python_are_numbers(number: float):
    assert number_of(repr(number)) == number


@given(st.text(max_size=12))
def test_only_ascii_makes_a_number(text: str):
    if number_of(text) == number_of(text):
        assert text.isascii() and float(text) == number_of(text) and "_" not in text
    if (whole := whole_of(text)) is not None:
        assert text.isascii() and whole == int(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("20,5", 20.5),
        ("1,000,000", 1e6),
        ("２５", 25),
        ("۱۲٫۵", 12.5),
        ("\u22125", -5),
        ("1 000", 1000),
        ("1’000", 1000),
    ],
)
def test_what_a_reader_takes_for_a_number(text: str, number: float):
    assert plain_number(text) == number and number_of(text) != number


@pytest.mark.parametrize("text", ["<18.5", "25 kg", "3a", "n.d.", "½", "2020-01-01", "1:30", "0-5", "五"])
def test_what_is_no_number_to_a_reader_either(text: str):
    assert plain_number(text) != plain_number(text)


def test_a_number_of_many_digits_is_none():
    assert whole_of("9" * 5000) is None and number_of("9" * 5000) == float("inf")
