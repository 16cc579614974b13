"""A folder of arrays and their manifest, which grows part by part and is opened as maps once it is complete.

While an array grows, its header gives length 0. At the end the final length is written into the same bytes; numpy
leaves room for it. After each part the manifest, which records the length of every array, is replaced atomically. When
writing resumes after an interruption, each array is cut to the recorded length.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from aam.atomic import read_json, write_json
from aam.config import option_flag
from aam.errors import CorpusError, error_text
from aam.io.files import LOCK, digest
from aam.text import one_line

CORPUS_MANIFEST = "manifest.json"
CORPUS_FORMAT = "aam corpus 3"
"""Counts up when older code can no longer read what is written."""
BEGUN_KEYS = {"complete", "config", "sources", "parts"}
COMPLETE_KEYS = {"arrays", "counts", "longest", "reasons"}
"""Keys of every manifest, and those that a complete one has besides."""
SOURCE_FILES = ("table", "tree", "sequences")
"""Options that name the files of a source."""
REMEDY = "remove the folder and run `aam prepare` again"


@dataclass(frozen=True)
class Store:
    """A complete folder; `manifest` is its record, which has the digest of every array."""

    folder: Path
    manifest: dict[str, Any]

    def __getitem__(self, name: str) -> NDArray:
        """An array, mapped and read-only."""
        path = self.folder / f"{name}.npy"
        try:
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as fault:
            raise CorpusError(f"{path} is damaged ({one_line(fault)}); {REMEDY}") from fault
        return np.asarray(mapped)  # each slice of a numpy.memmap takes microseconds

    def check(self) -> Iterator[str]:
        """Read every file and compare its digest; yields each name that agrees, raises for the first that differs."""
        for name, known in self.manifest["arrays"].items():
            found = digest(self.folder / f"{name}.npy")
            if found != known["sha256"]:
                raise CorpusError(
                    f"{self.folder / name}.npy has SHA-256 {found[:12]}…, expected {known['sha256'][:12]}…: it has "
                    f"changed since it was written; {REMEDY}"
                )
            yield name


def open_store(folder: Path) -> Store:
    """Open a folder after checking its manifest and the size of each file; raises `CorpusError` naming the file."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise CorpusError(
            f"{folder} is no prepared corpus ({CORPUS_MANIFEST} is missing); write one with `aam prepare`"
        )
    if not manifest.get("complete"):
        raise CorpusError(f"{folder}: `aam prepare` has not finished here; run the same command again, it goes on")
    for name, known in manifest["arrays"].items():
        path = folder / f"{name}.npy"
        found = path.stat().st_size if path.exists() else None
        if found != known["bytes"]:
            what = "missing" if found is None else f"{found:,} bytes long"
            raise CorpusError(f"{path} is {what}, expected {known['bytes']:,} bytes; {REMEDY}")
    return Store(folder, manifest)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder, complete or not; None without one. Raises `CorpusError` for one of another format."""
    path = folder / CORPUS_MANIFEST
    if folder.exists() and not folder.is_dir():
        raise CorpusError(f"{folder} is a file, expected a folder that `aam prepare` wrote")
    if not path.exists():
        return None
    try:
        manifest = read_json(path)
        kind = manifest["format"]
        absent = (
            (BEGUN_KEYS | COMPLETE_KEYS if manifest["complete"] else BEGUN_KEYS) - manifest.keys()
            if kind == CORPUS_FORMAT
            else set()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise CorpusError(f"{path} is no record of a corpus ({error_text(fault)}); give the right folder") from fault
    if kind != CORPUS_FORMAT:
        raise CorpusError(
            f"{path} is of format {kind!r}, expected {CORPUS_FORMAT!r}; run `aam prepare` of this version again"
        )
    if absent:
        raise CorpusError(f"{path} lacks {', '.join(sorted(absent))}; {REMEDY}")
    return manifest


def replace_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Replace the manifest atomically."""
    write_json(folder / CORPUS_MANIFEST, manifest)


def begin_manifest(folder: Path, options: dict[str, Any], sources: list[dict[str, Any]]) -> dict[str, Any]:
    """Start the manifest of a folder, or read the one in it if that has the same options and sources.

    A source has its name, and path and SHA-256 of each of its files by option. Raises `CorpusError` if the folder
    holds anything else or a file has changed.
    """
    fresh = {"format": CORPUS_FORMAT, "complete": False, "config": options, "sources": sources, "parts": []}
    found = read_manifest(folder)
    if found is None:
        if any(path.name != LOCK for path in folder.iterdir()):
            raise CorpusError(f"--output {folder} is a folder with other files in it; give a new one")
        replace_manifest(folder, fresh)
        return fresh
    refuse_other_sources(found, fresh, folder)
    return found


