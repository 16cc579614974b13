"""QIIME 2 artifacts: the right payload comes out, and nothing lands outside the temporary folder."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from aam.errors import InputError, MatrixError, SequenceError, TableError, TreeError
from aam.io.qza import open_artifact


def refused(path: Path, expected: str, error: type[InputError], words: str) -> None:
    """Assert that opening raises `error` with `words`, in one line."""
    with pytest.raises(error, match=words) as refusal, open_artifact(path, expected):
        pass
    assert "\n" not in str(refusal.value)


CASES = [
    ("FeatureTable[Frequency]", "FeatureTable[Frequency]", "feature-table.biom", TableError),
    ("Phylogeny[Rooted]", "Phylogeny[Rooted]", "tree.nwk", TreeError),
    ("Phylogeny", "Phylogeny[Rooted]", "tree.nwk", TreeError),
    ("FeatureData[Sequence]", "FeatureData[Sequence]", "dna-sequences.fasta", SequenceError),
    ("DistanceMatrix", "DistanceMatrix % Properties('phylogenetic')", "distance-matrix.tsv", MatrixError),
]


@pytest.mark.parametrize(("expected", "kind", "file", "error"), CASES)
def test_payload_is_there_inside_the_block_and_gone_after(expected, kind, file, error, write_qza):
    with open_artifact(write_qza(f'"{kind}"', file, b"content"), expected) as payload:
        assert payload.read_bytes() == b"content" and payload.name == file
    assert not payload.parent.exists()


@pytest.mark.parametrize(("expected", "kind", "file", "error"), CASES)
def test_another_type_is_refused_by_its_name(expected, kind, file, error, write_qza):
    path = write_qza("Visualization", "index.html", b"<html>")
    refused(path, expected, error, "artifact.qza is a Visualization, expected a ")


def test_unrooted_trees_and_relative_frequencies_are_told_apart(write_qza):
    path = write_qza("Phylogeny[Unrooted]", "tree.nwk", b"(a,b);")
    refused(path, "Phylogeny[Rooted]", TreeError, r"is a Phylogeny\[Unrooted\], expected a Phylogeny\[Rooted\]")
    path = write_qza("FeatureTable[RelativeFrequency]", "feature-table.biom", b"")
    words = r"is a FeatureTable\[RelativeFrequency\], expected a FeatureTable\[Frequency\]"
    refused(path, "FeatureTable[Frequency]", TableError, words)


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../outside", "uuid/../../outside", "C:/outside", "c:outside", "uuid\\..\\outside", "\\\\host\\x"],
)
def test_entries_that_point_outside_are_refused(name, tmp_path, write_qza):
    path = write_qza("Phylogeny[Rooted]", "tree.nwk", b"(a,b);")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "x")
    refused(path, "Phylogeny", TreeError, "that points outside the archive")
    assert not (tmp_path.parent / "outside").exists()


def test_what_is_no_artifact(tmp_path, write_qza):
    path = write_qza("Phylogeny[Rooted]", "other.nwk", b"(a,b);")
    refused(path, "Phylogeny", TreeError, "is a zip without 'data/tree.nwk', not a QIIME 2 artifact of this kind")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/table.csv", "1")
    refused(path, "Phylogeny", TreeError, "is a zip without 'metadata.yaml'")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b/table.csv", "1")
    refused(path, "Phylogeny", TreeError, "a zip with 2 top folders, not a QIIME 2 artifact")


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ("just text", "metadata.yaml names no type"),
        ("uuid: 1\n", "metadata.yaml names no type"),
        ("type: [a", "metadata.yaml is not YAML"),
        ("type: !!python/object/apply:os.system [ls]", "metadata.yaml is not YAML"),
    ],
)
def test_metadata_that_cannot_be_trusted(metadata, words, tmp_path):
    path = tmp_path / "a.qza"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("u/metadata.yaml", metadata)
    refused(path, "FeatureTable", TableError, f"a.qza: {words}")


def test_damaged_and_swollen_archives(write_qza):
    path = write_qza("Phylogeny[Rooted]", "tree.nwk", b"(a,b);" * 100)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "Phylogeny", TreeError, "is a damaged or unreadable zip")
    place = whole.index(b"tree.nwk") + 20
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
    refused(path, "Phylogeny", TreeError, "is a damaged or unreadable zip")
    path = write_qza("Phylogeny[Rooted]", "tree.nwk", b"\0" * (65 << 20))
    assert path.stat().st_size < 100_000
    refused(path, "Phylogeny", TreeError, "claims 68,157,440 bytes in .* stored bytes")
