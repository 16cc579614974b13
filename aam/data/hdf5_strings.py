"""Text of an HDF5 dataset, read without HDF5's own handling of strings of variable length.

Such a dataset holds references into heaps elsewhere in the file. With one wrong byte in them libhdf5 2.0 allocates and
clears up to 4 GiB for one string, or walks a heap for ever. Here references and heaps are read as plain bytes and
checked against the size of the file first.
Layout: HDF5 File Format Specification 3.0, section III.E (global heap, global heap ID).
"""

from __future__ import annotations

import mmap
import struct

import h5py
import numpy as np
from numpy.typing import NDArray

from aam.data.files import MAX_UNPACKED, is_inflated
from aam.data.hdf5_check import Source
from aam.data.ids import quote

_REFERENCE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("index", "<u4")])
_HEAP = struct.Struct("<4sB3xQ")
"""Signature, version, size of the heap in bytes with this header."""
_OBJECT = struct.Struct("<HH4xQ")
"""Index (0: the free rest of the heap), count of references, size in bytes without this header and padding."""


def read_strings(source: Source, data: h5py.Dataset) -> list[str]:
    """UTF-8 strings [n] of a checked dataset of rank 1, of fixed or variable length."""
    fixed = h5py.check_string_dtype(data.dtype).length is not None
    raw = data[:].tolist() if fixed else _variable(source, data)
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


def _variable(source: Source, data: h5py.Dataset) -> list[bytes]:
    """Bytes of each string of variable length."""
    plist = source.file.id.get_create_plist()
    if plist.get_sizes() != (8, 8) or plist.get_userblock():
        raise source.fail("uses a user block or addresses that are not 8 bytes wide")
    references = _references(source, data)
    total = int(references["length"].sum(dtype=np.uint64))
    if total > MAX_UNPACKED or is_inflated(total, source.size):
        raise source.fail(f"{data.name[1:]!r} claims {total:,} bytes of text in a file of {source.size:,} bytes")
    strings = []
    with source.path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content:
        heaps: dict[int, dict[int, tuple[int, int]]] = {}
        for length, heap, index in references.tolist():
            if length == 0:
                strings.append(b"")
                continue
            if heap not in heaps:
                heaps[heap] = _objects(source, content, heap)
            start, size = heaps[heap].get(index, (0, -1))
            if size != length:
                raise source.fail(
                    f"{data.name[1:]!r} refers to {length:,} bytes of text that are not where they should be"
                )
            strings.append(content[start : start + size].partition(b"\0")[0])
    return strings


def _references(source: Source, data: h5py.Dataset) -> NDArray[np.void]:
    """References [n] of a dataset of strings; compressed chunks are moved, as they are, to a dataset of plain bytes."""
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
        del copy  # an open dataset goes on with the filter mask that the chunk had before it was written
        return memory["copy"][:].view(_REFERENCE)


def _objects(source: Source, content: mmap.mmap, heap: int) -> dict[int, tuple[int, int]]:
    """Where the objects of the heap at byte `heap` are: index -> (start, size)."""
    if heap + _HEAP.size > len(content):
        raise source.fail(f"a heap of text at byte {heap:,} lies outside the file")
    signature, version, size = _HEAP.unpack_from(content, heap)
    end = heap + size
    if signature != b"GCOL" or version != 1 or end > len(content):
        raise source.fail(f"there is no sound heap of text at byte {heap:,}")
    objects = {}
    start = heap + _HEAP.size
    while start + _OBJECT.size <= end:
        index, _, size = _OBJECT.unpack_from(content, start)
        if index == 0:
            break
        start += _OBJECT.size
        if start + size > end:
            raise source.fail(f"an entry of the heap of text at byte {heap:,} is longer than the heap")
        objects[index] = (start, size)
        start += -(-size // 8) * 8
    return objects
