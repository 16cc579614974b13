"""A run directory as `aam pretrain` leaves it, in milliseconds: random weights, real configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from aam.checkpoint import Checkpoint, save_checkpoint
from aam.config import PretrainConfig, from_options
from aam.folders import BEST
from aam.models.pretrain_model import PretrainModel


def save_run(folder: Path, **options: Any) -> Path:
    """Write a checkpoint of a tiny model, options as on the command line, and return its run directory."""
    torch.manual_seed(0)
    config = from_options(PretrainConfig, {"preset": "tiny", "example": True} | options)
    model = PretrainModel(config.model)
    with torch.no_grad():
        for parameter in model.parameters():  # no head at zero, where nothing depends on anything
            parameter += 0.02 * torch.randn_like(parameter)
    save_checkpoint(folder / BEST, Checkpoint(config, model.state_dict(), {}, {}))
    return folder
