"""HDF5 files, checked before they are read, and their text without HDF5's own handling of variable-length strings.

A dataset of such strings holds references into heaps elsewhere in the file. With one wrong byte in them, libhdf5 2.0
allocates up to 4 GiB for one string or never returns; an index out of range crashes the process. Therefore references
and heaps are first read as plain bytes and compared with the size of the file.
Layout: HDF5 File Format Specification 3.0, section III.E (global heap, global heap ID).
"""

from __future__ import annotations

import errno
import math
import mmap
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from aam.errors import InputError
from aam.io.files import MAX_RATIO, MAX_UNPACKED, is_inflated
from aam.text import one_line, quote

FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_LZF}
"""Filters that biom, h5py and ssu write; others need plug-ins or are rare enough to be untested."""
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, 524)
"""Answers of file systems without locks; 524 is ENOTSUPP of the kernel, which network file systems let through."""
REFERENCES_AT_ONCE = 1 << 13
"""References of strings that are Python objects together."""
_REFERENCE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("index", "<u4")])
_FOUND = np.dtype([("index", "<u4"), ("start", "<i8"), ("size", "<u8")])
"""An object of a heap: its number there, the byte of the file at which it begins, its bytes."""
_HEAP = struct.Struct("<4sB3xQ")
"""Signature, version, size of the heap in bytes with this header."""
_OBJECT = struct.Struct("<HH4xQ")
"""Index (0: the free rest of the heap), count of references, size in bytes without this header and padding."""


@dataclass(frozen=True)
class HDF5File:
    """An open HDF5 file, where it lies, its name in messages, its size in bytes and the error that its faults raise."""

    file: h5py.File
    path: Path
    name: str
    size: int
    error: type[InputError]

    def fail(self, found: str) -> InputError:
        """Build the error for content that no valid file has."""
        return self.error(
            f"{self.name}: {found}; the file is damaged or not what it claims to be: write or fetch it again"
        )


@contextmanager
def open_hdf5(path: Path, name: str, error: type[InputError]) -> Iterator[HDF5File]:
    """Open for reading; errors of HDF5 inside the block become an `error` naming the file.

    Errors of the machine, which have a number, stay an OSError, now with the path. A file system without locks is read
    without; a lock that another program holds is respected, since a file that is being written has no numbers yet.
    """
    try:
        with _open(path) as file:
            yield HDF5File(file, path, name, path.stat().st_size, error)
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as fault:
        reason = one_line(fault)
        number = fault.errno if isinstance(fault, OSError) else None
        if number in (errno.EAGAIN, errno.EACCES) and "unable to lock" in reason:
            raise error(
                f"{name} is locked by another program that has it open for writing; close it there, or set "
                "HDF5_USE_FILE_LOCKING=FALSE if it does not write any more"
            ) from fault
        if "already open for write" in reason:
            raise error(
                f"{name} is marked as open for writing: a program writes it, or ended without closing it; wait for it, "
                "or clear the mark (h5clear -s)"
            ) from fault
        if number is not None:
            raise OSError(number, os.strerror(number), str(path)) from fault
        raise error(f"{name} is truncated or damaged HDF5 ({reason}); write or fetch the file again") from fault


def _open(path: Path) -> h5py.File:
    # No cache of chunks: nothing is read twice, and a cache costs a megabyte a dataset and a third of the time.
    try:
        return h5py.File(path, "r", rdcc_nbytes=0)
    except OSError as fault:
        if fault.errno not in WITHOUT_LOCKS:
            raise
        return h5py.File(path, "r", rdcc_nbytes=0, locking=False)


def dataset(source: HDF5File, path: str, kinds: str, dimensions: int = 1) -> h5py.Dataset:
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


def _check_storage(source: HDF5File, path: str, data: h5py.Dataset) -> None:
    """Refuse data outside the file, unusual filters, and a filter used twice, which would square its ratio."""
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


def check_unpacked_size(source: HDF5File, datasets: Sequence[h5py.Dataset]) -> None:
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


def check_row_bounds(source: HDF5File, group: str, indptr: NDArray[np.integer], entries: int) -> None:
    """Refuse row bounds [rows + 1] that do not rise from 0 to the number of entries."""
    if indptr[0] != 0:
        raise source.fail(f"{group}/indptr starts at {indptr[0]}, expected 0")
    if indptr[-1] != entries:
        raise source.fail(f"{group}/indptr ends at {indptr[-1]}, expected {entries} (the number of entries)")
    falls = indptr[1:] < indptr[:-1]
    if falls.any():
        raise source.fail(f"{group}/indptr falls at entry {int(falls.argmax()) + 1}, expected rising numbers")


def check_indices(source: HDF5File, group: str, indices: NDArray[np.integer], columns: int) -> None:
    """Refuse column numbers outside [0, columns), which would be read beyond an array."""
    outside = (indices < 0) | (indices >= columns)
    if outside.any():
        raise source.fail(
            f"{group}/indices holds {int(np.count_nonzero(outside)):,} numbers outside 0..{columns - 1}, first "
            f"{indices[outside.argmax()]}"
        )


def read_strings(source: HDF5File, data: h5py.Dataset) -> list[str]:
    """UTF-8 strings [n] of a checked dataset of rank 1, of fixed or variable length."""
    fixed = h5py.check_string_dtype(data.dtype).length is not None
    raw = (entry for some in _pieces(data[:]) for entry in some) if fixed else _variable(source, data)
    strings: list[str] = []
    for entry in raw:
        try:
            strings.append(entry.decode("utf-8"))
        except UnicodeDecodeError as fault:
            raise source.error(
                f"{source.name}: text number {len(strings) + 1} of {data.name[1:]!r} is not UTF-8 "
                f"({quote(entry.decode('utf-8', 'backslashreplace'))}); rename it or write the file in UTF-8"
            ) from fault
    return strings


