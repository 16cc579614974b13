"""What a file holds decides what is done with it, never its name: read, or refused by what it is."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import tarfile
import zipfile

import pytest

from aam.corpus.samples import read_any_tree
from aam.errors import InputError
from aam.io import files
from aam.io.ids import read_ids
from aam.io.kinds import KINDS, sniff
from aam.io.matrix import read_matrix
from aam.io.metadata import read_metadata
from aam.io.sequences import read_sequences
from aam.io.table import read_table
from aam.io.taxonomy import read_taxonomy

READERS = {
    "table": read_table,
    "sequences": read_sequences,
    "tree": read_any_tree,
    "matrix": read_matrix,
    "taxonomy": read_taxonomy,
    "metadata": read_metadata,
    "ids": read_ids,
}
TEXTS = {
    "table": b"#OTU ID\ts1\nACGT\t3\n",
    "sequences": b">a\nACGT\n",
    "tree": b"(a:1,b:2);",
    "matrix": b"\ta\tb\na\t0\t1\nb\t1\t0\n",
    "taxonomy": b"a\td__A; p__B\n",
    "metadata": b"sample-id\tsex\ns1\tf\n",
    "ids": b"s1\ns2\n",
}
"""A file that each reader reads."""


def archive_of(content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("table.tsv")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def zip_of(*names: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return packed.getvalue()


FOREIGN = {
    "tar": archive_of(TEXTS["table"]),
    "office": zip_of("[Content_Types].xml", "xl/workbook.xml"),
    "zstd": b"\x28\xb5\x2f\xfd\x04\x00\x09\x00\x00abc",
    "7z": b"7z\xbc\xaf\x27\x1c\0\4",
    "rds": b"X\n\0\0\0\3\0\4\2\0",
    "parquet": b"PAR1\x15\x04\x15\x10",
    "pickle": pickle.dumps({"a": 1}, protocol=4),
    "sqlite": b"SQLite format 3\0\x10\0",
    "pdf": b"%PDF-1.7\n%\xe2\xe3",
    "image": b"\x89PNG\r\n\x1a\n\0\0",
    "html": b"<!DOCTYPE html>\n<html><title>404 Not Found</title></html>",
    "xml": b'<?xml version="1.0"?><phyloxml xmlns="http://www.phyloxml.org"></phyloxml>',
    "nexus": b"#NEXUS\nbegin trees;\ntree t = (a:1,b:1);\nend;\n",
    "jplace": b'{"tree": "((a:1{0},b:1{1}):1{2},c:1{3}){4};", "placements": [], "version": 3}',
    "json text": b'"{\\"rows\\": []}"',
    "fastq": b"@r1 x\nACGT\n+\nIIII\n",
    "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "utf-16": "#OTU ID\ts1\n".encode("utf-16"),
    "bam": b"BAM\x01\x00\x00",
    "compress": b"\x1f\x9d\x90abc",
    "binary": b"\x01\x02\x03\x00\x05\x06\x00\x07",
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("name", READERS)
def test_what_no_reader_reads_is_refused_by_what_it_is(name, kind, tmp_path):
    path = tmp_path / "data.tsv"
    path.write_bytes(FOREIGN[kind])
    assert sniff(path) == kind
    with pytest.raises(InputError) as caught:
        READERS[name](path)
    words, advice = KINDS[kind]
    assert str(caught.value).startswith(f"{path} is {words}, expected ")
    assert str(caught.value).endswith(advice) and "\n" not in str(caught.value)


@pytest.mark.parametrize("given", ["sequences", "tree"])
@pytest.mark.parametrize("name", ["table", "matrix", "taxonomy", "ids"])
def test_files_of_other_options_are_told_by_what_they_are(name, given, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(TEXTS[given])
    with pytest.raises(InputError, match=f"file is (FASTA|a tree) .*; give it as --{given}"):
        READERS[name](path)


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".tar", ".zst", ".zip", ".qza", ".biom", ".xlsx", ".jplace"])
@pytest.mark.parametrize("name", READERS)
def test_text_is_read_whatever_its_name(name, suffix, tmp_path):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(TEXTS[name])
    READERS[name](path)


PACKERS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("name", ["table", "sequences", "tree", "matrix", "taxonomy"])
def test_packed_files_are_read_whatever_their_name(name, packer, tmp_path):
    path = tmp_path / "file.txt"
    path.write_bytes(PACKERS[packer](TEXTS[name]))
    READERS[name](path)


@pytest.mark.parametrize("packer", PACKERS)
def test_what_is_packed_is_judged_as_what_is_not(packer, tmp_path, write_biom, monkeypatch):
    monkeypatch.setattr(files, "FREE_UNPACKED", 1 << 20)
    table = write_biom()
    packed = tmp_path / "packed"
    packed.write_bytes(PACKERS[packer](table.read_bytes()))
    assert read_table(packed).counts.toarray().tolist() == read_table(table).counts.toarray().tolist()
    for content, words in {
        FOREIGN["tar"]: "a tar archive",
        FOREIGN["rds"]: "an object of R",
        PACKERS[packer](TEXTS["table"]): f"packed by {packer}",
    }.items():
        packed.write_bytes(PACKERS[packer](content))
        with pytest.raises(InputError, match=rf"packed \({packer}\) holds {words}.*; .*unpack|write it as text"):
            read_table(packed)
    packed.write_bytes(PACKERS[packer](table.read_bytes())[:-20])
    with pytest.raises(InputError, match=f"packed is a damaged {packer} file"):
        read_table(packed)
    packed.write_bytes(PACKERS[packer](bytes(1 << 22)))
    with pytest.raises(InputError, match="unpacks to more than .*do not trust this file"):
        read_table(packed)


@pytest.mark.parametrize(
    "text",
    [
        "BZh\ts1\nACGT\t3\n",
        "PAR1\ts1\nACGT\t3\n",
        "(a)\ts1\nACGT\t3\n",
        ">id\ts1\nACGT\t3\n",
        "@id\ts1\nACGT\t3\n",
        "[a\ts1\nACGT\t3\n",
    ],
)
def test_tables_whose_ids_look_like_signatures_are_tables(text, tmp_path):
    (tmp_path / "t.tsv").write_text(text)
    table = read_table(tmp_path / "t.tsv")
    assert (table.counts.toarray().tolist(), table.sample_ids, table.asv_ids) == ([[3]], ["s1"], ["ACGT"])
