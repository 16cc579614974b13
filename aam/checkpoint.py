"""Checkpoints on disk: safetensors plus JSON, written atomically, each file checked when it is read; models from them.

A run directory holds `best/` and `last/`; each has `model.safetensors`, `config.json` and, to resume the run,
`training.safetensors` and `state.json`. No pickle is written or read. Only the path is needed to rebuild a model.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from aam.atomic import follow_umask, name_file, read_json, sync, write_json
from aam.config import FinetuneConfig, ModelConfig, PretrainConfig, RunnableConfig, from_dict, is_clades, to_dict
from aam.encoders import remedy_for, shipped_name
from aam.errors import CheckpointError, ConfigError
from aam.io.files import WEIGHTS, digest
from aam.models.finetune_model import FinetuneModel
from aam.models.pretrain_model import PretrainModel

MODEL, TRAINING = WEIGHTS, "training.safetensors"
CONFIG, STATE = "config.json", "state.json"
LAST, BEST = "last", "best"
FOLD = "fold-"
CHECKPOINT_FORMAT = 1
"""Counts up when older code can no longer read a checkpoint."""
KINDS: dict[str, type[RunnableConfig]] = {"pretrain": PretrainConfig, "finetune": FinetuneConfig}
KIND_OF: dict[type[Any], str] = {config: name for name, config in KINDS.items()}
T = TypeVar("T")


@dataclass(frozen=True)
class Checkpoint:
    """Content of a checkpoint: tensors and configuration of the model, and the state to resume the run from."""

    config: RunnableConfig
    model: dict[str, Tensor]
    training: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace `folder` by a complete checkpoint; a crash at any point leaves the old or the new one readable."""
    with replace_folder(folder) as partial:
        for file, tensors in ((MODEL, checkpoint.model), (TRAINING, checkpoint.training)):
            with name_file(folder / file):
                save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, partial / file)
            follow_umask(partial / file)
        write_about(partial, checkpoint)


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `folder` at the end of the block; after an error it is removed."""
    partial, old = partial_folder_of(folder), old_folder_of(folder)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        for path in (partial / MODEL, partial / TRAINING, partial):
            sync(path)
        if folder.exists():  # else the old one, left by a crash, is the only one and is removed last
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def write_about(folder: Path, checkpoint: Checkpoint) -> None:
    """Write state and configuration of a checkpoint beside its tensors."""
    write_json(folder / STATE, checkpoint.state)
    digests = {file: digest(folder / file) for file in (MODEL, TRAINING, STATE)}
    about = {"format": CHECKPOINT_FORMAT, "kind": KIND_OF[type(checkpoint.config)], "sha256": digests}
    write_json(folder / CONFIG, about | to_dict(checkpoint.config))


def partial_folder_of(folder: Path) -> Path:
    """Folder that a checkpoint is written to before it is renamed."""
    return folder.with_name(folder.name + ".partial")


def old_folder_of(folder: Path) -> Path:
    """Folder that a checkpoint is moved to while its successor is renamed."""
    return folder.parent / f"{folder.name}.old"


@dataclass(frozen=True)
class Stored:
    """A checkpoint folder whose configuration has been read; other files are read, and checked, when needed."""

    folder: Path
    config: RunnableConfig
    digests: dict[str, str] | None

    def tensors(self, file: str) -> dict[str, Tensor]:
        """The tensors of `MODEL` or `TRAINING`; raises CheckpointError if one is not finite."""
        tensors = self._read(file, load_file)
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
        found, expected = digest(path), str(self.digests.get(file))
        if found != expected:
            raise CheckpointError(
                f"{path}: SHA-256 is {found[:12]}…, expected {expected[:12]}…: it has changed since it was written; "
                f"{remedy}"
            )

    def verify(self) -> None:
        """Raise CheckpointError if a file with a recorded digest is missing or has changed; nothing is loaded."""
        for file in self.digests or {}:
            self._compare(file)


def read_about(path: Path) -> dict[str, Any]:
    """The content of `CONFIG`; raises ValueError for another JSON file."""
    about = read_json(path)
    if not isinstance(about, dict) or "format" not in about:
        raise ValueError(f"{path.name} is not one of aam")
    return about


def read_checked(folder: Path, file: str, reader: Callable[[Path], T]) -> T:
    """Read a file of a checkpoint with `reader`; raises CheckpointError if that fails."""
    try:
        return reader(folder / file)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: not a readable checkpoint ({error}); give a run directory or its best/ or last/"
        ) from error


def read_stored(folder: Path) -> Stored:
    """Read the configuration of a checkpoint folder.

    If the folder is missing, `folder.old` is read instead; a crash between two renames leaves that."""
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


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read all of a checkpoint folder, to resume the run."""
    stored = read_stored(folder)
    return Checkpoint(stored.config, stored.tensors(MODEL), stored.tensors(TRAINING), stored.state())


