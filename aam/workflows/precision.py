"""What `--precision auto` stands for, chosen once at the start of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import torch

from aam.config import FinetuneConfig, PretrainConfig
from aam.corpus.batches import TrainingBatches
from aam.health.precision import autocast_model, bisect_precision
from aam.models.devices import measure_bf16_gain, resolve_device
from aam.observer import Observer
from aam.training.step import Learner
from aam.training.world import World

RunnableT = TypeVar("RunnableT", PretrainConfig, FinetuneConfig)
Build = Callable[[], tuple[Learner, TrainingBatches]]
"""Builds the model of a run before its first step, and its batches."""
ALONE = World()
WORTHWHILE_GAIN = 1.5
"""Gain of bfloat16 in matrix products from which it is chosen; of a gain of 4 a step keeps about 2.

Processors that only imitate bfloat16 measure less than 1, those with instructions for it about 2 to 8. So on most
hardware noise cannot decide, and a command gives the same bits each time."""


def settle_precision(config: RunnableT, build: Build, observer: Observer, world: World = ALONE) -> RunnableT:
    """The configuration with fp32 or bf16 in place of `auto`, the same on all ranks; says which, if it is bf16.

    The configuration that a run records has the choice, so what comes later (--resume, replay) does not choose again.
    """
    if config.optim.precision != "auto":
        return config
    chosen = False
    if world.first:
        with observer.optional("the choice of --precision"):
            chosen = chooses_bf16(config, build, observer)
    chosen = bool(world.broadcast_first([chosen])[0])
    return dataclasses.replace(config, optim=dataclasses.replace(config.optim, precision="bf16" if chosen else "fp32"))


def chooses_bf16(config: PretrainConfig | FinetuneConfig, build: Build, observer: Observer) -> bool:
    """Whether bfloat16 is faster here, and the first batch comes out alike in it."""
    gain = measure_bf16_gain(resolve_device(config.run.device), config.model)
    if gain < WORTHWHILE_GAIN:
        return False
    learner, batches = build()
    inputs, model = learner.objective.inputs(batches[0].to(learner.device)), learner.model.eval()
    found = bisect_precision(model, lambda version: version(inputs), torch.bfloat16, autocast_model)
    error, fine = found.errors.get("bfloat16", float("nan")), found.verdict == "fine"
    observer.say(precision_text(gain, error, fine))
    return fine


def precision_text(gain: float, error: float, fine: bool) -> str:
    """One line on the choice: gain in matrix products, and relative error of the first batch."""
    measured = f"matrix products are {gain:.1f} times as fast in bfloat16 here"
    if fine:
        return f"precision: bf16 ({measured}, the first batch differs by {error:.1%}); --precision fp32 is without it"
    return f"precision: fp32 ({measured}, but the first batch differs by {error:.1%}; `aam precision` says where)"
