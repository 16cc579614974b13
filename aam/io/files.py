"""Checks of input files and output folders, and locks of folders.

`lock_folder` uses `flock` itself. The package `filelock` leaves its lock file in the folder and, on file systems
without `flock`, falls back to a marker file; that of a job killed on one host would block the next job on another.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from aam.atomic import PARTIAL, read_json
from aam.errors import ALLOWED, REMEDIES, CheckpointError, InputError
from aam.io.kinds import LINES, check_kind
from aam.paths import output_path, refuse_irregular

T = TypeVar("T")
WEIGHTS = "model.safetensors"
"""The file whose presence makes a folder a checkpoint."""
MAX_LINE = 1 << 26
"""Bytes of one line of text; a longer one is no table, FASTA or list of ids."""
MAX_UNPACKED = 32 << 30
"""Bytes that the data of one file may take once unpacked."""
FREE_UNPACKED = 64 << 20
"""Bytes up to which the ratio is not checked."""
MAX_RATIO = 200
"""Unpacked over stored bytes. Real tables and artifacts stay below 20; a single deflate can reach 1,032."""
PROBED = 4096
"""Bytes that are written to find whether a folder can be written to."""
LOCK = ".lock"
"""File in a folder that a process has locked."""


def is_inflated(unpacked: int, stored: int) -> bool:
    """Whether unpacked data is far larger than what is stored, as in a file made to exhaust memory; both in bytes."""
    return unpacked > FREE_UNPACKED and unpacked > MAX_RATIO * stored


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_json_file(path: Path, parse: Callable[[Any], T], error: type[InputError], advice: str) -> T:
    """Read a JSON file and convert it with `parse`; raises `error`, which ends with `advice`, if that fails."""
    try:
        return parse(read_json(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise error(f"{path}: not readable ({fault}); {advice}") from fault


def check_file(path: Path, option: str, error: type[InputError]) -> None:
    """Raise `error` unless `path` is a readable, non-empty file; `aam.io.kinds` says what it holds.

    `option` is the option with which the user gave it.
    """
    refuse_irregular(path, option, error)
    if path.is_dir():
        raise error(f"{path} is a directory, expected a file; give {option} the path of the file itself")
    if not path.exists():
        raise error(f"{path} does not exist; check the path given as {option}")
    try:
        with path.open("rb") as handle:
            first = handle.read(1)
    except OSError as fault:
        raise error(f"{path} cannot be read ({fault.strerror}); check its permissions") from fault
    if not first:
        raise error(f"{path} is an empty file (0 bytes); write or fetch it again")


def read_lines(path: Path, name: str, error: type[InputError]) -> Iterator[tuple[int, str]]:
    """Numbered lines (from 1) of a UTF-8 text without their line ends; a byte-order mark is dropped.

    Raises `error` for other kinds of files and, naming the line, for text that is not UTF-8, NUL bytes and lines
    longer than `MAX_LINE`.
    """
    check_kind(path, name, error, LINES, "text")
    with path.open("rb") as handle:
        for number, line in enumerate(iter(lambda: handle.readline(MAX_LINE + 1), b""), 1):
            if len(line) > MAX_LINE:
                raise error(
                    f"{name}: line {number} is longer than {MAX_LINE:,} bytes; this is not the text expected here"
                )
            if b"\0" in line:
                raise error(f"{name}: line {number} holds a NUL byte, as UTF-16 has; save the file as UTF-8")
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            try:
                yield number, line.rstrip(b"\r\n").decode("utf-8")
            except UnicodeDecodeError as fault:
                raise error(
                    f"{name}: line {number} is not UTF-8 (byte 0x{line[fault.start]:02x} at column {fault.start + 1}); "
                    "save the file as UTF-8"
                ) from fault


def refuse_unwritable(folder: Path, option: str, error: type[InputError]) -> None:
    """Raise `error` for a folder, existing or not, that is or lies in a file, or in which no file can be made.

    Commands check this first, before hours of work.
    """
    output_path(option, folder, error)
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise error(f"{option} {folder}: {there} is a file, expected a folder; give another path")
    try:
        with tempfile.TemporaryFile(prefix=PARTIAL, dir=there, buffering=0) as probe:
            probe.write(bytes(PROBED))
    except OSError as fault:
        reason = "" if fault.errno == errno.EACCES else f" ({os.strerror(fault.errno or 0)})"
        remedy = REMEDIES.get(fault.errno or 0, ALLOWED)
        raise error(f"{option} {folder}: {there} cannot be written to{reason}; {remedy}") from fault


def refuse_inside(folder: Path, option: str) -> None:
    """Raise CheckpointError for an output folder in a checkpoint, which its run replaces as a whole."""
    for place in (folder, *folder.absolute().parents):
        if (place / WEIGHTS).exists():
            raise CheckpointError(
                f"{option} {folder}: {place} is a checkpoint, which its run replaces as a whole; give another folder"
            )


@contextmanager
def lock_folder(folder: Path, option: str, error: type[InputError]) -> Iterator[None]:
    """Lock a folder for this process until the block ends; creates the folder if it does not exist.

    Raises `error` if another process has locked it; the system releases the lock of a killed process. A folder
    that was created here and is still empty at the end is removed.
    """
    refuse_unwritable(folder, option, error)
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / LOCK
    with lock.open("a", encoding="utf-8") as handle:
        if not try_lock(handle, lock):
            raise error(
                f"{option} {folder}: another process is writing there; wait for its end, or give another folder"
            )
        HELD.append(handle)
        try:
            yield
        finally:
            if handle in HELD:  # else this is a copy of the process that has the lock
                HELD.remove(handle)
                lock.unlink(missing_ok=True)
            if made and not any(folder.iterdir()):
                folder.rmdir()


HELD: list[IO[str]] = []
"""Lock files that this process has open."""


def close_held() -> None:
    """Close the lock files in a copy of the process, as a worker is: else it keeps the lock of one that was killed."""
    while HELD:
        HELD.pop().close()


os.register_at_fork(after_in_child=close_held)


def try_lock(handle: IO[str], path: Path) -> bool:
    """Try to lock the open file at `path`; returns whether this process has the lock."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(
            os.fstat(handle.fileno()), path.stat()
        )  # its last owner may have removed it since it was opened
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:
        return True  # a file system without locks, such as Lustre in many clusters: go on without one
