"""Files that are whole or not there: nobody reads half of one, whatever ends the process that writes it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTIAL = ".partial-"
"""How the names of files begin that are being written."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path beside `path`, with its ending, to write to: it takes the place of `path` once all of it is on the disk.

    After an error it is gone, and an older file stays as it was; errors of the system name `path`.
    """
    partial = partial_of(path)
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


def partial_of(path: Path) -> Path:
    """Where this process writes a file before it takes its place."""
    return path.with_name(f"{PARTIAL}{os.getpid()}-{path.name}")


def sweep(folder: Path) -> None:
    """Remove what killed processes were writing into a folder, which nobody else may be writing to now."""
    for path in folder.glob(f"{PARTIAL}*"):
        path.unlink()


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text, in the place of an older file if there is one."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, with NaN and Infinity where there are any."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """What `write_json` wrote; raises OSError or ValueError for a file that cannot be read as JSON."""
    return json.loads(path.read_text(encoding="utf-8"))
