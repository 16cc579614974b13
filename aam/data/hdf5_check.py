"""Structural pre-flight of HDF5 files: nothing is read from a dataset before it passed.

HDF5 can point out of its file (soft and external links, external storage, virtual datasets), run plug-in filters, and
claim any size. Only datasets that are asked for by path are opened, one path component at a time, and each component
must be a hard link of this file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from aam.data.files import MAX_RATIO, MAX_UNPACKED, is_inflated
from aam.errors import InputError

FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
"""Filters that biom, h5py and ssu write; others need plug-ins or are rare enough to be untested."""


@dataclass(frozen=True)
class Source:
    """An open HDF5 file, where it lies, its name in messages, its size in bytes and the error that its faults raise."""

    file: h5py.File
    path: Path
    name: str
    size: int
    error: type[InputError]

    def fail(self, found: str) -> InputError:
        """The error to raise for something that no sound file holds."""
        return self.error(
            f"{self.name}: {found}; the file is damaged or not what it claims to be: write or fetch it again"
        )


@contextmanager
def open_hdf5(path: Path, name: str, error: type[InputError]) -> Iterator[Source]:
    """Open for reading; whatever HDF5 itself trips over inside the block becomes an `error` naming the file."""
    try:
        # No cache of chunks: nothing is read twice, and a cache costs a megabyte a dataset and a third of the time.
        with h5py.File(path, "r", rdcc_nbytes=0) as file:
            yield Source(file, path, name, path.stat().st_size, error)
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as fault:
        reason = " ".join(str(fault).split())
        raise error(f"{name} is truncated or damaged HDF5 ({reason}); write or fetch the file again") from fault


def dataset(source: Source, path: str, kinds: str, dimensions: int = 1) -> h5py.Dataset:
    """The dataset at `path`, checked: internal, stored in the file itself, known filters, expected type and rank.

    `kinds` holds numpy's dtype letters that are allowed ("iuf"); "S" stands for strings of fixed or variable length.
    """
    node: h5py.Group | h5py.Dataset = source.file["/"]
    parts = path.split("/")
    for depth, part in enumerate(parts, 1):
        here = "/".join(parts[:depth])
        links = node.id.links
        if not links.exists(part.encode()):
            raise source.error(
                f"{source.name} is HDF5 without {path!r} ({here!r} is missing); is it another kind of file?"
            )
        if links.get_info(part.encode()).type != h5py.h5l.TYPE_HARD:
            raise source.fail(f"{here!r} is a link to another place, expected data of the file itself")
        node = node[part]
        if not isinstance(node, h5py.Dataset if depth == len(parts) else h5py.Group):
            raise source.fail(f"{here!r} is not a {'dataset' if depth == len(parts) else 'group'}")
    _check_storage(source, path, node)
    kind = "S" if h5py.check_string_dtype(node.dtype) is not None else node.dtype.kind
    if kind not in kinds or node.dtype.itemsize > 8 and kind != "S":
        raise source.fail(
            f"{path!r} holds values of type {node.dtype}, expected {'text' if kinds == 'S' else 'numbers'}"
        )
    if node.shape is None or node.ndim != dimensions:
        raise source.fail(f"{path!r} has shape {node.shape}, expected {dimensions} dimension{'s' * (dimensions > 1)}")
    return node


def _check_storage(source: Source, path: str, data: h5py.Dataset) -> None:
    """Refuse data kept outside the file and filters nobody needs; two deflates in a row would square the ratio."""
    plist = data.id.get_create_plist()
    if data.is_virtual:
        raise source.fail(f"{path!r} is a virtual dataset, expected data of the file itself")
    if plist.get_external_count():
        raise source.fail(f"{path!r} keeps its data in another file (external storage)")
    filters = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
    if unknown := sorted(set(filters) - FILTERS):
        raise source.error(
            f"{source.name}: {path!r} uses HDF5 filter {unknown[0]}, expected gzip, lzf, shuffle or fletcher32; "
            "write the file again with gzip compression"
        )
    if len(set(filters)) < len(filters):
        raise source.fail(f"{path!r} uses the same HDF5 filter more than once")


def check_size(source: Source, datasets: Sequence[h5py.Dataset]) -> None:
    """Refuse datasets whose unpacked size, all together, is beyond the cap or out of proportion to what is stored."""
    unpacked = sum(max(data.size, math.prod(data.chunks or ())) * data.id.get_type().get_size() for data in datasets)
    stored = min(source.size, sum(data.id.get_storage_size() for data in datasets))
    if unpacked > MAX_UNPACKED:
        raise source.error(
            f"{source.name} claims {unpacked / 2**30:,.1f} GiB of data in a file of {source.size:,} bytes, at most "
            f"{MAX_UNPACKED >> 30} GiB are read; split the table"
        )
    if is_inflated(unpacked, stored):
        raise source.fail(f"claims {unpacked:,} bytes of data in {stored:,} stored bytes (more than {MAX_RATIO} to 1)")


def check_bounds(source: Source, group: str, indptr: NDArray[np.integer], entries: int) -> None:
    """Refuse row bounds [rows + 1] that do not rise from 0 to the number of entries."""
    if indptr[0] != 0:
        raise source.fail(f"{group}/indptr starts at {indptr[0]}, expected 0")
    if indptr[-1] != entries:
        raise source.fail(f"{group}/indptr ends at {indptr[-1]}, expected {entries} (the number of entries)")
    falls = indptr[1:] < indptr[:-1]
    if falls.any():
        raise source.fail(f"{group}/indptr falls at entry {int(falls.argmax()) + 1}, expected rising numbers")


def check_indices(source: Source, group: str, indices: NDArray[np.integer], columns: int) -> None:
    """Refuse column numbers that do not lie in [0, columns): they would make a reader leave its memory."""
    outside = (indices < 0) | (indices >= columns)
    if outside.any():
        raise source.fail(
            f"{group}/indices holds {int(np.count_nonzero(outside)):,} numbers outside 0..{columns - 1}, first "
            f"{indices[outside.argmax()]}"
        )
