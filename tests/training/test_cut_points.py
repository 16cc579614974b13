"""Wherever a run is killed, it goes on to the same bits: at every kind of moment, with workers and accumulation."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from cut_processes import KINDS, arm
from every_step import EveryStep
from processes import in_process

from aam.folders import LAST
from aam.observer import Observer
from aam.stopping import StopRequest
from aam.training.loop import TrainingRun, train
from aam.training.repair import repair_run
from aam.training.sinks import open_sinks
from aam.training.state import TrainState

pytestmark = pytest.mark.usefixtures("one_thread")

NewRun = Callable[..., tuple[TrainingRun, TrainState]]
STEPS = 7
FEW = {
    ("last batch of an accumulation", 0, 4), ("before the new becomes the last", 0, 1), ("evaluation", 2, 1),
}  # fmt: skip
CASES = [
    pytest.param(kind, workers, accumulate, marks=() if (kind, workers, accumulate) in FEW else pytest.mark.slow)
    for kind in KINDS
    for workers in (0, 2)
    for accumulate in (1, 4)
]


class Ended(NamedTuple):
    """Loss terms of every step, and the weights at the end."""

    losses: list[torch.Tensor]
    weights: dict[str, torch.Tensor]


def options(workers: int, accumulate: int) -> dict[str, Any]:
    """An epoch has 6 batches: it ends within these steps."""
    return {
        "max_steps": STEPS, "eval_every": 2, "num_workers": workers, "accumulate": accumulate, "batch_size": 24,
    }  # fmt: skip


def trained(run: TrainingRun, state: TrainState, cut: str = "") -> Ended:
    """Train with the log of a run, and kill this process at a cut."""
    run.config.run.output_dir.mkdir(exist_ok=True)
    with open_sinks(run.config.run.output_dir, state.step, []) as run.sinks:
        run.meter = EveryStep(StopRequest(), None)
        if cut:
            arm(run, cut)
        train(run, state, StopRequest())
    return Ended(run.meter.losses, run.learner.model.state_dict())


@pytest.fixture(scope="module")
def whole() -> dict[int, Ended]:
    """Runs that nothing cut off, by accumulation."""
    return {}


@pytest.mark.parametrize(("kind", "workers", "accumulate"), CASES)
def test_a_run_that_is_killed_ends_with_the_bits_of_one_that_was_not(
    new_run: NewRun, whole: dict[int, Ended], tmp_path: Path, kind: str, workers: int, accumulate: int
):
    asked = options(workers, accumulate)
    if accumulate not in whole:
        whole[accumulate] = trained(*new_run("whole", **options(0, accumulate)))
    assert in_process(lambda: trained(*new_run("broken", **asked), kind)) == -9
    folder = tmp_path / "broken"
    torch.manual_seed(123)  # another process finds another random state
    resume = kind != "first batch of the run"  # before its first checkpoint it begins again
    if resume:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # this run has no manifest
            repair_run(folder, Observer())
    assert (folder / LAST).exists() == resume
    run, state = new_run("broken", **asked, resume=resume)
    done = state.step
    assert (2 <= done < STEPS) if resume else done == 0
    rest = trained(run, state)
    assert len(rest.losses) == STEPS - done
    assert all(torch.equal(one, other) for one, other in zip(rest.losses, whole[accumulate].losses[done:], strict=True))
    for name, tensor in whole[accumulate].weights.items():
        assert torch.equal(rest.weights[name], tensor), name