def _pieces(entries: NDArray) -> Iterator[list[Any]]:
    """Entries as Python values, in blocks, since a Python value takes much more memory than an array element."""
    for start in range(0, len(entries), REFERENCES_AT_ONCE):
        yield entries[start : start + REFERENCES_AT_ONCE].tolist()


def _variable(source: HDF5File, data: h5py.Dataset) -> Iterator[bytes]:
    """Bytes of each string of variable length."""
    plist = source.file.id.get_create_plist()
    if plist.get_sizes() != (8, 8) or plist.get_userblock():
        raise source.fail("uses a user block or addresses that are not 8 bytes wide")
    references = _references(source, data)
    total = int(references["length"].sum(dtype=np.uint64))
    if total > MAX_UNPACKED or is_inflated(total, source.size):
        raise source.fail(f"{data.name[1:]!r} claims {total:,} bytes of text in a file of {source.size:,} bytes")
    with source.path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        starts = _starts(source, data, references, content)
        for begin in range(0, len(starts), REFERENCES_AT_ONCE):
            some = slice(begin, begin + REFERENCES_AT_ONCE)
            for start, size in zip(starts[some].tolist(), references["length"][some].tolist(), strict=True):
                yield content[start : start + size].partition(b"\0")[0]


def _starts(
    source: HDF5File, data: h5py.Dataset, references: NDArray[np.void], content: mmap.mmap
) -> NDArray[np.int64]:
    """Where in the file each string begins, int64 [n]; each heap is read once."""
    starts = np.zeros(len(references), dtype=np.int64)
    asked = np.flatnonzero(references["length"])
    asked = asked[np.argsort(references["heap"][asked], kind="stable")]
    heaps, first = np.unique(references["heap"][asked], return_index=True)
    for heap, some in zip(heaps.tolist(), np.split(asked, first[1:]), strict=False):
        objects, wanted = _objects(source, content, heap), references[some]
        objects = objects[np.argsort(objects["index"], kind="stable")]
        place = np.searchsorted(objects["index"], wanted["index"], side="right") - 1
        found = objects[place.clip(0)] if len(objects) else np.zeros(len(some), _FOUND)
        if (found["index"] != wanted["index"]).any() or (found["size"] != wanted["length"]).any():
            wrong = wanted["length"][(found["index"] != wanted["index"]) | (found["size"] != wanted["length"])][0]
            raise source.fail(f"{data.name[1:]!r} refers to {wrong:,} bytes of text that are not where they should be")
        starts[some] = found["start"]
    return starts


def _references(source: HDF5File, data: h5py.Dataset) -> NDArray[np.void]:
    """References [n] of a dataset of strings; compressed chunks are copied unchanged to a dataset of plain bytes."""
    plist = data.id.get_create_plist()
    if plist.get_layout() == h5py.h5d.CONTIGUOUS:
        start, size = data.id.get_offset(), data.size * _REFERENCE.itemsize
        if start is None or start + size > source.size:
            raise source.fail(f"{data.name[1:]!r} lies outside the file")
        return np.fromfile(source.path, dtype=_REFERENCE, count=data.size, offset=start)
    if plist.get_layout() != h5py.h5d.CHUNKED:
        raise source.fail(f"{data.name[1:]!r} has a layout that BIOM does not use")
    chunks: list[h5py.h5d.StoreInfo] = []
    data.id.chunk_iter(chunks.append)
    if sum(chunk.size for chunk in chunks) > source.size:
        raise source.fail(f"{data.name[1:]!r} claims more bytes than the file has")
    plain = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plain.set_chunk(data.chunks)
    for number in range(plist.get_nfilters()):
        code, flags, values, _ = plist.get_filter(number)
        plain.set_filter(code, flags, values)
    with h5py.File("references", "w", driver="core", backing_store=False) as memory:
        kind = h5py.h5t.py_create(np.dtype(f"V{_REFERENCE.itemsize}"))
        copy = h5py.h5d.create(memory.id, b"copy", kind, h5py.h5s.create_simple(data.shape), plain)
        for chunk in chunks:
            mask, content = data.id.read_direct_chunk(chunk.chunk_offset)
            copy.write_direct_chunk(chunk.chunk_offset, content, mask)
        del copy  # an open dataset keeps the filter mask that the chunk had before it was written
        return memory["copy"][:].view(_REFERENCE)


def _objects(source: HDF5File, content: mmap.mmap, heap: int) -> NDArray[np.void]:
    """The objects of the heap at byte `heap`, in its order."""
    if heap + _HEAP.size > len(content):
        raise source.fail(f"a heap of text at byte {heap:,} lies outside the file")
    signature, version, size = _HEAP.unpack_from(content, heap)
    end = heap + size
    if signature != b"GCOL" or version != 1 or end > len(content):
        raise source.fail(f"there is no sound heap of text at byte {heap:,}")
    objects = []
    start = heap + _HEAP.size
    while start + _OBJECT.size <= end:
        index, _, size = _OBJECT.unpack_from(content, start)
        if index == 0:
            break
        start += _OBJECT.size
        if start + size > end:
            raise source.fail(f"an entry of the heap of text at byte {heap:,} is longer than the heap")
        objects.append((index, start, size))
        start += -(-size // 8) * 8
    return np.array(objects, dtype=_FOUND)
