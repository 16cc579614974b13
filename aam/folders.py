"""Folders replaced whole: a reader finds the old one or the new one, even if the writing process is killed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aam.atomic import sync

LAST, BEST = "last", "best"
PREVIOUS = "previous"
"""What `LAST` was before its last save: a damaged checkpoint costs one interval between saves."""


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `folder` at the end of the block; after an error it is removed.

    The one that it replaces is removed, but for `LAST`, which becomes `PREVIOUS`. At every moment there is a whole one.
    """
    partial, old = partial_folder_of(folder), old_folder_of(folder)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for path in (*partial.iterdir(), partial):
            sync(path)
        exchange(partial, folder, old)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync(folder.parent)
    if old.name != PREVIOUS:
        shutil.rmtree(old, ignore_errors=True)


def exchange(new: Path, folder: Path, old: Path) -> None:
    """Rename `folder` to `old`, whose place is cleared, and `new` to `folder`."""
    older = old_folder_of(old)
    if folder.exists():  # else the old one, left by a crash, is the only one and is removed last
        shutil.rmtree(older, ignore_errors=True)
        if old.exists():
            old.rename(older)
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(older, ignore_errors=True)


def partial_folder_of(folder: Path) -> Path:
    """Folder that a checkpoint is written to before it is renamed."""
    return folder.parent / f"{folder.name}.partial"


def old_folder_of(folder: Path) -> Path:
    """Folder that a checkpoint is moved to while its successor is renamed."""
    return folder.parent / (PREVIOUS if folder.name == LAST else f"{folder.name}.old")


def set_aside(folder: Path) -> Path:
    """Rename a damaged folder or file, so that nothing reads or replaces it; returns its new path."""
    names = (folder.with_name(f"{folder.name}.damaged{number or ''}") for number in range(1000))
    aside = next(path for path in names if not path.exists())
    return folder.rename(aside)