def refuse_other_sources(found: dict[str, Any], fresh: dict[str, Any], folder: Path) -> None:
    """Raise `CorpusError` unless two manifests are of the same files and options."""
    for name, value in fresh["config"].items():
        before = found["config"].get(name, value)  # folders of older versions lack some
        if before != value:
            raise CorpusError(
                f"{option_flag(name)} is {value}, but {folder} was begun with {before}; give the same "
                "value, or another --output"
            )
    if len(found["sources"]) != len(fresh["sources"]):
        raise CorpusError(
            f"{folder} was begun with {len(found['sources'])} tables, now there are {len(fresh['sources'])}; give the "
            "same tables, or another --output"
        )
    for before, now in zip(found["sources"], fresh["sources"], strict=True):
        for option in SOURCE_FILES:
            old, new = before.get(option), now.get(option)
            if (old and old["sha256"]) != (new and new["sha256"]):
                path = new["path"] if new else old["path"]
                raise CorpusError(
                    f"{option_flag(option)} {path} is not the file that {folder} was begun with; restore it, or give "
                    "another --output"
                )


class GrowingArray:
    """`path`, a .npy file of rows `shape` (without the first axis) and `dtype`, cut to its first `keep` rows."""

    def __init__(self, path: Path, dtype: str, shape: tuple[int, ...], keep: int):
        self.path, self.dtype, self.shape, self.rows = path, np.dtype(dtype), shape, keep
        if keep == 0:
            path.write_bytes(b"")
        elif not path.exists():
            raise CorpusError(f"{path} is missing; {REMEDY}")
        self.file: BinaryIO = path.open("r+b", buffering=0)
        self._write_header(0)
        self.start = self.file.tell()
        end, size = self.start + keep * self.row_bytes, path.stat().st_size
        if size < end:
            raise CorpusError(f"{path}: {size:,} bytes, expected at least {end:,}; {REMEDY}")
        self.file.truncate(end)
        self.file.seek(end)

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    def append(self, values: NDArray) -> None:
        """Append rows [n, *shape]; raises OverflowError if a value does not fit into the type."""
        rows = np.ascontiguousarray(values).astype(self.dtype, copy=False)
        if rows is not values and not np.array_equal(rows, values):
            raise OverflowError(f"{self.path.name}: values beyond {self.dtype}")
        content = rows.reshape(-1).view(np.uint8).data
        try:
            while content:
                content = content[self.file.write(content) :]
        except OSError as fault:
            raise CorpusError(
                f"{self.path} cannot be written ({fault.strerror}); make room and run the same command again"
            ) from fault
        self.rows += len(rows)

    def read(self, first: int = 0, last: int | None = None) -> NDArray:
        """Rows first to last [n, *shape], all by default, mapped and read-only."""
        count = (self.rows if last is None else last) - first
        if count == 0:
            return np.empty((0, *self.shape), self.dtype)
        return np.memmap(self.path, self.dtype, "r", self.start + first * self.row_bytes, (count, *self.shape))

    def flush(self) -> None:
        """Wait until the rows are on the disk."""
        os.fsync(self.file.fileno())

    def seal(self) -> None:
        """Write the length into the header, after which `numpy.load` reads the file, and close it."""
        self.file.seek(0)
        self._write_header(self.rows)
        assert self.file.tell() == self.start, "numpy keeps the size of a header whose array has grown"
        self.flush()
        self.file.close()

    def _write_header(self, rows: int) -> None:
        about = {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (rows, *self.shape)}
        npy.write_array_header_1_0(self.file, about)


class StoreWriter:
    """A folder being written; `record` is its manifest, new or that of an unfinished folder."""

    def __init__(self, folder: Path, record: dict[str, Any]):
        self.folder, self.record = folder, record
        self.parts: list[dict[str, Any]] = record["parts"]
        self._arrays: dict[str, GrowingArray] = {}

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, *fault: object) -> None:
        for array in self._arrays.values():
            array.file.close()

    def array(self, name: str, dtype: str, shape: tuple[int, ...] = ()) -> GrowingArray:
        """An array to append to, cut to the rows of the finished parts."""
        if name not in self._arrays:
            keep = self.parts[-1]["rows"].get(name, 0) if self.parts else 0
            self._arrays[name] = GrowingArray(self.folder / f"{name}.npy", dtype, shape, keep)
        return self._arrays[name]

    def commit(self, part: dict[str, Any]) -> None:
        """Record a finished part: its rows are kept from here on."""
        for array in self._arrays.values():
            array.flush()
        self.parts.append(part | {"rows": {name: array.rows for name, array in self._arrays.items()}})
        replace_manifest(self.folder, self.record)

    def complete(self, more: dict[str, Any], without: tuple[str, ...] = ()) -> None:
        """Seal all arrays and mark the folder as complete, with the digests of all arrays but those in `without`."""
        arrays = {}
        for name, array in sorted(self._arrays.items()):
            array.seal()
            if name not in without:
                arrays[name] = {"bytes": array.path.stat().st_size, "sha256": digest(array.path)}
        for part in self.parts:
            del part["rows"]
        replace_manifest(self.folder, self.record | more | {"complete": True, "arrays": arrays})
