"""FASTA: records against scikit-bio, and refusals with the line or the id."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from aam.errors import SequenceError
from aam.io import sequences
from aam.io.sequences import hash_sequences, read_sequences, sequences_of, tokenize, unpadded_rows


def test_records_equal_those_of_scikit_bio(study, tmp_path):
    import biom
    import skbio.io

    sequences = biom.load_table(study("ecam-infants") / "table.biom").ids("observation")[:200]
    path = tmp_path / "s.fasta"
    path.write_text("".join(f">asv{k} number {k}\n{s[:60]}\n{s[60:]}\n" for k, s in enumerate(sequences)))
    reference = {record.metadata["id"]: str(record) for record in skbio.io.read(str(path), format="fasta")}
    assert read_sequences(path) == reference
    assert list(reference.values()) == sequences.tolist()


def test_artifact_of_sequences(write_qza):
    path = write_qza("FeatureData[Sequence]", "dna-sequences.fasta", b">a\nAC\n>b\nGG\n")
    assert read_sequences(path) == {"a": "AC", "b": "GG"}
    path = write_qza("FeatureTable[Frequency]", "feature-table.biom", b"")
    with pytest.raises(SequenceError, match=r"is a FeatureTable\[Frequency\], expected a FeatureData\[Sequence\]"):
        read_sequences(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b">a\nAC\n>a\nGG\n", "line 3 repeats the id 'a'; ids must be unique"),
        (b">a\n>b\nGG\n", "holds 1 records without sequence, first 'a'"),
        (b">\nGG\n", "line 1 starts a record without an id"),
        (b"ACGT\n", r"line 1 is 'ACGT', expected a FASTA header \('>id'\)"),
        (b"\n\n", "holds no records"),
        (b">a\n\xe9\n", "line 2 is not UTF-8"),
        (b"\x1f\x8b\x08\0", "is a damaged gzip file"),
        (b"\x89HDF\r\n\x1a\n", "is HDF5, expected sequences: FASTA text or a QIIME 2"),
    ],
)
def test_files_that_are_no_fasta(content, words, tmp_path):
    (tmp_path / "s.fasta").write_bytes(content)
    with pytest.raises(SequenceError, match=f"s.fasta.*{words}"):
        read_sequences(tmp_path / "s.fasta")
    with pytest.raises(SequenceError, match="nothing.fasta does not exist; check the path given as --sequences"):
        read_sequences(tmp_path / "nothing.fasta")


def test_ids_without_sequence_are_counted(tmp_path):
    path = tmp_path / "s.fasta"
    path.write_text(">a\nAC\n>b\nGG\n")
    words = r"s.fasta lacks the sequences of 2 of the 4 features of t.biom \(50.0%\), first 'x'"
    with pytest.raises(SequenceError, match=words):
        sequences_of(["a", "x", "b", "y"], path, "t.biom")


def test_characters_that_are_no_dna_are_named(tmp_path):
    path = tmp_path / "s.fasta"
    path.write_text(">a\nAC-G\n>b\nG.G\n>c\nACRYU\n")
    words = "2 of 3 sequences are not DNA, first that of 'a': '-' at position 3.*remove the alignment gaps"
    with pytest.raises(SequenceError, match=words):
        sequences_of(["c", "a", "b"], path, "t.biom")
    assert sequences_of(["c"], path, "t.biom") == ["ACRYT"]


def test_ids_that_are_plain_dna_exist_once():
    ids = ["ACGT" * 30, "ACGN" * 30, "acgu"]
    found = sequences_of(ids, None, "table")
    assert found[0] is ids[0] and found[1] is ids[1] and found[2] == "ACGT"


def test_hashes_are_those_of_the_sequences_whatever_the_width_of_the_table(monkeypatch):
    monkeypatch.setattr(sequences, "ROWS_AT_ONCE", 2)
    wide, narrow = tokenize(["AC", "ACGT", "T"], 9), tokenize(["AC"], 9)
    hashes = hash_sequences(unpadded_rows(wide), 8)
    assert hashes.shape == (3, 8) and np.array_equal(hashes[:1], hash_sequences(unpadded_rows(narrow), 8))
    assert hashes[0].tobytes() == hashlib.blake2b(narrow.tobytes(), digest_size=8).digest()
    assert hash_sequences([], 16).shape == (0, 16)
