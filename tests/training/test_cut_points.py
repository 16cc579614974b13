"""Wherever a run is cut off, it goes on to the same bits: at every kind of moment, with workers and accumulation."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from every_step import EveryStep

from aam import folders
from aam.observer import Observer
from aam.stopping import StopRequest
from aam.training.loop import TrainingRun, train
from aam.training.repair import repair_run
from aam.training.sinks import open_sinks
from aam.training.state import TrainState

NewRun = Callable[..., tuple[TrainingRun, TrainState]]
STEPS = 7


class CutError(BaseException):
    """Stands for a process that ends here: nothing catches it."""


def nth(number: int) -> Callable[..., None]:
    """A hook that ends the process when it is called for the time of this number."""
    calls = iter(range(1, 1_000_000))

    def hook(*arguments: Any, **options: Any) -> None:
        if next(calls) == number:
            raise CutError

    return hook


def dying(function: Callable[..., Any], number: int, after: bool = False) -> Callable[..., Any]:
    """The function, which ends the process before or after its call of this number."""
    hook = nth(number)

    def call(*arguments: Any, **options: Any) -> Any:
        if not after:
            hook()
        found = function(*arguments, **options)
        if after:
            hook()
        return found

    return call


class CutSink:
    """A sink that ends the process at its second line of a kind."""

    def __init__(self, kind: str):
        self.kind, self.hook = kind, nth(2)

    def write(self, kind: str, step: int, values: dict[str, float], share: float) -> None:
        if kind == self.kind:
            self.hook()

    def close(self) -> None: ...


def arm(run: TrainingRun, kind: str, patch: pytest.MonkeyPatch, accumulate: int) -> list[Any]:
    """Let a run be cut off at a moment of this kind, after its first checkpoint; returns its further sinks."""
    optimizer = run.learner.optimizer
    if kind == "first batch of a step":
        run.learner.model.register_forward_pre_hook(nth(3 * accumulate + 1))
    elif kind == "last batch of an accumulation":
        run.learner.model.register_forward_pre_hook(nth(4 * accumulate))
    elif kind == "before the update":
        optimizer.register_step_pre_hook(nth(4))
    elif kind == "after the update":
        optimizer.register_step_post_hook(nth(4))
    elif kind == "evaluation":
        run.evaluate = dying(run.evaluate, 2)
    elif kind == "after the evaluation":
        return [CutSink("validation")]
    elif kind.startswith("rename "):
        patch.setattr(Path, "rename", dying(Path.rename, int(kind.split()[1])))
    elif kind == "writing a checkpoint":
        patch.setattr(folders, "sync", dying(folders.sync, 13))
    elif kind == "after saving":
        run.save = dying(run.save, 3, after=True)  # type: ignore[method-assign]
    return []


KINDS = (
    "first batch of a step", "last batch of an accumulation", "before the update", "after the update", "evaluation",
    "after the evaluation", "writing a checkpoint", "rename 3", "rename 4", "rename 5", "rename 6", "after saving",
)  # fmt: skip
FEW = {("last batch of an accumulation", 0, 4), ("rename 4", 0, 1), ("evaluation", 2, 1)}
CASES = [
    pytest.param(kind, workers, accumulate, marks=() if (kind, workers, accumulate) in FEW else pytest.mark.slow)
    for kind in KINDS
    for workers in (0, 2)
    for accumulate in (1, 4)
]


def trained(run: TrainingRun, state: TrainState, more: list[Any]) -> list[Any]:
    """Train with the log of a run; the loss terms of every step."""
    run.config.run.output_dir.mkdir(exist_ok=True)
    with open_sinks(run.config.run.output_dir, state.step, more) as run.sinks:
        run.meter = EveryStep(StopRequest(), None)
        train(run, state, StopRequest())
    return run.meter.losses


@pytest.mark.parametrize(("kind", "workers", "accumulate"), CASES)
def test_a_run_that_is_cut_off_ends_with_the_bits_of_one_that_was_not(
    new_run: NewRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, workers: int, accumulate: int
):
    options: dict[str, Any] = {
        "max_steps": STEPS, "eval_every": 2, "num_workers": workers, "accumulate": accumulate, "batch_size": 24,
    }  # fmt: skip  # an epoch has 6 batches: it ends within these steps
    whole = new_run("whole", **options)
    wanted = trained(*whole, [])
    broken = new_run("broken", **options)
    with monkeypatch.context() as patch, pytest.raises(CutError):
        trained(*broken, arm(broken[0], kind, patch, accumulate))
    torch.manual_seed(123)  # another process finds another random state
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this run has no manifest
        repair_run(tmp_path / "broken", Observer())
    run, state = new_run("broken", **options, resume=True)
    assert state.step >= 2
    done = state.step
    rest = trained(run, state, [])
    assert len(rest) == STEPS - done
    assert all(torch.equal(one, other) for one, other in zip(rest, wanted[done:], strict=True))
    final = whole[0].learner.model.state_dict()
    assert all(torch.equal(tensor, final[name]) for name, tensor in run.learner.model.state_dict().items())
