"""Files that may be packed: by gzip, bzip2 or xz, or as the payload of a QIIME 2 artifact."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedIOBase
from pathlib import Path

from aam.errors import InputError
from aam.io.files import MAX_RATIO, MAX_UNPACKED, check_file, is_inflated
from aam.io.kinds import check_kind, sniff
from aam.io.qza import open_artifact, payload_of
from aam.text import one_line

ROOTED_TREE = "Phylogeny[Rooted]"
"""QIIME 2 type of the trees that are read."""
UNPACKERS: dict[str, Callable[[Path], BufferedIOBase]] = {
    "gzip": gzip.GzipFile, "bzip2": bz2.BZ2File, "xz": lzma.LZMAFile,
}  # fmt: skip
"""By the kind of the packed file."""
_BYTES_AT_ONCE = 1 << 20


@contextmanager
def plain_file(path: Path, option: str, artifact_type: str) -> Iterator[Path]:
    """Path of the content of a file given by `option`: itself, or an unpacked copy until the block ends.

    `artifact_type` is the type that a .qza must have; its error is raised for a file that is missing, empty, damaged,
    or of a kind that is not among those of its payload.
    """
    payload = payload_of(artifact_type)
    check_file(path, option, payload.error)
    kind, verb, plain = sniff(path), "is", path
    with ExitStack() as stack:
        if kind in UNPACKERS:
            plain = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aam-"))) / "plain"
            _unpack(path, plain, kind, payload.error)
            verb = f"({kind}) holds"
        elif kind == "zip":
            plain, verb = stack.enter_context(open_artifact(path, artifact_type)), "holds"
        check_kind(plain, str(path), payload.error, payload.kinds, payload.words, verb)
        yield plain


def _unpack(path: Path, plain: Path, kind: str, error: type[InputError]) -> None:
    """Unpack a file of a kind of `UNPACKERS`; raises `error` for a damaged one and for sizes that no text has."""
    stored, unpacked = path.stat().st_size, 0
    try:
        with UNPACKERS[kind](path) as source, plain.open("wb") as copy:
            while piece := source.read(_BYTES_AT_ONCE):
                unpacked += len(piece)
                if unpacked > MAX_UNPACKED or is_inflated(unpacked, stored):
                    raise error(
                        f"{path} unpacks to more than {unpacked:,} bytes from {stored:,}, at most {MAX_UNPACKED:,} and "
                        f"{MAX_RATIO} to 1 are unpacked; do not trust this file"
                    )
                copy.write(piece)
    except (OSError, zlib.error, lzma.LZMAError, EOFError) as fault:
        if isinstance(fault, OSError) and fault.errno is not None:  # of the machine, not of the content
            raise
        raise error(f"{path} is a damaged {kind} file ({one_line(fault)}); fetch it again") from fault
    if not unpacked:
        raise error(f"{path} is an empty file (packed by {kind}); write or fetch it again")
