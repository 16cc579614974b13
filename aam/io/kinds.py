"""What a file is, by its first bytes and never by its name, and the refusal of a file of another kind."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from aam.errors import InputError

HEAD = 4096
"""Bytes that tell the kind of a file."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Kind(NamedTuple):
    """What a message calls files of a kind, and what it advises where another kind is expected."""

    words: str
    advice: str


_AS_TEXT = "export it as tab-separated text"
_ELSEWHERE = "give it to the option that it is for"
KINDS = {
    "text": Kind("text", _ELSEWHERE),
    "json": Kind("JSON", _ELSEWHERE),
    "hdf5": Kind("HDF5", _ELSEWHERE),
    "npy": Kind("an array of NumPy (.npy)", _ELSEWHERE),
    "fasta": Kind("FASTA (sequences)", "give it as --sequences"),
    "newick": Kind("a tree (Newick)", "give it as --tree"),
    "zip": Kind("a zip archive", "unzip it first"),
    "gzip": Kind("packed by gzip", "unpack it first (gunzip)"),
    "bzip2": Kind("packed by bzip2", "unpack it first (bunzip2)"),
    "xz": Kind("packed by xz", "unpack it first (unxz)"),
    "zstd": Kind("packed by zstd", "unpack it first (zstd -d)"),
    "lz4": Kind("packed by lz4", "unpack it first (lz4 -d)"),
    "compress": Kind("packed by compress (.Z)", "unpack it first (uncompress)"),
    "7z": Kind("a 7-Zip archive", "unpack it first"),
    "rar": Kind("a RAR archive", "unpack it first"),
    "tar": Kind("a tar archive", "unpack it first (tar -xf) and give the file in it"),
    "office": Kind("a workbook or document of an office program (.xlsx, .ods, .xls)", _AS_TEXT),
    "rds": Kind("an object of R (.rds, .RData)", 'write it as text: write.table(x, sep = "\\t", col.names = NA)'),
    "parquet": Kind("a Parquet or Arrow file", _AS_TEXT),
    "pickle": Kind("a pickle of Python", "such files can run code and are never read: " + _AS_TEXT),
    "sqlite": Kind("an SQLite database", _AS_TEXT),
    "bam": Kind("BAM (aligned reads)", "give what was made of the reads"),
    "pdf": Kind("a PDF document", _AS_TEXT),
    "image": Kind("an image", "give the data behind it"),
    "html": Kind("a web page (HTML)", "it may be an error of a download: fetch the file itself"),
    "xml": Kind("XML, such as PhyloXML", "export it in the expected form"),
    "nexus": Kind("NEXUS", "export the tree as Newick"),
    "jplace": Kind("placements on a tree (jplace), not a tree", "graft them onto it first (`gappa examine graft`)"),
    "json text": Kind("JSON that was encoded twice, as one text", "write the object itself as JSON"),
    "fastq": Kind("FASTQ (reads with qualities)", "denoise the reads first, and give table and sequences of ASVs"),
    "pointer": Kind("a pointer of git-lfs or git-annex", "fetch its file (`git lfs pull`, `git annex get`)"),
    "utf-16": Kind("text in UTF-16 or UTF-32", "save it as UTF-8"),
    "binary": Kind("binary data", "it is damaged or of an unknown kind: write or fetch it again"),
}  # fmt: skip
"""By the name that `sniff` returns."""
LINES = ("text", "json", "fasta", "newick")
"""Kinds that are text in lines, of which a reader may say more."""
_SIGNATURES = (
    (b"\x89HDF\r\n\x1a\n", "hdf5"), (b"\x93NUMPY", "npy"), (b"PK\x03\x04", "zip"), (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"), (b"\x1f\x9d", "compress"), (b"7z\xbc\xaf\x27\x1c", "7z"), (b"Rar!\x1a", "rar"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "office"), (b"RDX2\n", "rds"), (b"RDX3\n", "rds"),
    (b"RDA2\n", "rds"), (b"RDA3\n", "rds"), (b"X\n\0\0\0", "rds"),
    (b"PAR1", "parquet"), (b"ARROW1", "parquet"), (b"FEA1", "parquet"), (b"SQLite format 3\0", "sqlite"),
    (b"\x80\x02", "pickle"), (b"\x80\x03", "pickle"), (b"\x80\x04", "pickle"), (b"\x80\x05", "pickle"),
    (b"BAM\x01", "bam"), (b"%PDF-", "pdf"), (b"\x89PNG\r\n", "image"), (b"\xff\xd8\xff", "image"), (b"GIF8", "image"),
    (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\0\0\xfe\xff", "utf-16"),
    (b"version https://git-lfs", "pointer"), (b"/annex/objects/", "pointer"),
)  # fmt: skip
_BZIP2 = re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)")
_OFFICE = re.compile(rb"\[Content_Types\]\.xml|(xl|word|docProps|_rels)/|mimetypeapplication/vnd\.oasis")
"""First entry of the zip of an office program; its name stands from byte 30 on."""
_JSON = re.compile(rb'\{|\[\s*[\[{"0-9]')
_JPLACE, _BIOM = re.compile(rb'"(placements|tree)"\s*:'), re.compile(rb'"(rows|columns|shape|format|data)"\s*:')
_TEXTS = (
    (re.compile(rb'"\s*\{\s*\\'), "json text"),
    (re.compile(rb"<(!doctype\s+html|html|head|body)", re.IGNORECASE), "html"),
    (re.compile(rb"<\?xml.*<html", re.IGNORECASE | re.DOTALL), "html"),
    (re.compile(rb"<[?!A-Za-z]"), "xml"),
    (re.compile(rb"#nexus", re.IGNORECASE), "nexus"),
    (re.compile(rb">[^\r\n]*[\r\n]+[^\t\r\n]*(?:[\r\n]|$)"), "fasta"),
    (re.compile(rb"@[^\r\n]*\r?\n[A-Za-z.*-]+(?:\r?\n\+|$)"), "fastq"),
    (re.compile(rb"(\[[^\]]*\]\s*)*\([^\t]*$"), "newick"),
)
"""Beginnings of texts, after a byte order mark and white space; the whole head is matched where it ends in `$`."""


def sniff(path: Path) -> str:
    """Kind of a file, one of `KINDS`, by its first bytes."""
    with path.open("rb") as handle:
        head = handle.read(HEAD)
    kind = next((kind for signature, kind in _SIGNATURES if head.startswith(signature)), None)
    if kind == "zip" and _OFFICE.match(head[30:]):
        return "office"
    if kind == "bzip2" and not _BZIP2.match(head):
        kind = None
    if kind == "parquet" and not any(byte < 9 for byte in head[:64]):
        kind = None  # a text that begins with these letters
    if kind is not None:
        return kind
    if head[257:262] == b"ustar":
        return "tar"
    if b"\0" in head:
        return "utf-16" if any(head[0:64:2]) != any(head[1:64:2]) else "binary"  # of ASCII each other byte is 0 there
    return _text_kind(head.removeprefix(BYTE_ORDER_MARK).lstrip())


def _text_kind(head: bytes) -> str:
    """Kind of a text by its beginning."""
    if _JSON.match(head):
        return "jplace" if _JPLACE.search(head) and not _BIOM.search(head) else "json"
    return next((kind for pattern, kind in _TEXTS if pattern.match(head)), "text")


def check_kind(
    path: Path, name: str, error: type[InputError], kinds: Collection[str], expected: str, verb: str = "is"
) -> str:
    """The kind of a file, which is one of `kinds`; raises `error`, naming the file `name`, for a file of another kind.

    `expected` is what messages say is expected; `verb` "holds" speaks of the content of a packed file.
    """
    kind = sniff(path)
    if kind not in kinds:
        words, advice = KINDS[kind]
        raise error(f"{name} {verb} {words}, expected {expected}; {advice}")
    return kind
