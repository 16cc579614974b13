"""A folder of arrays with a manifest, complete or refused, opened as maps of the files.

An array is the file `NAME.npy`; the manifest has the size and the SHA-256 of each. How they are written stands in
`aam.data.store_writer`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aam.atomic import read_json, write_json
from aam.data.files import digest
from aam.errors import CorpusError

MANIFEST = "manifest.json"
FORMAT = "aam corpus 2"
"""Counts up when older code can no longer read what is written."""
BEGUN = {"complete", "config", "sources", "parts"}
COMPLETE = {"arrays", "counts", "longest", "reasons"}
"""What a manifest says from its start, and what at its end."""
AGAIN = "remove the folder and run `aam prepare` again"


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
            raise CorpusError(f"{path} is damaged ({' '.join(str(fault).split())}); {AGAIN}") from fault
        return np.asarray(mapped)  # each slice of a numpy.memmap takes microseconds

    def check(self) -> Iterator[str]:
        """Read every file and compare its digest; yields the name of each that is sound, raises for the first other."""
        for name, known in self.manifest["arrays"].items():
            found = digest(self.folder / f"{name}.npy")
            if found != known["sha256"]:
                raise CorpusError(
                    f"{self.folder / name}.npy has SHA-256 {found[:12]}…, expected {known['sha256'][:12]}…: it has "
                    f"changed since it was written; {AGAIN}"
                )
            yield name


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
        manifest = read_json(path)
        kind = manifest["format"]
        absent = (BEGUN | COMPLETE if manifest["complete"] else BEGUN) - manifest.keys() if kind == FORMAT else set()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise CorpusError(f"{path} is no record of a corpus ({brief(fault)}); give the right folder") from fault
    if kind != FORMAT:
        raise CorpusError(f"{path} is of format {kind!r}, expected {FORMAT!r}; run `aam prepare` of this version again")
    if absent:
        raise CorpusError(f"{path} lacks {', '.join(sorted(absent))}; {AGAIN}")
    return manifest


def brief(fault: Exception) -> str:
    """What went wrong, in one line."""
    return " ".join(f"{type(fault).__name__}: {fault}".split())


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Replace the record, whole or not at all."""
    write_json(folder / MANIFEST, manifest)
