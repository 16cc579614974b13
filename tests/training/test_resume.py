"""A run that was interrupted and taken up again is, to the last bit, the run that was not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from every_step import EveryStep
from torch import Tensor

from aam.errors import CheckpointError, ConfigError, Interrupted, NonFiniteError
from aam.stopping import StopRequest
from aam.training.loop import TrainingRun, train
from aam.training.manifest import resume_config
from aam.training.state import TrainState

NewRun = Callable[..., tuple[TrainingRun, TrainState]]
STEPS, BREAK = 6, 4


def trained(run: TrainingRun, state: TrainState, after: int | None = None) -> list[Tensor]:
    """Train; the loss terms of every step. Interrupted after so many steps where that is asked for."""
    stop = StopRequest()
    run.meter = EveryStep(stop, after)
    if after is None:
        train(run, state, stop)
    else:
        with pytest.raises(Interrupted, match=f"interrupted by SIGTERM after step {after}; go on with --resume"):
            train(run, state, stop)
    return run.meter.losses


def everything(run: TrainingRun) -> dict[str, Tensor]:
    """All tensors that a further step would depend on."""
    state = run.learner.optimizer.state_dict()["state"]
    moments = {f"{key}.{name}": tensor for key, entry in state.items() for name, tensor in entry.items()}
    scale = torch.tensor(run.learner.scaler.get_scale())
    return {**run.learner.model.state_dict(), **moments, "random": torch.get_rng_state(), "scale": scale}


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"num_workers": 2}, marks=pytest.mark.slow),
        {"num_workers": 2, "accumulate": 2},
        {"precision": "fp16", "accumulate": 2},
        pytest.param({"precision": "bf16"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_interrupted_and_resumed_is_bitwise_the_same(new_run: NewRun, more: dict[str, Any]):
    options: dict[str, Any] = {"max_steps": STEPS, **more}
    whole = new_run("whole", **options)
    wanted, final = trained(*whole), everything(whole[0])
    assert len(wanted) == STEPS and whole[1].batches == STEPS * more.get("accumulate", 1)
    assert whole[0].learner.scaler.is_enabled() is (more.get("precision") == "fp16")
    broken = new_run("broken", **options)
    first = trained(*broken, after=BREAK)
    torch.manual_seed(123)  # another process finds another random state
    again = new_run("broken", **options, resume=True)
    assert again[1].step == BREAK and not again[1].done
    rest = trained(*again)
    assert len(first) == BREAK and len(rest) == STEPS - BREAK
    for one, other in zip([*first, *rest], wanted, strict=True):
        assert torch.equal(one, other)
    for name, tensor in everything(again[0]).items():
        assert torch.equal(tensor, final[name]), name


def test_dropout_is_on_in_these_runs(new_run: NewRun):
    """Else the test above would not see a random state that was lost."""
    one, other = (trained(*new_run(str(dropout), max_steps=2, dropout=dropout)) for dropout in (0.0, 0.2))
    assert not torch.equal(one[1], other[1])


def test_how_often_is_evaluated_does_not_touch_the_run(new_run: NewRun):
    often, never = (trained(*new_run(str(every), max_steps=4, eval_every=every)) for every in (1, 100))
    assert all(torch.equal(*pair) for pair in zip(often, never, strict=True))


def test_a_finished_run_stays_finished_and_goes_on_with_a_larger_budget(new_run: NewRun, tmp_path: Path):
    trained(*new_run("run", max_steps=3))
    assert trained(*new_run("run", max_steps=3, resume=True)) == []
    folder = tmp_path / "run"
    config = resume_config({"output_dir": folder, "resume": True, "max_steps": 5})
    assert config.run.max_steps == 5 and config.model.dropout == 0.2 and config.data.example
    run, state = new_run("run", max_steps=5, resume=True)
    assert len(trained(run, state)) == 2 and state.step == 5


def test_the_best_and_the_last_checkpoint(new_run: NewRun, tmp_path: Path):
    losses = iter([3.0, 1.0, 2.0])
    run, state = new_run("run", evaluate=lambda learner: {"loss": next(losses)}, max_steps=3, eval_every=1)
    trained(run, state)
    assert (state.best_step, state.best_loss, state.stale_evaluations) == (2, 1.0, 1)
    states = {name: (tmp_path / "run" / name / "state.json").read_text() for name in ("best", "last")}
    assert '"step": 2' in states["best"] and '"step": 3' in states["last"]


def test_a_held_out_loss_that_is_no_number_ends_the_run_by_name(new_run: NewRun, tmp_path: Path):
    values = iter([{"loss": 2.0}, {"loss": float("nan"), "unifrac": float("inf"), "count": 1.0}])
    run, state = new_run("run", evaluate=lambda learner: next(values), max_steps=9, eval_every=1)
    with pytest.raises(NonFiniteError, match=r"held-out samples after step 2: loss nan, unifrac inf; the checkpoints"):
        trained(run, state)
    assert (tmp_path / "run" / "best" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"seed": 7}, "--resume: --seed is 7, but the run in .* began with 0; leave it out, or start another run"),
        ({"lr": 0.5}, "--resume: --lr is 0.5, but the run in .* began with"),
        ({"token_limit": 17}, "--resume: --token-limit is 17, but the run in .* began with 16"),
    ],
)
def test_what_would_make_it_another_run_is_refused(new_run: NewRun, tmp_path: Path, changed: dict, text: str):
    trained(*new_run("run", max_steps=1))
    with pytest.raises(ConfigError, match=text):
        resume_config({"output_dir": tmp_path / "run", "resume": True} | changed)


def test_a_checkpoint_of_another_model_is_refused(new_run: NewRun):
    trained(*new_run("run", max_steps=1))
    with pytest.raises(CheckpointError, match=r"last: the run cannot go on from here \(size.*start anew in another --"):
        new_run("run", max_steps=1, dim=64, resume=True)


def test_a_cross_validated_run_of_the_other_command_is_refused_by_name(tmp_path: Path):
    (tmp_path / "fold-1" / "last").mkdir(parents=True)
    (tmp_path / "manifest.json").write_text('{"config": {"target": {}}}')
    with pytest.raises(CheckpointError, match="a run of `aam train`, expected one of `aam pretrain`"):
        resume_config({"output_dir": tmp_path, "resume": True})
