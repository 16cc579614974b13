"""A run that begins with the encoder of another: its size is that of the encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from aam.cli.terminal import TERMINAL
from aam.config import FinetuneConfig, PretrainConfig

C = TypeVar("C", PretrainConfig, FinetuneConfig)


def with_size_of_encoder(pretrained: Path, config: C, asked: dict[str, Any]) -> C:
    """The configuration with the model of a pretrained encoder; raises ConfigError where an option contradicts it."""
    from aam.workflows.opening import with_encoder_size

    return with_encoder_size(config, pretrained, asked, TERMINAL)
