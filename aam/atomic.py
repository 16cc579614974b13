"""Atomic file writes: a reader sees the complete file or none, even if the writing process is killed."""

from __future__ import annotations

import json
import os
import platform
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from aam.records import parse_record, seal

PARTIAL = ".partial-"
"""How the names of files begin that are being written."""
HOST = f"{zlib.crc32(platform.node().encode()):08x}"
"""This machine, in such names: the numbers of processes are those of one machine."""


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path` to write to; it is renamed to `path` once it is synced to disk.

    After an error the temporary file is removed and an older file at `path` is unchanged; an OSError names `path`.
    """
    partial = partial_path(path)
    sweep(path.parent)
    try:
        yield partial
        sync(partial)
        partial.replace(path)
    except OSError as error:
        if error.filename is None or str(error.filename) == str(partial):
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def partial_path(path: Path) -> Path:
    """The temporary path that this process writes before it is renamed to the file."""
    return path.parent / f"{PARTIAL}{HOST}-{os.getpid()}-{path.name}"


def sweep(folder: Path) -> None:
    """Remove what killed processes of this machine have left of files that they were writing into a folder."""
    own = f"{PARTIAL}{HOST}-"
    with suppress(OSError):
        for path in folder.glob(f"{own}*"):
            process = path.name.removeprefix(own).partition("-")[0]
            if process.isdigit() and not is_alive(int(process)):
                path.unlink(missing_ok=True)


def is_alive(process: int) -> bool:
    """Whether a process of this machine, by its number, is there."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # of another user
        pass
    return True


def remove_partial_files(folder: Path) -> None:
    """Remove temporary files of killed processes from a folder; no other process may write to it now."""
    for path in folder.glob(f"{PARTIAL}*"):
        path.unlink()


def follow_umask(path: Path) -> None:
    """Give a file the permissions of the umask where a library gave it others (safetensors: 0600)."""
    umask = os.umask(0o077)
    os.umask(umask)
    path.chmod(0o666 & ~umask)


def sync(path: Path) -> None:
    """Sync a file, or the entries of a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text; replaces an older file."""
    with replace_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON; NaN and Infinity are written as such."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """As `write_json`, with a seal, so that `read_json` finds it changed if a bit of it is another."""
    write_json(path, seal(record))


def read_json(path: Path) -> Any:
    """Read a file of `write_json` or `write_record`; raises OSError or ValueError for anything but a whole one."""
    return parse_record(path)
