"""A run that begins with the encoder of another: its size is that of the encoder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

from aam.cli.model_options import tell_last
from aam.config import FinetuneConfig, ModelConfig, PretrainConfig, flag, options
from aam.errors import ConfigError

C = TypeVar("C", PretrainConfig, FinetuneConfig)


def with_size_of_encoder(pretrained: Path, config: C, asked: dict[str, Any]) -> C:
    """The configuration with the model of a pretrained encoder; raises ConfigError where an option contradicts it."""
    own = [name for name in (*options(ModelConfig), "preset") if name in asked and name != "dropout"]
    if own:
        raise ConfigError(f"{flag(own[0])} is fixed by the encoder of --pretrained {pretrained}; leave it out")
    from aam.checkpoint import config_of_encoder

    tell_last(pretrained)
    model = config_of_encoder(pretrained).model
    model = dataclasses.replace(model, dropout=asked.get("dropout", model.dropout))
    shown = config.data.max_bp if "max_bp" in asked else model.max_bp
    if shown > model.max_bp:
        raise ConfigError(f"--max-bp is {shown}, but the encoder of --pretrained reads at most {model.max_bp} bases")
    return dataclasses.replace(config, model=model, data=dataclasses.replace(config.data, max_bp=shown))
