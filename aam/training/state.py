"""State of a run, its checkpoints and its budgets.

With this state, weights, optimiser and random state a run resumes exactly.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor

from aam.atomic import sync
from aam.checkpoint import STATE, Checkpoint, load_checkpoint, tensor_error_text
from aam.config import RunConfig, RunnableConfig
from aam.errors import CheckpointError
from aam.health.ledger import FILE_NAME
from aam.records import FINGERPRINT, NUMBER, Fingerprint, Many, check_shape
from aam.training.optim import set_moments, set_weights
from aam.training.sinks import LOG
from aam.training.step import Learner

DEFAULT_EPOCHS, DEFAULT_MINUTES = 100, 20.0
"""Budgets of a run that was given none; the first that is reached ends it."""
TIMED_STEPS = 5
"""Updates before the pace tells how many fit into a time budget."""
UNTIMED = 1000
"""Updates that a run is taken for until then; warm-up is a part of them, so the first ones already learn a little."""
EVALUATIONS = 10
"""Evaluations of a run whose configuration does not say how often."""
RANDOM_STATE = "random_state"
GROWING = (LOG, FILE_NAME)
"""Files of a run that it appends to; a checkpoint has the fingerprints of what they held."""
HEALTH = {
    "interventions": dict,
    "skipped": Many(int),
    "quarantined": Many(str),
    "reach": NUMBER,
    "spikes": int,
    "scaled": bool,
}
STATE_SHAPE = {
    "train": {
        "step": int, "batches": int, "seconds": NUMBER, "horizon": int, "best_loss": NUMBER, "best_step": int,
        "stale_evaluations": int, "done": bool,
    },
    "scaler": dict,
    "health": HEALTH,
    "files?": Many(FINGERPRINT, named=True),
}  # fmt: skip
"""Shape of the state that a run goes on from."""


@dataclass
class TrainState:
    """`step` updates done, `batches` consumed, `seconds` trained; `horizon` is where the schedule ends."""

    step: int = 0
    batches: int = 0
    seconds: float = 0.0
    horizon: int = 0
    best_loss: float = math.inf
    best_step: int = 0
    stale_evaluations: int = 0
    done: bool = False

    def out_of_patience(self, patience: int) -> bool:
        """Whether so many evaluations have passed without a better one; a patience of 0 never ends."""
        return 0 < patience <= self.stale_evaluations


def unbounded(run: RunConfig) -> bool:
    """Whether no end of a run is given."""
    return run.epochs is None and run.max_steps is None and run.max_minutes is None


@dataclass(frozen=True)
class Budget:
    """When a run ends: after `steps` updates or `seconds` of training, whichever comes first; None is no bound."""

    steps: int | None
    seconds: float | None

    @classmethod
    def of(cls, run: RunConfig, steps_per_epoch: int) -> Budget:
        """The tightest of the budgets that were given, or of `DEFAULT_EPOCHS` and `DEFAULT_MINUTES`."""
        epochs, minutes = run.epochs, run.max_minutes
        if unbounded(run):
            epochs, minutes = DEFAULT_EPOCHS, DEFAULT_MINUTES
        bounds = [run.max_steps] if run.max_steps is not None else []
        bounds += [] if epochs is None else [epochs * steps_per_epoch]
        return cls(min(bounds, default=None), None if minutes is None else 60.0 * minutes)

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
        pace = max(state.seconds, 1e-9) / state.step
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
    record["files"] = fingerprints(config.run.output_dir)
    return Checkpoint(config, learner.model.state_dict(), training, record)


def fingerprints(run: Path) -> dict[str, dict[str, Any]]:
    """Those of the files of `GROWING` that a run has, which are on the disk afterwards."""
    there = [name for name in GROWING if (run / name).is_file()]
    for name in there:
        sync(run / name)
    return {name: Fingerprint.of(run / name)._asdict() for name in there}


def check_growing(run: Path, known: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise CheckpointError if a file of `GROWING` no longer begins as it was when a checkpoint was saved.

    One that is missing is allowed: it begins anew.
    """
    for name, recorded in known.items():
        path, remedy = run / name, "restore it, or move it away to go on with a new one"
        if not path.is_file():
            continue
        found = Fingerprint.of(path, recorded["bytes"])
        if found.bytes < recorded["bytes"]:
            what = f"has been cut: {found.bytes:,} bytes, expected {recorded['bytes']:,} or more"
            raise CheckpointError(f"{path} {what}; {remedy}")
        if found.sha256 != recorded["sha256"]:
            what = f"has changed since it was written, in its first {found.bytes:,} bytes"
            raise CheckpointError(f"{path} {what}; {remedy}")


def read_train_state(checkpoint: Checkpoint, folder: Path) -> TrainState:
    """The state of a run in the checkpoint of a folder; raises CheckpointError if it is none to go on from."""
    try:
        check_shape(checkpoint.state, STATE_SHAPE)
        state = TrainState(**checkpoint.state["train"])
        if min(state.step, state.batches, state.seconds, state.horizon, state.best_step, state.stale_evaluations) < 0:
            raise ValueError("a number of steps or seconds is negative")
        return state
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{folder / STATE}: {error}, so the run cannot go on from it; use another checkpoint"
        ) from error


def restore(learner: Learner, folder: Path, load_health: Callable[[dict[str, Any]], None] | None = None) -> TrainState:
    """Set model, optimiser, scaler and random state as `snapshot` found them; `load_health` is given its `health`.

    Raises CheckpointError if the checkpoint does not fit the learner.
    """
    checkpoint = load_checkpoint(folder)
    state = read_train_state(checkpoint, folder)
    check_growing(folder.parent, checkpoint.state.get("files", {}))
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
        return state
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder}: the run cannot go on from here ({tensor_error_text(error)}); start anew in another --output-dir"
        ) from error


class StopRequest:
    """Context in which the first SIGINT or SIGTERM asks a run to end after the current step.

    A second one ends the process at once. Outside of the context, and in threads other than the main one, where Python
    does not let handlers be set, signals have their usual effect.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.requested, self.name = False, ""

    def __enter__(self) -> StopRequest:
        signals = self.SIGNALS if threading.current_thread() is threading.main_thread() else ()
        self._previous = {number: signal.signal(number, self._ask) for number in signals}
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.requested, self.name = True, signal.Signals(number).name
        for each, handler in self._previous.items():
            signal.signal(each, handler)

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