def find_checkpoint(path: Path) -> Path:
    """The checkpoint folder of a run directory (best, else last), or the given checkpoint folder itself."""
    for folder in (path, path / BEST, path / LAST):
        if (folder / CONFIG).exists() or (old_folder_of(folder) / CONFIG).exists():
            return folder
        if (folder / MODEL).exists():
            raise CheckpointError(f"{folder}: {CONFIG} is missing beside {MODEL}; copy the whole folder again")
    raise CheckpointError(f"{path}: no checkpoint here, expected a run directory with best/ or last/; check the path")


def fold_folders(path: Path) -> list[Path]:
    """The fold folders of a cross-validated run, in order; empty for other runs."""
    return sorted(path.glob(f"{FOLD}*"), key=lambda folder: (len(folder.name), folder.name))


def find_members(path: Path) -> list[Path]:
    """The checkpoints whose predictions are averaged: one per fold of a cross-validated run, else the only one."""
    return [find_checkpoint(folder) for folder in fold_folders(path) or [path]]


def config_of_encoder(path: Path) -> RunnableConfig:
    """The configuration of the encoder that `open_encoder` returns; no weights are read."""
    return read_stored(find_members(path)[0]).config


class Pretrained(NamedTuple):
    """Stored configuration of a run of `aam pretrain`."""

    model: PretrainModel
    config: PretrainConfig

    @property
    def encoder(self) -> PretrainModel:
        return self.model


class Finetuned(NamedTuple):
    """Stored configuration of a run of `aam train`."""

    model: FinetuneModel
    config: FinetuneConfig

    @property
    def encoder(self) -> PretrainModel:
        return self.model.encoder


AnyModel = Pretrained | Finetuned
K = TypeVar("K", Pretrained, Finetuned)
COMMAND_OF = {Pretrained: "aam pretrain", Finetuned: "aam train"}


def build_model(config: RunnableConfig) -> AnyModel:
    """Build an untrained model from its configuration."""
    if isinstance(config, FinetuneConfig):
        return Finetuned(FinetuneModel(config), config)
    return Pretrained(PretrainModel(config.model), config)


def open_model(path: Path | str) -> AnyModel:
    """Rebuild a trained model, in evaluation mode, from a run directory or a checkpoint folder.

    Returns a `PretrainModel` for a run of `aam pretrain`, a `FinetuneModel` for a run of `aam train`. A cross-validated
    run has one model in each of its folders `fold-…`.
    """
    stored = read_stored(find_checkpoint(Path(path)))
    if is_clades(stored.config):
        raise CheckpointError(
            f"{path}: a model of `aam train --learner clades`, which has no encoder; `aam predict` and `aam explain` "
            "take it, for anything else give a run of `aam pretrain` or another name of `aam models`"
        )
    opened = build_model(stored.config)
    try:
        opened.model.load_state_dict(stored.tensors(MODEL))
    except RuntimeError as error:
        raise CheckpointError(f"{path}: weights and configuration disagree: {tensor_error_text(error)}") from error
    opened.model.eval()
    return opened


def open_as(kind: type[K], path: Path | str) -> K:
    """As `open_model`, for one kind of run only; raises CheckpointError for the other kind."""
    opened = open_model(path)
    if isinstance(opened, kind):
        return opened
    raise CheckpointError(
        f"{path}: found a model of `{COMMAND_OF[type(opened)]}`, expected one of `{COMMAND_OF[kind]}`; give such a run"
    )


def open_predictors(path: Path) -> list[Finetuned]:
    """The models whose predictions are averaged; raises CheckpointError for a run of `aam pretrain`."""
    return [open_as(Finetuned, folder) for folder in find_members(path)]


def open_encoder(path: Path | str) -> tuple[PretrainModel, ModelConfig]:
    """The encoder of any checkpoint, pretrained or fine-tuned (of a cross-validated run, that of its first fold)."""
    opened = open_model(find_members(Path(path))[0])
    return opened.encoder, opened.config.model


def tensor_error_text(error: Exception) -> str:
    """Error text about many tensors in one line: the first of them and their number."""
    lines = [line.strip() for line in str(error).splitlines()]
    return lines[0] if len(lines) < 3 else f"{lines[1]} ({len(lines) - 1} tensors in all)"
