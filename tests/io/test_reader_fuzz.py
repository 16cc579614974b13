"""Whatever stands in a file, a parser answers or refuses in one line that names the file; nothing else happens.

Each parser is given 2,000 sound files with some bytes changed, cut out, doubled or put in, and 100 of text, JSON and
bytes of the kinds that files of these formats are made of.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parsers import PARSERS, assert_answer_or_refusal

from aam import stored

CASES, DAMAGED = 2000, 20
"""Damaged files of each parser, and how many of them one seed makes."""
KNOWN = [
    b"#OTU ID\ta\nAC\t1\0\n", b'#OTU ID\t"a\nAC\t1\n', b"\ta\na\t0\n", b"sample-id\t#q2:types\na\t1\n",
]  # fmt: skip
"""On which a reader failed once."""
LINES = st.text("ACGT0019.-e\t\t\t\n\n#>\"'\r, \0é\x85", max_size=60)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("ACs{", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["rows", "columns", "data", "shape", "matrix_type", "id"]), inner, max_size=5)
    ),
    max_leaves=12,
)
HEADS = ["", "#OTU ID\ta\tb\n", "sample-id\ta\n", ">a\n", "(", "PK\x03\x04", "\x89HDF\r\n\x1a\n", "\x93NUMPY\x01\0"]
OTHER = st.one_of(
    st.tuples(st.sampled_from(HEADS), LINES).map(lambda parts: "".join(parts).encode("latin-1")),
    LINES.map(str.encode),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.tuples(st.sampled_from(HEADS), st.binary(max_size=60)).map(lambda parts: parts[0].encode("latin-1") + parts[1]),
)
PIECES = [
    b"",
    b"\0",
    b"\xff",
    b"-",
    b"9" * 20,
    b"\n",
    b"\t",
    b"[" * 50,
    b"nan",
    b"\x80\x00\x00\x00\x7f",
    b"{}",
    b"'",
    b'"',
]


def damage(content: bytes, draw: random.Random) -> bytes:
    """The content with 1 to 4 places changed: bytes cut out, others in their place."""
    for _ in range(draw.randint(1, 4)):
        at, gone = draw.randrange(len(content) + 1), draw.choice([0, 0, 1, 1, 4, 40])
        piece = draw.choice([*PIECES, draw.randbytes(1), content[at : at + 8] * 2])
        content = content[:at] + piece + content[at + gone :]
    return content


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[bytes]]:
    """Sound files of a parser by its name."""
    return cache(lambda name: PARSERS[name].seeds(tmp_path_factory.mktemp("seeds")))


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_answers_or_refuses_in_one_line(
    name: str, seeds: Callable[[str], list[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stored, "RETRY_SECONDS", 0.0)  # no run is being saved here, which a reader would wait for
    sound = seeds(name)

    @settings(max_examples=CASES // DAMAGED, suppress_health_check=list(HealthCheck))
    @given(other=OTHER, seed=st.integers(0, 2**64))
    def try_all(other: bytes, seed: int) -> None:
        draw = random.Random(seed)
        for content in [other, *(damage(draw.choice(sound), draw) for _ in range(DAMAGED))]:
            assert_answer_or_refusal(PARSERS[name], content, tmp_path)

    for content in [*sound, *KNOWN]:
        assert_answer_or_refusal(PARSERS[name], content, tmp_path)
    try_all()
