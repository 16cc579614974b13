"""A folder of arrays with a manifest: grown part by part, complete or refused, opened as maps of the files.

An array is the file `NAME.npy`. While it grows, the header says that it is empty; numpy leaves room in it for a larger
number, so the length is written into the same bytes at the end. The manifest is replaced whole after each part and
says how long every array was then: whatever a broken part has written beyond that is cut off. Only a complete manifest
opens, and it has the size and SHA-256 of every file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from aam.errors import CorpusError

MANIFEST = "manifest.json"
FORMAT = "aam corpus 2"
"""Raised when older code can no longer read what is written."""
AGAIN = "remove the folder and run `aam prepare` again"


class GrowingArray:
    """`path`, a .npy file of rows `shape` (without the first axis) and `dtype`, cut to its first `keep` rows."""

    def __init__(self, path: Path, dtype: str, shape: tuple[int, ...], keep: int):
        self.path, self.dtype, self.shape, self.rows = path, np.dtype(dtype), shape, keep
        if keep == 0:
            path.write_bytes(b"")
        self.file: BinaryIO = path.open("r+b")
        self._write_header(0)
        self.start = self.file.tell()
        self.file.flush()
        end, size = self.start + keep * self.row_bytes, path.stat().st_size
        if size < end:
            raise CorpusError(f"{path}: {size:,} bytes, expected at least {end:,}; {AGAIN}")
        self.file.truncate(end)
        self.file.seek(end)

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    def append(self, values: NDArray) -> None:
        """Rows to add at the end; raises OverflowError where a number does not fit into the type of the array."""
        rows = np.ascontiguousarray(values).astype(self.dtype, copy=False)
        if rows is not values and not np.array_equal(rows, values):
            raise OverflowError(f"{self.path.name}: values beyond {self.dtype}")
        try:
            self.file.write(rows.data if rows.size else b"")
        except OSError as fault:
            raise CorpusError(
                f"{self.path} cannot be written ({fault.strerror}); make room and run the same command again"
            ) from fault
        self.rows += len(rows)

    def read(self) -> NDArray:
        """All rows so far, mapped and read-only."""
        self.file.flush()
        if self.rows == 0:
            return np.empty((0, *self.shape), self.dtype)
        return np.memmap(self.path, self.dtype, "r", self.start, (self.rows, *self.shape))

    def flush(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())

    def seal(self) -> None:
        """Write the length into the header; the array is a file that `numpy.load` reads from here on."""
        self.file.seek(0)
        self._write_header(self.rows)
        assert self.file.tell() == self.start, "numpy keeps the size of a header whose array has grown"
        self.flush()
        self.file.close()

    def _write_header(self, rows: int) -> None:
        about = {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (rows, *self.shape)}
        npy.write_array_header_1_0(self.file, about)


@dataclass(frozen=True)
class Store:
    """A complete folder; `manifest` is its record, `checksum` that of the record, which covers every array."""

    folder: Path
    manifest: dict[str, Any]

    def __getitem__(self, name: str) -> NDArray:
        """An array, mapped and read-only."""
        # As a plain array: each slice of a numpy.memmap takes microseconds.
        return np.asarray(np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False))

    def check(self) -> Iterator[str]:
        """Read every file and compare its digest; yields the name of each that is sound, raises for the first other."""
        for name, known in self.manifest["arrays"].items():
            found = digest(self.folder / f"{name}.npy")
            if found != known["sha256"]:
                raise CorpusError(
                    f"{self.folder / name}.npy: SHA-256 {found[:12]}…, expected {known['sha256'][:12]}…: the file has "
                    f"changed since it was written; {AGAIN}"
                )
            yield name


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def open_store(folder: Path) -> Store:
    """Open a folder after a look at the manifest and the size of each file; raises `CorpusError` naming the file."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise CorpusError(f"{folder} is no prepared corpus ({MANIFEST} is missing); write one with `aam prepare`")
    if not manifest.get("complete"):
        raise CorpusError(f"{folder}: `aam prepare` has not finished here; run the same command again, it goes on")
    for name, known in manifest["arrays"].items():
        path = folder / f"{name}.npy"
        found = path.stat().st_size if path.exists() else None
        if found != known["bytes"]:
            what = "missing" if found is None else f"{found:,} bytes long"
            raise CorpusError(f"{path} is {what}, expected {known['bytes']:,} bytes; {AGAIN}")
    return Store(folder, manifest)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The record of a folder, complete or not; None where there is none. Raises `CorpusError` for one of other kind."""
    path = folder / MANIFEST
    if folder.exists() and not folder.is_dir():
        raise CorpusError(f"{folder} is a file, expected a folder that `aam prepare` wrote")
    if not path.exists():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        kind = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise CorpusError(f"{path} is not the record of a prepared corpus ({fault}); give the right folder") from fault
    if kind != FORMAT:
        raise CorpusError(f"{path} is of format {kind!r}, expected {FORMAT!r}; run `aam prepare` of this version again")
    return manifest


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Replace the record, whole or not at all."""
    partial = folder / f"{MANIFEST}.partial"
    with partial.open("w", encoding="utf-8") as handle:
        json.dump(manifest, handle, indent=1)
        handle.write("\n")
        handle.flush()
        os.fsync(handle.fileno())
    partial.replace(folder / MANIFEST)


class StoreWriter:
    """A folder that is being written; `record` is its manifest, which goes on where an unfinished one ended."""

    def __init__(self, folder: Path, record: dict[str, Any]):
        self.folder, self.record = folder, record
        self.parts: list[dict[str, Any]] = record["parts"]
        self._arrays: dict[str, GrowingArray] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def array(self, name: str, dtype: str, shape: tuple[int, ...] = ()) -> GrowingArray:
        """An array to append to: what its finished parts have written is kept, the rest is cut off."""
        if name not in self._arrays:
            keep = self.parts[-1]["rows"].get(name, 0) if self.parts else 0
            self._arrays[name] = GrowingArray(self.folder / f"{name}.npy", dtype, shape, keep)
        return self._arrays[name]

    def commit(self, part: dict[str, Any]) -> None:
        """Note a finished part: from here on it stays."""
        for array in self._arrays.values():
            array.flush()
        self.parts.append(part | {"rows": {name: array.rows for name, array in self._arrays.items()}})
        write_manifest(self.folder, self.record)

    def complete(self, more: dict[str, Any], without: tuple[str, ...] = ()) -> None:
        """Seal all arrays, note their digests, and make the folder one that opens; `without` names arrays to remove."""
        arrays = {}
        for name, array in sorted(self._arrays.items()):
            array.seal()
            if name not in without:
                arrays[name] = {"bytes": array.path.stat().st_size, "sha256": digest(array.path)}
        for part in self.parts:
            del part["rows"]
        write_manifest(self.folder, self.record | more | {"complete": True, "arrays": arrays})
        for name in without:
            self._arrays[name].path.unlink()
