"""Rules for the paths that a user gives, as options, in YAML or in a notebook: checked before any work begins.

A path that is read names a regular file or a folder. A pipe, such as `<(zcat table.tsv.gz)`, can be read only once, but
files are read several times: to recognise their format, to read them, for their digest, and when a run is resumed.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

from aam.errors import OTHER_PATH, REMEDIES, ConfigError, InputError
from aam.text import one_line, shorten

KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
"""What is no regular file and no folder, by its kind."""
PSEUDO = dict.fromkeys(("proc", "sys"), "a file of the kernel")
"""The same by the folder: reading some of these waits for ever."""
DELETE = 0x7F
"""The control character above the printable ones of ASCII."""
LONGEST_PATH, LONGEST_NAME = 3800, 255
"""Bytes of a path and of a name; the system takes paths of 4,095, and files in an output folder need some of them."""
SHOWN = 80
"""Characters of a path that cannot be used, as a message shows its end."""


def plain_path(option: str, path: str | Path) -> Path:
    """The path, with `~` expanded; `option` is where the user gave it.

    Raises ConfigError for a name that is empty, too long, not UTF-8, or that holds control characters: records of a run
    and messages cannot hold it.
    """
    text = str(path)
    if not text.strip():
        raise ConfigError(f"{option} is {text!r}, expected a path")
    try:
        path = Path(path).expanduser()
        whole = str(path.absolute())
    except RuntimeError as error:  # no home directory, or that of an unknown user
        raise ConfigError(f"{option} is {shown(text)}: {one_line(error)} Give the path without ~.") from None
    except FileNotFoundError:
        raise ConfigError(f"{option} {text}: the current folder was removed; change to another one (cd)") from None
    if bad := next((letter for letter in whole if ord(letter) < ord(" ") or ord(letter) == DELETE), ""):
        raise ConfigError(f"{option} is {shown(whole)}: the control character {bad!r} in a name; give another path")
    if not whole.isascii() and (encoding := sys.getfilesystemencoding()) != "utf-8":
        raise ConfigError(
            f"{option} is {shown(whole)}: letters beyond ASCII where the locale reads names as {encoding}; set "
            "PYTHONUTF8=1, or give another path"
        )
    if not is_utf8(whole):
        raise ConfigError(f"{option} is {shown(whole)}: a name that is not UTF-8; rename it, or give another path")
    if len(whole.encode()) > LONGEST_PATH or any(len(part.encode()) > LONGEST_NAME for part in path.parts):
        raise ConfigError(f"{option} is {shown(whole)}: {os.strerror(errno.ENAMETOOLONG)}; give another path")
    return path


def input_path(option: str, path: str | Path) -> Path:
    """A path to read from: see `plain_path`; raises ConfigError too for a pipe, a device or a link to nothing.

    What does not exist is returned: it may be the name of a model, and readers say what is missing.
    """
    path = plain_path(option, path)
    refuse_irregular(path, option, ConfigError)
    return path


def output_path(option: str, path: str | Path, error: type[InputError] = ConfigError) -> Path:
    """A path to write to: see `plain_path`; raises `error` too for a device, a link to nothing, or a file as folder."""
    path = plain_path(option, path)
    refuse_irregular(path, option, error)
    for folder in path.absolute().parents:
        refuse_irregular(folder, option, error)
        if folder.exists():
            if not folder.is_dir():
                raise error(f"{option} {path}: {folder} is a file, expected a folder; give another path")
            break
    return path


def refuse_irregular(path: Path, option: str, error: type[InputError]) -> None:
    """Raise `error` for a pipe, a device, a socket, a file deleted while open, a link to nothing, a circle of links."""
    try:
        found = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            gone = shorten(str(path.readlink()), SHOWN)
            raise error(
                f"{option} {path}: a link to {gone}, which does not exist; make it, or give another path"
            ) from None
        return
    except OSError as fault:
        if fault.errno == errno.ENOTDIR:  # of the folder above
            return
        remedy = REMEDIES.get(fault.errno or 0, OTHER_PATH)
        raise error(f"{option} {path}: {fault.strerror}; {remedy}") from None
    kind = KINDS.get(stat.S_IFMT(found.st_mode), "")
    if not kind and stat.S_ISREG(found.st_mode):
        kind = "a deleted file" if found.st_nlink == 0 else PSEUDO.get(path.resolve().parts[1], "")
    if kind:
        raise error(f"{option} {path}: {kind}, not a regular file; write it to a file first, or give another path")


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8; Python reads bytes that are none as lone surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def shown(text: str) -> str:
    """The end of a path in a message, with escapes for what a terminal or a log cannot hold."""
    return repr(text if len(text) <= SHOWN else f"…{text[1 - SHOWN :]}")
