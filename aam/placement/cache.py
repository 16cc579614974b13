"""The cache of a reference: arrays that are mapped, made once from the compressed files."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aam.atomic import PARTIAL, read_json, write_json
from aam.encoders import shipped_name
from aam.phylogeny.tree import Tree
from aam.placement.reference import Reference

CACHE = "cache"
CACHE_FORMAT = 2
"""Counts up when the files of the cache change."""
RECORD = "cache.json"
CODES, NAMES = "codes.npy", "names.txt"
LINEAGES, LINEAGE_OF = "lineages.txt", "lineages.npy"
"""The distinct lineages, and the number of each tip's: there are a few thousand of a hundred thousand tips."""
TREE_ARRAYS = ("first", "last", "length", "parent")
"""Fields of `Tree`, each in a file of that name."""


def cached(folder: Path, key: str, unpack: Callable[[], Reference]) -> Reference:
    """The reference in a folder from its cache, which is made of `unpack()` if it is not there; `key` identifies it.

    It lies in the folder or, if that cannot be written to, in the cache folder of the user; for a reference that comes
    with the package in that of the user first. Where neither can be written, the reference stays in memory.
    """
    places = [folder / CACHE, user_cache() / "references" / key[:32]]
    if shipped_name(folder) is not None:
        places.reverse()
    for place in places:
        if (found := read_cache(place, key, str(folder))) is not None:
            return found
    reference = unpack()
    for place in places:
        with suppress(OSError):
            write_cache(place, key, reference)
            if (found := read_cache(place, key, str(folder))) is not None:
                return found
    return reference


def user_cache() -> Path:
    """The folder for caches of this package, by the XDG convention."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "aam"


def read_cache(place: Path, key: str, source: str) -> Reference | None:
    """The reference in a cache, its tree named `source`; None if there is none of this key, or a damaged one."""
    try:
        record = read_json(place / RECORD)
        whole = all((place / name).stat().st_size == size for name, size in record["files"].items())
        if record["key"] != key or record["format"] != CACHE_FORMAT or not whole:
            return None
        # A slice of a numpy.memmap takes microseconds, one of a plain array on the same memory does not.
        codes: NDArray[np.uint8] = np.asarray(np.load(place / CODES, mmap_mode="r", allow_pickle=False))
        first, last, length, parent = (np.load(place / f"{name}.npy", allow_pickle=False) for name in TREE_ARRAYS)
        lineages = read_lineages(place) if LINEAGES in record["files"] else None
        tree = Tree(read_texts(place / NAMES), first, last, length, parent, source)
        return Reference(tree, codes, record["first"], lineages)
    except (OSError, ValueError, LookupError, TypeError, EOFError):
        return None


def write_cache(place: Path, key: str, reference: Reference) -> None:
    """Write a cache: whole or not at all. An older one is replaced; of two processes one wins."""
    place.parent.mkdir(parents=True, exist_ok=True)
    tree = reference.tree
    fresh = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{CACHE}-", dir=place.parent))
    try:
        np.save(fresh / CODES, reference.codes)
        for name in TREE_ARRAYS:
            np.save(fresh / f"{name}.npy", getattr(tree, name))
        write_texts(fresh / NAMES, tree.tip_names)
        if reference.lineages is not None:
            write_lineages(fresh, reference.lineages)
        files = {path.name: path.stat().st_size for path in sorted(fresh.iterdir())}
        record = {"format": CACHE_FORMAT, "key": key, "first": reference.first, "files": files}
        write_json(fresh / RECORD, record)
        fresh.chmod(place.parent.stat().st_mode & 0o777)  # mkdtemp makes it for this user alone
        if place.is_dir():
            shutil.rmtree(place)
        fresh.rename(place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def read_lineages(place: Path) -> list[str]:
    """The lineage of each tip; those that are equal share one string."""
    texts = read_texts(place / LINEAGES)
    return [texts[number] for number in np.load(place / LINEAGE_OF, allow_pickle=False).tolist()]


def write_lineages(place: Path, lineages: Sequence[str]) -> None:
    """Write the lineage of each tip."""
    numbers: dict[str, int] = {}
    of_tip = [numbers.setdefault(lineage, len(numbers)) for lineage in lineages]
    write_texts(place / LINEAGES, list(numbers))
    np.save(place / LINEAGE_OF, np.array(of_tip, np.int32))


def read_texts(path: Path) -> list[str]:
    """Lines of a text."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def write_texts(path: Path, texts: Sequence[str]) -> None:
    """Write texts as lines."""
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
