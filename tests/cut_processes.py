"""Trainings in processes that are killed at a moment of their work, as a cluster kills them: nothing is cleaned up."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from aam import folders
from aam.folders import LAST, PREVIOUS, partial_folder_of
from aam.training.loop import TrainingRun

KINDS = (
    "first batch of the run", "first batch of a step", "last batch of an accumulation", "between epochs",
    "before the update", "after the update", "evaluation", "after the evaluation", "writing a checkpoint",
    "before the last becomes the previous", "before the new becomes the last", "before the previous is removed",
    "after saving",
)  # fmt: skip
"""Moments of a run that saves every two steps; all but the first lie between its first checkpoint and its end."""


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def nth(number: int) -> Callable[..., None]:
    """A hook that kills this process when it is called for the time of this number."""
    calls = count(1)

    def hook(*arguments: Any, **options: Any) -> None:
        if next(calls) == number:
            kill_self()

    return hook


def before(function: Callable[..., Any], hook: Callable[..., None]) -> Callable[..., Any]:
    """The function, with a hook before each call that is given its arguments."""

    def call(*arguments: Any, **options: Any) -> Any:
        hook(*arguments, **options)
        return function(*arguments, **options)

    return call


class KillingSink:
    """A sink that kills after the second evaluation."""

    def __init__(self) -> None:
        self.hook = nth(2)

    def write(self, kind: str, step: int, values: dict[str, float], share: float) -> None:
        if kind == "validation":
            self.hook()

    def close(self) -> None: ...


def arm(run: TrainingRun, kind: str) -> None:
    """Kill this process at a moment of this kind of a run, whose sinks are open."""
    learner, accumulate = run.learner, run.config.optim.accumulate
    batch = nth(batch_of(kind, accumulate, run.batches.per_epoch))
    second = nth(2)
    if kind in ("first batch of the run", "first batch of a step", "last batch of an accumulation", "between epochs"):
        learner.model.register_forward_pre_hook(lambda model, inputs: batch() if model.training else None)
    elif kind == "before the update":
        learner.optimizer.register_step_pre_hook(nth(4))
    elif kind == "after the update":
        learner.optimizer.register_step_post_hook(nth(4))
    elif kind == "evaluation":
        run.evaluate = before(run.evaluate, second)
    elif kind == "after the evaluation":
        run.sinks.append(KillingSink())
    elif kind == "after saving":
        run.save = after(run.save, second)  # type: ignore[method-assign]
    elif kind == "writing a checkpoint":
        partial = partial_folder_of(Path(LAST)).name
        folders.sync = before(folders.sync, lambda path: second() if path.name == partial else None)
    else:
        arm_rename(kind)


def batch_of(kind: str, accumulate: int, per_epoch: int) -> int:
    """Number, from 1, of the batch before which a kind of cut kills; 1 for kinds that are no cuts at a batch."""
    if kind == "between epochs":  # the first of an epoch that begins in the third step or later
        return next(number for number in count(1, per_epoch) if number > 2 * accumulate)
    return {"first batch of a step": 3 * accumulate + 1, "last batch of an accumulation": 4 * accumulate}.get(kind, 1)


def after(function: Callable[..., Any], hook: Callable[[], None]) -> Callable[..., Any]:
    """A method that saves, with a hook after each save of the last checkpoint."""

    def call(state: Any, name: str) -> Any:
        folder = function(state, name)
        if name == LAST:
            hook()
        return folder

    return call


def arm_rename(kind: str) -> None:
    """Kill before one of the renames that put a second checkpoint into the place of the first."""
    number = {"before the last becomes the previous": 1, "before the new becomes the last": 2}.get(kind, 1)
    hook, removal = nth(number), kind == "before the previous is removed"

    def named(path: Path, target: Path) -> None:
        old, new = path.name, Path(target).name
        wanted = {1: (LAST, PREVIOUS), 2: (partial_folder_of(Path(LAST)).name, LAST)}[number]
        if (removal and old == PREVIOUS) or (not removal and (old, new) == wanted):
            hook()

    Path.rename = before(Path.rename, named)  # type: ignore[method-assign]
