"""Models from checkpoints: the one way to rebuild one, from nothing but its path."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypeVar

from aam.checkpoint.files import MODEL, find_checkpoint, find_members, look_into
from aam.config import FinetuneConfig, ModelConfig, PretrainConfig, RunnableConfig
from aam.errors import CheckpointError
from aam.models.finetune_model import FinetuneModel
from aam.models.pretrain_model import PretrainModel


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


def fresh(config: RunnableConfig) -> AnyModel:
    """A model as configured, before it has learned anything."""
    if isinstance(config, FinetuneConfig):
        return Finetuned(FinetuneModel(config), config)
    return Pretrained(PretrainModel(config.model), config)


def open_model(path: Path | str) -> AnyModel:
    """Rebuild a trained model, in evaluation mode, from nothing but a run directory or a checkpoint folder.

    What `aam pretrain` wrote gives a `PretrainModel`, what `aam train` wrote a `FinetuneModel`; a cross-validated run
    has one in each of its folders `fold-…`.
    """
    stored = look_into(find_checkpoint(Path(path)))
    opened = fresh(stored.config)
    try:
        opened.model.load_state_dict(stored.tensors(MODEL))
    except RuntimeError as error:
        raise CheckpointError(f"{path}: weights and configuration disagree: {brief(error)}") from error
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


def brief(error: Exception) -> str:
    """One line of an error about many tensors: the first of them and how many there are."""
    lines = [line.strip() for line in str(error).splitlines()]
    return lines[0] if len(lines) < 3 else f"{lines[1]} ({len(lines) - 1} tensors in all)"
