"""Texts that may be packed: by gzip, or as the payload of a QIIME 2 artifact."""

from __future__ import annotations

import gzip
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aam.errors import InputError
from aam.io.files import GZIP_SIGNATURE, MAX_RATIO, MAX_UNPACKED, check_file, is_inflated, sniff
from aam.io.qza import open_artifact, payload_of
from aam.text import one_line

ROOTED_TREE = "Phylogeny[Rooted]"
"""QIIME 2 type of the trees that are read."""
_BYTES_AT_ONCE = 1 << 20


@contextmanager
def plain_file(path: Path, option: str, artifact_type: str) -> Iterator[Path]:
    """Path of the text in a file given by `option`: itself, or a copy without gzip or .qza until the block ends.

    `artifact_type` is the type that a .qza must have; its error is raised for a file that is missing, empty or damaged.
    """
    error = payload_of(artifact_type).error
    check_file(path, option, error, packed=True)
    if sniff(path) == "zip":
        with open_artifact(path, artifact_type) as payload:
            yield payload
        return
    with path.open("rb") as handle:
        packed = handle.read(len(GZIP_SIGNATURE)) == GZIP_SIGNATURE
    if not packed:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="aam-") as folder:
        plain = Path(folder) / "plain"
        _unpack(path, plain, error)
        if sniff(plain) == "zip":
            raise error(f"{path} is a zip packed by gzip, expected text or a .qza; unpack it first (gunzip)")
        yield plain


def _unpack(path: Path, plain: Path, error: type[InputError]) -> None:
    """Unpack a gzip file; raises `error` for a damaged one and for sizes that no text has."""
    stored, unpacked = path.stat().st_size, 0
    try:
        with gzip.open(path) as source, plain.open("wb") as copy:
            while piece := source.read(_BYTES_AT_ONCE):
                unpacked += len(piece)
                if unpacked > MAX_UNPACKED or is_inflated(unpacked, stored):
                    raise error(
                        f"{path} unpacks to more than {unpacked:,} bytes from {stored:,}, at most {MAX_UNPACKED:,} and "
                        f"{MAX_RATIO} to 1 are unpacked; do not trust this file"
                    )
                copy.write(piece)
    except (gzip.BadGzipFile, zlib.error, EOFError) as fault:
        raise error(f"{path} is a damaged gzip file ({one_line(fault)}); fetch it again") from fault
    if not unpacked:
        raise error(f"{path} is an empty file (packed by gzip); write or fetch it again")
