"""Checkpoints on disk: safetensors plus JSON, written atomically, each file checked when it is read; models from them.

A run directory holds `best/` and `last/`; each has `model.safetensors`, `config.json` and, to resume the run,
`training.safetensors` and `state.json`. No pickle is written or read. A model is rebuilt from nothing but its path.
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

from aam.atomic import read_json, sync, write_json
from aam.config import FinetuneConfig, ModelConfig, PretrainConfig, RunnableConfig, from_dict, to_dict
from aam.errors import CheckpointError, ConfigError
from aam.io.files import WEIGHTS, digest
from aam.models.finetune_model import FinetuneModel
from aam.models.pretrain_model import PretrainModel

MODEL, TRAINING = WEIGHTS, "training.safetensors"
CONFIG, STATE = "config.json", "state.json"
LAST, BEST = "last", "best"
FOLD = "fold-"
FORMAT = 1
"""Counts up when older code can no longer read a checkpoint."""
KINDS: dict[str, type[RunnableConfig]] = {"pretrain": PretrainConfig, "finetune": FinetuneConfig}
KIND_OF: dict[type[Any], str] = {config: name for name, config in KINDS.items()}
T = TypeVar("T")


@dataclass(frozen=True)
class Checkpoint:
    """What is stored: tensors and configuration of the model, and what the run needs to resume."""

    config: RunnableConfig
    model: dict[str, Tensor]
    training: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace `folder` by a complete checkpoint; a crash at any point leaves the old or the new one readable."""
    with replacing(folder) as partial:
        for file, tensors in ((MODEL, checkpoint.model), (TRAINING, checkpoint.training)):
            save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, partial / file)
        write_about(partial, checkpoint)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """An empty folder that replaces `folder` once its tensors are written and synced; after an error it is removed."""
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
    about = {"format": FORMAT, "kind": KIND_OF[type(checkpoint.config)], "sha256": digests}
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
        """The tensors of `MODEL` or `TRAINING`; raises CheckpointError where one is not finite."""
        tensors = self._read(file, load_file)
        for name, tensor in tensors.items():
            if not torch.isfinite(tensor).all():
                raise CheckpointError(f"{self.folder / file}: {name} holds NaN or Inf; use an earlier checkpoint")
        return tensors

    def state(self) -> dict[str, Any]:
        """The content of `STATE`."""
        return self._read(STATE, read_json)

    def _read(self, file: str, reader: Callable[[Path], T]) -> T:
        """Content of a file; raises CheckpointError where its digest is not the recorded one."""
        content = read_part(self.folder, file, reader)
        if self.digests is not None:
            found, expected = digest(self.folder / file), str(self.digests.get(file))
            if found != expected:
                raise CheckpointError(
                    f"{self.folder / file}: SHA-256 is {found[:12]}…, expected {expected[:12]}…: it has changed since "
                    "it was written; restore it, or use another checkpoint"
                )
        return content


def read_about(path: Path) -> dict[str, Any]:
    """The content of `CONFIG`; raises ValueError for another JSON file."""
    about = read_json(path)
    if not isinstance(about, dict) or "format" not in about:
        raise ValueError(f"{path.name} is not one of aam")
    return about


def read_part(folder: Path, file: str, reader: Callable[[Path], T]) -> T:
    """What `reader` makes of a file of a checkpoint; raises CheckpointError where it fails."""
    try:
        return reader(folder / file)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: not a readable checkpoint ({error}); give a run directory or its best/ or last/"
        ) from error


def read_stored(folder: Path) -> Stored:
    """Read the configuration of a checkpoint folder; `folder.old`, left by a crash between two renames, stands in for a
    missing one."""
    if not folder.exists() and old_folder_of(folder).exists():
        folder = old_folder_of(folder)
    about = read_part(folder, CONFIG, read_about)
    found = about.pop("format")
    if found != FORMAT:
        raise CheckpointError(
            f"{folder / CONFIG}: format {found!r}, expected {FORMAT}: written by another version of aam; update aam"
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
    """The folders of a cross-validated run, one a fold, in order; of another run none."""
    return sorted(path.glob(f"{FOLD}*"), key=lambda folder: (len(folder.name), folder.name))


def find_members(path: Path) -> list[Path]:
    """The checkpoints that predict together: one for each fold of a cross-validated run, else the only one."""
    return [find_checkpoint(folder) for folder in fold_folders(path) or [path]]


def config_of_encoder(path: Path) -> RunnableConfig:
    """The configuration of the run whose encoder `open_encoder` takes; no weights are read."""
    return read_stored(find_members(path)[0]).config


class Pretrained(NamedTuple):
    """What `aam pretrain` wrote."""

    model: PretrainModel
    config: PretrainConfig

    @property
    def encoder(self) -> PretrainModel:
        return self.model


class Finetuned(NamedTuple):
    """What `aam train` wrote."""

    model: FinetuneModel
    config: FinetuneConfig

    @property
    def encoder(self) -> PretrainModel:
        return self.model.encoder


AnyModel = Pretrained | Finetuned
K = TypeVar("K", Pretrained, Finetuned)
COMMANDS = {Pretrained: "aam pretrain", Finetuned: "aam train"}


def build_model(config: RunnableConfig) -> AnyModel:
    """A model as configured, before it has learned anything."""
    if isinstance(config, FinetuneConfig):
        return Finetuned(FinetuneModel(config), config)
    return Pretrained(PretrainModel(config.model), config)


def open_model(path: Path | str) -> AnyModel:
    """Rebuild a trained model, in evaluation mode, from nothing but a run directory or a checkpoint folder.

    What `aam pretrain` wrote gives a `PretrainModel`, what `aam train` wrote a `FinetuneModel`; a cross-validated run
    has one in each of its folders `fold-…`.
    """
    stored = read_stored(find_checkpoint(Path(path)))
    opened = build_model(stored.config)
    try:
        opened.model.load_state_dict(stored.tensors(MODEL))
    except RuntimeError as error:
        raise CheckpointError(f"{path}: weights and configuration disagree: {tensor_error_text(error)}") from error
    opened.model.eval()
    return opened


def open_as(kind: type[K], path: Path | str) -> K:
    """`open_model` of one kind; raises CheckpointError for the other."""
    opened = open_model(path)
    if isinstance(opened, kind):
        return opened
    raise CheckpointError(
        f"{path}: found a model of `{COMMANDS[type(opened)]}`, expected one of `{COMMANDS[kind]}`; give such a run"
    )


def open_predictors(path: Path) -> list[Finetuned]:
    """The models that predict together; raises CheckpointError for a run of `aam pretrain`."""
    return [open_as(Finetuned, folder) for folder in find_members(path)]


def open_encoder(path: Path | str) -> tuple[PretrainModel, ModelConfig]:
    """The encoder of any checkpoint, pretrained or fine-tuned (of a cross-validated run, that of its first fold)."""
    opened = open_model(find_members(Path(path))[0])
    return opened.encoder, opened.config.model


def tensor_error_text(error: Exception) -> str:
    """One line of an error about many tensors: the first of them and how many there are."""
    lines = [line.strip() for line in str(error).splitlines()]
    return lines[0] if len(lines) < 3 else f"{lines[1]} ({len(lines) - 1} tensors in all)"
