"""Folders of output: may they be written to, and is this process alone there?"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from aam.errors import InputError

LOCK = ".lock"
"""File in a folder that a process has for itself."""


def refuse_unwritable(folder: Path, option: str, error: type[InputError]) -> None:
    """Raise `error` for a folder, there or to be made, that is a file, lies in one or cannot be written to.

    Asked at the start, it saves hours of work.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise error(f"{option} {folder}: {there} is a file, expected a folder; give another path")
    if not os.access(there, os.W_OK | os.X_OK):
        raise error(f"{option} {folder}: {there} cannot be written to; check its permissions, or give another folder")


@contextmanager
def alone(folder: Path, option: str, error: type[InputError]) -> Iterator[None]:
    """Have a folder, made where there is none, for this process alone until the block ends.

    Raises `error` where another process has it. The system lets go of what a killed one had. A folder that was made
    for nothing is gone afterwards.
    """
    refuse_unwritable(folder, option, error)
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / LOCK
    with lock.open("a") as handle:
        if not locked(handle, lock):
            raise error(
                f"{option} {folder}: another process is writing there; wait for its end, or give another folder"
            )
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
            if made and not any(folder.iterdir()):
                folder.rmdir()


def locked(handle: IO[str], path: Path) -> bool:
    """Whether the open file at `path` is from now on this process's alone."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())  # who had it may have removed it meanwhile
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:
        return True  # the file system knows no locks, as Lustre in many clusters: go on without
