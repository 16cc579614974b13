"""The optimiser of a model, the learning rate as a pure function of the step, and the scale of losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from aam.config import OptimConfig
from aam.health.groups import parameter_groups
from aam.training.muon import Group, MuonAdamW, matrices_apart

MODEST_SCALE = 1024.0
"""At this scale of losses gradients of a sound model stay in the range of fp16: for checks, which look for no other."""


def learning_rate(step: int, horizon: int, config: OptimConfig) -> float:
    """Rate of update `step` (from 0) of `horizon`: a line up to the peak, then one down to 0.

    Warm-up is a fraction of the run, so it is never longer than it; the first update already moves the weights.
    """
    warmup = config.warmup_fraction * horizon
    if step < warmup:
        return config.lr * min(1.0, (step + 1) / warmup)
    progress = min(1.0, (step - warmup) / max(1.0, horizon - warmup))
    return config.lr * (1 - progress)


def build_optimizer(model: nn.Module, config: OptimConfig) -> MuonAdamW:
    """The optimiser that is configured, with decay on matrices only."""
    return optimizer_of(parameter_groups(model, config.weight_decay), model, config)


def optimizer_of(groups: Sequence[Group], model: nn.Module, config: OptimConfig) -> MuonAdamW:
    """The optimiser that is configured, over groups of a model that say how they decay."""
    groups = list(matrices_apart(groups, model)) if config.optimizer == "muon" else groups
    return MuonAdamW(groups, config.lr, config.precision)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of all groups; one with a `scale` (layers that learn more slowly) gets that part of it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)


def loss_scaler(config: OptimConfig, device: torch.device, start: float = 2.0**16) -> torch.amp.GradScaler:
    """Scales losses by `start` at first, so that gradients of fp16 do not vanish; does nothing in other precisions.

    Gradients that overflow at that are no fault in a run, which halves the scale and goes on.
    """
    return torch.amp.GradScaler(device.type, init_scale=start, enabled=config.precision == "fp16")
