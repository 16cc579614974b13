"""QIIME 2 artifacts (.qza): zips of `<uuid>/metadata.yaml` and the payload in `<uuid>/data/`; no QIIME 2 needed."""

from __future__ import annotations

import errno
import lzma
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

import yaml

from aam.errors import InputError, MatrixError, MetadataError, SequenceError, TableError, TaxonomyError, TreeError
from aam.io.files import MAX_RATIO, MAX_UNPACKED, is_inflated
from aam.text import one_line, quote

MAX_METADATA = 1 << 20
"""Bytes of metadata.yaml."""
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, NotImplementedError,
           OverflowError, IndexError, UnicodeDecodeError, OSError)  # fmt: skip
"""What `zipfile` and its decompressors raise for archives that are no sound ones; found by fuzzing."""


class Payload(NamedTuple):
    """The main file of a type of artifact below `data/`, its error class, the kinds it may be of, its name in words."""

    file: str
    error: type[InputError]
    kinds: tuple[str, ...]
    words: str


PAYLOADS = {
    "FeatureTable": Payload(
        "feature-table.biom",
        TableError,
        ("hdf5", "json", "text"),
        "BIOM (HDF5 or JSON), QIIME 2 .qza, or tab-separated text with ids in the first row and column",
    ),
    "Phylogeny": Payload("tree.nwk", TreeError, ("newick", "text"), "a rooted tree: Newick text or a QIIME 2 .qza"),
    "FeatureData[Sequence]": Payload(
        "dna-sequences.fasta", SequenceError, ("fasta", "text"), "sequences: FASTA text or a QIIME 2 .qza"
    ),
    "FeatureData[Taxonomy]": Payload(
        "taxonomy.tsv",
        TaxonomyError,
        ("text",),
        "lines of an id, a tab and ranks between ';', or a QIIME 2 .qza",
    ),
    "DistanceMatrix": Payload(
        "distance-matrix.tsv", MatrixError, ("hdf5", "npy", "text"), "a distance matrix: .npy, .h5, .tsv or .qza"
    ),
    "ImmutableMetadata": Payload(
        "metadata.tsv", MetadataError, ("text",), "sample metadata: tab-separated text or a QIIME 2 .qza"
    ),
}
"""By prefix of the artifact's type."""


def payload_of(expected_type_prefix: str) -> Payload:
    """The payload of the artifacts whose type begins so."""
    return next(payload for prefix, payload in PAYLOADS.items() if expected_type_prefix.startswith(prefix))


@contextmanager
def open_artifact(path: Path, expected_type_prefix: str) -> Iterator[Path]:
    """Path of the payload of an artifact, extracted to a temporary folder until the block ends.

    `expected_type_prefix` is one of `PAYLOADS` or longer, e.g. "FeatureTable[Frequency]", "Phylogeny". Raises the error
    of that type for a file that is no artifact, for an artifact of another type (naming it) and for one whose entries
    point outside of it or unpack to implausible sizes.
    """
    payload = payload_of(expected_type_prefix)
    with tempfile.TemporaryDirectory(prefix="aam-") as folder:
        target = Path(folder) / payload.file
        try:
            with zipfile.ZipFile(path) as archive:
                root = _root(archive, path, payload.error)
                found = _type(archive, root, path, payload.error)
                if not found.startswith(expected_type_prefix):
                    raise payload.error(
                        f"{path} is a {found}, expected a {expected_type_prefix}; give the right artifact"
                    )
                entry = _entry(archive, f"{root}/data/{payload.file}", path, payload.error, MAX_UNPACKED)
                with archive.open(entry) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy, 1 << 20)
        except DAMAGED as fault:
            if isinstance(fault, OSError) and fault.errno not in (None, errno.EINVAL):
                raise  # of the machine; a place before the file is EINVAL, a broken bzip2 stream has no number
            reason = one_line(fault)
            raise payload.error(f"{path} is a damaged or unreadable zip ({reason}); fetch the .qza again") from fault
        yield target


def _root(archive: zipfile.ZipFile, path: Path, error: type[InputError]) -> str:
    """Name of the one folder all entries live in; entry names must be harmless under POSIX and Windows rules."""
    roots: set[str] = set()
    for name in archive.namelist():
        parts = PurePosixPath(name).parts
        if name.startswith("/") or PureWindowsPath(name).drive or "\\" in name or ".." in parts or "\0" in name:
            raise error(f"{path} holds the entry {quote(name)} that points outside the archive; do not trust this file")
        roots.update(parts[:1])
    if len(roots) != 1:
        raise error(
            f"{path} is a zip with {len(roots)} top folders, not a QIIME 2 artifact (expected one); "
            "give a .qza, or unzip it and give the plain file"
        )
    return roots.pop()


def _entry(archive: zipfile.ZipFile, name: str, path: Path, error: type[InputError], limit: int) -> zipfile.ZipInfo:
    """An entry that exists and unpacks to a size within `limit` bytes and in proportion to what is stored."""
    if name not in archive.namelist():
        inner = name.partition("/")[2]
        raise error(
            f"{path} is a zip without {inner!r}, not a QIIME 2 artifact of this kind; give a .qza or the plain file"
        )
    entry = archive.getinfo(name)
    stored = min(entry.compress_size, path.stat().st_size)
    if entry.file_size > limit or is_inflated(entry.file_size, stored):
        raise error(
            f"{path}: entry {quote(name)} claims {entry.file_size:,} bytes in {stored:,} stored bytes, at most "
            f"{limit:,} and {MAX_RATIO} to 1 are unpacked; do not trust this file"
        )
    return entry


def _type(archive: zipfile.ZipFile, root: str, path: Path, error: type[InputError]) -> str:
    """The artifact's type, e.g. "FeatureTable[Frequency]", of its metadata.yaml."""
    entry = _entry(archive, f"{root}/metadata.yaml", path, error, MAX_METADATA)
    try:
        metadata = yaml.safe_load(archive.read(entry))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as fault:
        raise error(f"{path}: metadata.yaml is not YAML ({one_line(fault)}); fetch the .qza again") from fault
    if not isinstance(metadata, dict) or not isinstance(metadata.get("type"), str):
        raise error(f"{path}: metadata.yaml names no type; fetch the .qza again")
    return one_line(metadata["type"])
