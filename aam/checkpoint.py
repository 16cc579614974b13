"""Checkpoints on disk: safetensors plus JSON, written atomically, each file checked when it is read; models from them.

A run directory holds `best/`, `last/` and `previous/`; each has `model.safetensors`, `config.json` and, to resume the
run, `training.safetensors` and `state.json`. `config.json` is sealed and has the digests of the other files. No pickle
is written or read. Only the path is needed to rebuild a model.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from safetensors.torch import save_file
from torch import Tensor

from aam.atomic import follow_umask, name_file, write_record
from aam.config import FinetuneConfig, ModelConfig, PretrainConfig, RunnableConfig, is_clades, to_dict
from aam.errors import CheckpointError
from aam.folders import BEST, LAST, PREVIOUS, old_folder_of, replace_folder
from aam.io.files import digest
from aam.models.finetune_model import FinetuneModel
from aam.models.pretrain_model import PretrainModel
from aam.stored import (
    CHECKPOINT_FORMAT,
    CONFIG,
    KIND_OF,
    MODEL,
    RETRY_SECONDS,
    STATE,
    TRAINING,
    read_about,
    read_checked,
    read_now,
    read_stored,
    read_unchanged,
)

FOLD = "fold-"


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


def write_about(folder: Path, checkpoint: Checkpoint) -> None:
    """Write state and configuration of a checkpoint beside its tensors."""
    write_record(folder / STATE, checkpoint.state)
    digests = {file: digest(folder / file) for file in (MODEL, TRAINING, STATE)}
    about = {"format": CHECKPOINT_FORMAT, "kind": KIND_OF[type(checkpoint.config)], "sha256": digests}
    write_record(folder / CONFIG, about | to_dict(checkpoint.config))


@contextmanager
def further_file(folder: Path, file: str) -> Iterator[None]:
    """Context in which a further file of a checkpoint is written; afterwards `CONFIG` has its digest.

    Until then it has none, so that a crash leaves no digest of another file. A checkpoint without digests stays so, and
    a folder that is no checkpoint has none.
    """
    about = read_checked(folder, CONFIG, read_about) if is_checkpoint(folder) else {}
    digests = {name: found for name, found in (about.get("sha256") or {}).items() if name != file}
    if not digests:
        yield
        return
    write_record(folder / CONFIG, about | {"sha256": digests})
    yield
    write_record(folder / CONFIG, about | {"sha256": digests | {file: digest(folder / file)}})


def check_further_file(folder: Path, file: str) -> None:
    """Raise CheckpointError for a further file that is not as `further_file` left it; no checkpoint has no digest."""
    if is_checkpoint(folder):
        read_unchanged(folder, lambda found: read_stored(found).check_further(file))


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read all of a checkpoint folder, to resume the run."""

    def load(folder: Path) -> Checkpoint:
        stored = read_now(folder)
        return Checkpoint(stored.config, stored.tensors(MODEL), stored.tensors(TRAINING), stored.state())

    return read_unchanged(folder, load)


def find_checkpoint(path: Path) -> Path:
    """The checkpoint folder of a run directory (best, else last, else previous), or the given one itself."""
    for folder in (path, path / BEST, path / LAST, path / PREVIOUS):
        if is_checkpoint(folder):
            return folder
        if (folder / MODEL).exists():
            raise CheckpointError(f"{folder}: {CONFIG} is missing beside {MODEL}; copy the whole folder again")
    if folds := fold_folders(path):
        raise CheckpointError(f"{path}: the run has a model in each of its {len(folds)} folds; give one, as {folds[0]}")
    raise CheckpointError(f"{path}: no checkpoint here, expected a run directory with best/ or last/; check the path")


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder is a checkpoint, or a run is about to replace it."""
    if (folder / CONFIG).exists():
        return True
    if folder.name != LAST and (old_folder_of(folder) / CONFIG).exists():
        return True
    if folder.name in (BEST, LAST) and old_folder_of(folder).exists():
        time.sleep(RETRY_SECONDS)  # for the second of the two renames by which a run replaces it
    return (folder / CONFIG).exists()


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
    return read_unchanged(find_checkpoint(Path(path)), open_now)


def open_now(path: Path) -> AnyModel:
    """As `open_model`, of the checkpoint that is there now."""
    stored = read_now(path)
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
