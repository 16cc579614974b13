"""State of a run, its checkpoints and its budgets.

With this state, weights, optimiser and random state a run resumes exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aam.atomic import sync
from aam.checkpoint import Checkpoint, load_checkpoint, tensor_error_text
from aam.config import RunConfig, RunnableConfig
from aam.errors import CheckpointError
from aam.health.ledger import FILE_NAME
from aam.models.devices import lasted
from aam.records import FINGERPRINT, NUMBER, Fingerprint, Many, check_shape
from aam.stored import STATE
from aam.training.optim import set_moments, set_weights
from aam.training.sinks import LOG
from aam.training.step import Learner

DEFAULT_EPOCHS, DEFAULT_MINUTES, DEFAULT_PATIENCE = 100, 20.0, 3
"""Budgets of a run that was given none; the first that is reached ends it. Patience is in evaluations."""
WORTHWHILE_FALL = 0.01
"""Fall of the held-out loss, as a fraction, that shows that a run still learns."""
TAIL = 0.2
"""Length of the end of a run of flat loss, in which the learning rate falls to 0, as a fraction of updates before."""
TIMED_STEPS = 5
"""Updates before the pace tells how many fit into a time budget."""
UNTIMED = 1000
"""Updates that a run is taken for until then; warm-up is a part of them, so the first ones already learn a little."""
EVALUATIONS = 10
"""Evaluations of a run whose configuration does not say how often."""
EVALUATION_SHARE = 0.2
"""Part of a run of limited time that these may take; a short run of large batches has fewer."""
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
        "stale_evaluations": int, "done": bool, "unscored?": bool, "flat_loss?": NUMBER, "ends?": int,
        "evaluation_seconds?": NUMBER,
    },
    "scaler": dict,
    "health": HEALTH,
    "files?": Many(FINGERPRINT, named=True),
}  # fmt: skip
"""Shape of the state that a run goes on from."""


@dataclass
class TrainState:
    """`step` updates done, `batches` consumed, `seconds` trained; `horizon` is where the schedule ends.

    `unscored`: the evaluation after this step was cut off, and has to be made again. `flat_loss`: the held-out loss
    that is not yet beaten by `WORTHWHILE_FALL`, and `stale_evaluations`, how many have passed since. `ends`: the update
    that a run of flat loss ends with, 0 before. Of `seconds`, `evaluation_seconds` went into evaluations.
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
    flat_loss: float = math.inf
    ends: int = 0
    evaluation_seconds: float = 0.0

    def note_loss(self, loss: float, patience: int) -> bool:
        """Note a held-out loss; whether it has become flat with it, so that the run shall end soon.

        Once that is so the count stands still: the loss may fall again while the run ends.
        """
        if self.ends:
            return False
        if math.isinf(self.flat_loss) or self.flat_loss - loss > WORTHWHILE_FALL * abs(self.flat_loss):
            self.flat_loss, self.stale_evaluations = loss, 0
        else:
            self.stale_evaluations += 1
        return self.settle_end(patience)

    def settle_end(self, patience: int) -> bool:
        """Set where the run ends if so many evaluations were flat, else that it does not end early; whether it is new.

        A patience of 0 never ends a run. A run that is resumed with more patience than it had goes on.
        """
        before = self.ends
        if not 0 < patience <= self.stale_evaluations:
            self.ends = 0
        elif not before:
            self.ends = self.step + (0 if self.done else math.ceil(TAIL * self.step))
        return self.ends > before


def patience_of(run: RunConfig) -> int:
    """Flat evaluations that end a run, 0: none; a run whose length was given keeps it."""
    if run.patience is not None:
        return run.patience
    return DEFAULT_PATIENCE if unbounded(run) else 0


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

    def used_up(self, state: TrainState) -> bool:
        """Whether steps or time are used up."""
        return (self.steps is not None and state.step >= self.steps) or (
            self.seconds is not None and state.seconds >= self.seconds
        )

    def spent(self, state: TrainState) -> bool:
        """Whether the run is over: used up, or ended early."""
        return self.used_up(state) or 0 < state.ends <= state.step

    def horizon(self, state: TrainState) -> int:
        """Updates until the end: exact for a budget of steps, else estimated from the pace so far.

        The estimate is part of the state, so the learning rate stays a pure function of step and state.
        """
        steps = self.steps if self.steps is not None else 2**31
        steps = min(steps, state.ends or steps)
        if self.seconds is None:
            return steps
        if state.step < TIMED_STEPS:
            return min(steps, max(state.horizon, UNTIMED))
        pace = lasted(state.seconds) / state.step
        return min(steps, state.step + max(0, int((self.seconds - state.seconds) / pace)))

    def share(self, state: TrainState) -> float:
        """Finished fraction of the run, 0 … 1."""
        by_step = 0.0 if self.steps is None else state.step / self.steps
        by_time = 0.0 if self.seconds is None else state.seconds / self.seconds
        by_end = state.step / state.ends if state.ends else 0.0
        return min(1.0, max(by_step, by_time, by_end))


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
        counts = (state.step, state.batches, state.horizon, state.best_step, state.stale_evaluations, state.ends)
        if min(state.seconds, *counts) < 0:
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
