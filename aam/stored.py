"""A checkpoint folder as it is on disk: which files it has, what is recorded of them, and how they are read.

`config.json` is sealed and has the digests of the other files; each is checked when it is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import Tensor

from aam.atomic import read_json
from aam.config import FinetuneConfig, PretrainConfig, RunnableConfig, from_dict
from aam.encoders import remedy_for, shipped_name
from aam.errors import CheckpointError, ConfigError
from aam.folders import old_folder_of
from aam.io.files import WEIGHTS, digest
from aam.records import ChangedError, Many, check_shape, refuse_special

MODEL, TRAINING = WEIGHTS, "training.safetensors"
CONFIG, STATE = "config.json", "state.json"
CHECKPOINT_FORMAT = 1
"""Counts up when older code can no longer read a checkpoint."""
KINDS: dict[str, type[RunnableConfig]] = {"pretrain": PretrainConfig, "finetune": FinetuneConfig}
KIND_OF: dict[type[Any], str] = {config: name for name, config in KINDS.items()}
ABOUT = {"format": int, "kind?": str, "sha256?": Many(str, named=True)}
"""Shape of `CONFIG`, its options aside."""
MAPPED = 1 << 28
"""Bytes of weights from which on their file is mapped, not read."""
RETRIES, RETRY_SECONDS = 10, 0.1
"""How often, and after which time, a checkpoint is read again that a run has replaced meanwhile."""
T = TypeVar("T")


@dataclass(frozen=True)
class Stored:
    """A checkpoint folder whose configuration has been read; other files are read, and checked, when needed."""

    folder: Path
    config: RunnableConfig
    digests: dict[str, str] | None

    def tensors(self, file: str) -> dict[str, Tensor]:
        """The tensors of `MODEL` or `TRAINING`; raises CheckpointError if one is not finite."""
        tensors = self._read(file, read_tensors)
        for name, tensor in tensors.items():
            if not torch.isfinite(tensor).all():
                raise CheckpointError(f"{self.folder / file}: {name} holds NaN or Inf; use an earlier checkpoint")
        return tensors

    def state(self) -> dict[str, Any]:
        """The content of `STATE`."""
        return self._read(STATE, read_json)

    def _read(self, file: str, reader: Callable[[Path], T]) -> T:
        """Content of a file; raises CheckpointError if its digest differs from the recorded one."""
        if shipped_name(self.folder) is not None:  # whatever reading it would say, the remedy is another
            self._compare(file)
            return read_checked(self.folder, file, reader)
        content = read_checked(self.folder, file, reader)
        self._compare(file)
        return content

    def _compare(self, file: str) -> None:
        """Raise CheckpointError if the digest of a file differs from the recorded one."""
        if self.digests is None:
            return
        path, remedy = self.folder / file, remedy_for(self.folder, "restore it, or use another checkpoint")
        if not path.exists():
            raise CheckpointError(f"{path} is missing; {remedy}")
        if not path.is_file():
            raise CheckpointError(f"{path} is not a regular file; {remedy}")
        found, expected = digest(path), str(self.digests.get(file))
        if found != expected:
            raise CheckpointError(
                f"{path}: SHA-256 is {found[:12]}…, expected {expected[:12]}…: it has changed since it was written; "
                f"{remedy}"
            )

    def check_further(self, file: str) -> None:
        """As `verify`, for one file of `further_file`; a checkpoint of an older version has no digest of it."""
        if file in (self.digests or {}):
            self._compare(file)

    def verify(self) -> None:
        """Raise CheckpointError if a file with a recorded digest is missing or has changed; nothing is loaded."""
        for file in self.digests or {}:
            self._compare(file)

    def verify_own(self) -> None:
        """As `verify`, but for the files that were added when a run had ended: it makes them again."""
        for file in (MODEL, TRAINING, STATE):
            self._compare(file)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file. `load_file` of safetensors 0.8 loses 4 kB at each call, but maps large files."""
    return load(path.read_bytes()) if path.stat().st_size <= MAPPED else load_file(path)


def read_about(path: Path) -> dict[str, Any]:
    """The content of `CONFIG`; raises ValueError for another JSON file."""
    about: dict[str, Any] = read_json(path)
    if not isinstance(about, dict) or "format" not in about:
        raise ValueError(f"{path.name} is not one of aam")
    check_shape(about, ABOUT)
    return about


def read_unchanged(folder: Path, read: Callable[[Path], T]) -> T:
    """What `read` makes of a checkpoint folder; if a run has replaced the folder meanwhile, it reads again."""
    for _ in range(RETRIES):
        before = identity(folder)
        try:
            return read(folder)
        except CheckpointError:
            time.sleep(RETRY_SECONDS)
            if before == identity(folder):
                raise
    return read(folder)


def identity(folder: Path) -> tuple[int, int] | None:
    """What tells a checkpoint folder from the one that replaces it."""
    try:
        found = (folder / CONFIG).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def read_checked(folder: Path, file: str, reader: Callable[[Path], T]) -> T:
    """Read a file of a checkpoint with `reader`; raises CheckpointError if that fails."""
    try:
        refuse_special(folder / file)
        return reader(folder / file)
    except ChangedError as error:
        remedy = remedy_for(folder, "restore it, or use another checkpoint")
        raise CheckpointError(f"{folder / file}: {error}; {remedy}") from error
    except (OSError, ValueError, SafetensorError) as error:
        named = "" if file in str(error) else f"{file}: "
        raise CheckpointError(
            f"{folder}: not a readable checkpoint ({named}{error}); give a run directory or its best/ or last/"
        ) from error


def read_stored(folder: Path) -> Stored:
    """Read the configuration of a checkpoint folder.

    If the folder is missing, the one that it was to replace is read instead; a crash between two renames leaves that.
    """
    return read_unchanged(folder, read_now)


def read_now(folder: Path) -> Stored:
    """As `read_stored`, of what is there now."""
    if not folder.exists() and old_folder_of(folder).exists():
        folder = old_folder_of(folder)
    about = read_checked(folder, CONFIG, read_about)
    found = about.pop("format")
    if found != CHECKPOINT_FORMAT:
        raise CheckpointError(
            f"{folder / CONFIG}: format {found!r}, expected {CHECKPOINT_FORMAT}: "
            "written by another version of aam; update aam"
        )
    digests, kind = about.pop("sha256", None), about.pop("kind", "pretrain")
    if kind not in KINDS:
        raise CheckpointError(f"{folder / CONFIG}: kind {kind!r}, expected {' or '.join(KINDS)}; update aam")
    try:
        return Stored(folder, from_dict(KINDS[kind], about), digests if isinstance(digests, dict) else None)
    except ConfigError as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}; restore the file or use another checkpoint") from error
