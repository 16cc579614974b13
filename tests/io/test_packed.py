"""Texts that are packed by gzip or in an artifact read as the plain ones; damaged ones are refused in one line."""

from __future__ import annotations

import gzip

import pytest

from aam.errors import TreeError
from aam.io.packed import ROOTED_TREE, plain_file

TREE = b"(a:1,b:1);"


def test_plain_gzip_and_artifact_are_one_text(tmp_path, write_qza):
    (tmp_path / "plain.nwk").write_bytes(TREE)
    (tmp_path / "packed").write_bytes(gzip.compress(TREE))  # whatever its name
    for path in (tmp_path / "plain.nwk", tmp_path / "packed", write_qza(ROOTED_TREE, "tree.nwk", TREE)):
        with plain_file(path, "--tree", ROOTED_TREE) as plain:
            assert plain.read_bytes() == TREE
        assert plain.exists() == (path == plain), "copies are removed"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(TREE)[:-9], "is a damaged gzip file .*; fetch it again"),
        (b"\x1f\x8b\x08rest of nothing", "is a damaged gzip file"),
        (gzip.compress(b""), "is an empty file .packed by gzip."),
        (gzip.compress(b"PK\x03\x04"), ".gzip. holds a zip archive, expected a rooted tree.*; unzip it first"),
        (gzip.compress(bytes(1 << 27)), "unpacks to more than .* bytes .*do not trust this file"),
        (b"", "is an empty file"),
    ],
    ids=["cut", "damaged", "nothing packed", "zip packed", "bomb", "empty"],  # packed bytes hold the time
)
def test_what_is_refused(content, words, tmp_path):
    (tmp_path / "t.nwk.gz").write_bytes(content)
    with (
        pytest.raises(TreeError, match=f"t.nwk.gz {words}") as caught,
        plain_file(tmp_path / "t.nwk.gz", "--tree", ROOTED_TREE),
    ):
        pass
    assert "\n" not in str(caught.value)
