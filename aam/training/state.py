"""State of a run, its checkpoints and its budgets.

With this state, weights, optimiser and random state a run resumes exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aam.checkpoint import Checkpoint, load_checkpoint, tensor_error_text
from aam.config import RunConfig, RunnableConfig
from aam.errors import CheckpointError
from aam.training.optim import set_moments, set_weights
from aam.training.step import Learner

DEFAULT_EPOCHS = 100
"""Budget of a run that was given none."""
TIMED_STEPS = 5
"""Updates before the pace tells how many fit into a time budget."""
UNTIMED = 1000
"""Updates that a run is taken for until then; warm-up is a part of them, so the first ones already learn a little."""
EVALUATIONS = 10
"""Evaluations of a run whose configuration does not say how often."""
RANDOM_STATE = "random_state"
SHORTEST = 1e-9
"""Seconds that have passed at least: a clock may stand still between two looks at it."""


@dataclass
class TrainState:
    """`step` updates done, `batches` consumed, `seconds` trained; `horizon` is where the schedule ends.

    `unscored`: the evaluation after this step was cut off, and has to be made again.
    """

    step: int = 0
    batches: int = 0
    seconds: float = 0.0
    horizon: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    stale_evaluations: int = 0
    done: bool = False
    unscored: bool = False

    def out_of_patience(self, patience: int) -> bool:
        """Whether so many evaluations have passed without a better one; a patience of 0 never ends."""
        return 0 < patience <= self.stale_evaluations


@dataclass(frozen=True)
class Budget:
    """When a run ends: after `steps` updates or `seconds` of training, whichever comes first; None is no bound."""

    steps: int | None
    seconds: float | None

    @classmethod
    def of(cls, run: RunConfig, steps_per_epoch: int) -> Budget:
        """The tightest of the budgets that were given, or 100 epochs."""
        bounds = [run.max_steps] if run.max_steps is not None else []
        if run.epochs is not None or (run.max_steps is None and run.max_minutes is None):
            bounds.append((run.epochs or DEFAULT_EPOCHS) * steps_per_epoch)
        return cls(min(bounds, default=None), None if run.max_minutes is None else 60.0 * run.max_minutes)

    def spent(self, state: TrainState) -> bool:
        return (self.steps is not None and state.step >= self.steps) or (
            self.seconds is not None and state.seconds >= self.seconds
        )

    def horizon(self, state: TrainState) -> int:
        """Updates until the end: exact for a budget of steps, else estimated from the pace so far.

        The estimate is part of the state, so the learning rate stays a pure function of step and state.
        """
        steps = self.steps if self.steps is not None else 2**31
        if self.seconds is None:
            return steps
        if state.step < TIMED_STEPS:
            return min(steps, max(state.horizon, UNTIMED))
        pace = max(state.seconds, SHORTEST) / state.step
        return min(steps, state.step + max(0, int((self.seconds - state.seconds) / pace)))

    def share(self, state: TrainState) -> float:
        """Finished fraction of the run, 0 … 1."""
        by_step = 0.0 if self.steps is None else state.step / self.steps
        by_time = 0.0 if self.seconds is None else state.seconds / self.seconds
        return min(1.0, max(by_step, by_time))


def snapshot(config: RunnableConfig, learner: Learner, state: TrainState, health: dict[str, Any]) -> Checkpoint:
    """Everything that the rest of the run depends on; `health`: the record of its faults."""
    training = {RANDOM_STATE: torch.get_rng_state()}
    if learner.device.type == "cuda":
        training[f"{RANDOM_STATE}_cuda"] = torch.cuda.get_rng_state(learner.device)
    for index, tensors in learner.optimizer.state_dict()["state"].items():
        training |= {f"optimizer.{index}.{name}": tensor for name, tensor in tensors.items()}
    record = {"train": asdict(state), "scaler": learner.scaler.state_dict(), "health": health}
    return Checkpoint(config, learner.model.state_dict(), training, record)


def restore(learner: Learner, folder: Path, load_health: Callable[[dict[str, Any]], None] | None = None) -> TrainState:
    """Set model, optimiser, scaler and random state as `snapshot` found them; `load_health` is given its `health`.

    Raises CheckpointError if the checkpoint does not fit the learner.
    """
    checkpoint = load_checkpoint(folder)
    try:
        set_weights(learner.model, checkpoint.model)
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in checkpoint.training.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".")
                moments.setdefault(int(index), {})[name] = tensor
        set_moments(learner.optimizer, learner.optimizer.state_dict() | {"state": moments})
        learner.scaler.load_state_dict(checkpoint.state["scaler"])
        torch.set_rng_state(checkpoint.training[RANDOM_STATE].byte())
        if learner.device.type == "cuda":
            torch.cuda.set_rng_state(checkpoint.training[f"{RANDOM_STATE}_cuda"].byte(), learner.device)
        if load_health is not None:
            load_health(checkpoint.state["health"])
        return TrainState(**checkpoint.state["train"])
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder}: the run cannot go on from here ({tensor_error_text(error)}); start anew in another --output-dir"
        ) from error
