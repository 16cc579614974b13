"""A step or an evaluation that a signal cuts off: a checkpoint is written, and the resumed run is bitwise the same."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from every_step import EveryStep

from aam import stopping
from aam.errors import Interrupted
from aam.stopping import Stopped, StopRequest
from aam.training.loop import TrainingRun, train
from aam.training.state import TrainState

NewRun = Callable[..., tuple[TrainingRun, TrainState]]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "STEP_SECONDS", 0.05)
    monkeypatch.setattr(stopping, "ONE_SECONDS", 0.01)


def hang() -> None:
    """Be asked to stop, and do not come to an end."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


class Slow:
    """An evaluation, or a pass of the model, of which number `at` hangs; `at` 0: none."""

    def __init__(self, at: int):
        self.at, self.calls = at, 0

    def __call__(self, *args: Any) -> None:
        self.calls += 1
        if self.calls == self.at:
            hang()


def trained(run: TrainingRun, state: TrainState, cut: bool) -> list[torch.Tensor]:
    """Train with handlers; the loss terms of the steps."""
    stop = StopRequest()
    run.meter = EveryStep(stop, None)
    if cut:
        with pytest.raises(Interrupted, match=r"interrupted by SIGTERM after step \d; go on with --resume"), stop:
            train(run, state, stop)
    else:
        train(run, state, stop)
    return run.meter.losses


def final(run: TrainingRun) -> dict[str, torch.Tensor]:
    state = run.learner.optimizer.state_dict()["state"]
    moments = {f"{key}.{name}": tensor for key, entry in state.items() for name, tensor in entry.items()}
    return {**run.learner.model.state_dict(), **moments, "random": torch.get_rng_state()}


def scores() -> Callable[[Any], dict[str, float]]:
    """Held-out losses that depend on the weights alone: 1 at the first call, and better or worse later."""

    def evaluate(learner: Any) -> dict[str, float]:
        return {"loss": float(sum(p.detach().double().abs().sum() for p in learner.model.parameters()))}

    return evaluate


USUAL = [("first step", 1, 0), ("third step", 4, 0), ("third step", 1, 2), ("inside accumulation", 4, 2)]
"""Of the default tests: each kind of step with workers and without."""
CUTS = [
    pytest.param(*cut, marks=() if cut in USUAL else pytest.mark.slow)
    for cut in itertools.product(["first step", "third step", "inside accumulation"], [1, 4], [0, 2])
]


@pytest.mark.parametrize(("at", "accumulate", "workers"), CUTS)
def test_a_step_that_is_cut_off_is_made_again(new_run: NewRun, at: str, accumulate: int, workers: int):
    options = {"max_steps": 4, "accumulate": accumulate, "num_workers": workers, "batch_size": 4}
    whole = new_run("whole", **options)
    wanted = trained(*whole, cut=False)
    run, state = new_run("cut", **options)
    slow = Slow({"first step": 1, "third step": 2 * accumulate + 1, "inside accumulation": accumulate + 2}[at])
    run.learner.model.register_forward_hook(slow)
    first = trained(run, state, cut=True)
    torch.manual_seed(123)
    again, state = new_run("cut", **options, resume=True)
    assert state.step == len(first) and not state.unscored
    rest = trained(again, state, cut=False)
    assert len(first) < 4 and all(map(torch.equal, wanted, [*first, *rest])) and len(first) + len(rest) == 4
    assert all(torch.equal(tensor, final(whole[0])[name]) for name, tensor in final(again).items())


@pytest.mark.parametrize("at", [1, pytest.param(2, marks=pytest.mark.slow), 4])
def test_an_evaluation_that_is_cut_off_is_made_again(new_run: NewRun, at: int, tmp_path: Path):
    options: dict[str, Any] = {"max_steps": 4, "eval_every": 1}
    whole, state = new_run("whole", evaluate=scores(), **options)
    trained(whole, state, cut=False)
    slow, plain = Slow(at), scores()
    run, begun = new_run("cut", evaluate=lambda learner: (slow(), plain(learner))[1], **options)
    trained(run, begun, cut=True)
    again, resumed = new_run("cut", evaluate=scores(), **options, resume=True)
    assert resumed.step == at and resumed.unscored
    trained(again, resumed, cut=False)
    assert all(torch.equal(tensor, final(whole)[name]) for name, tensor in final(again).items())
    ours, theirs = ({k: v for k, v in vars(each).items() if "seconds" not in k} for each in (resumed, state))
    assert ours == theirs
    best = [(tmp_path / name / "best" / "model.safetensors").read_bytes() for name in ("whole", "cut")]
    assert best[0] == best[1]


def test_cut_off_while_weights_change_nothing_is_saved(new_run: NewRun, tmp_path: Path):
    """The checkpoint before stays, and the run goes on from there."""
    options: dict[str, Any] = {"max_steps": 4, "eval_every": 1}
    whole, state = new_run("whole", evaluate=scores(), **options)
    trained(whole, state, cut=False)
    run, begun = new_run("cut", evaluate=scores(), **options)
    slow = Slow(3)
    run.learner.optimizer.register_step_pre_hook(slow)
    with pytest.raises(Stopped), StopRequest() as stop:
        train(run, begun, stop)
    again, resumed = new_run("cut", evaluate=scores(), **options, resume=True)
    assert resumed.step in (1, 2), "a loaded machine may cut the second step off"
    trained(again, resumed, cut=False)
    assert all(torch.equal(tensor, final(whole)[name]) for name, tensor in final(again).items())
