"""A run of flat held-out loss ends early, by a short fall of the learning rate; resumed, it is bitwise the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from test_resume import everything, trained

from aam.config import FinetuneConfig, OptimConfig, PretrainConfig, RunConfig, from_options
from aam.corpus.pretraining import Corpus
from aam.inference.heldout import HeldOut
from aam.training.loop import TrainingRun
from aam.training.optim import learning_rate
from aam.training.sinks import open_sinks, read_log
from aam.training.state import Budget, TrainState, patience_of
from aam.training.step import Learner, score

NewRun = Callable[..., tuple[TrainingRun, TrainState]]
FLAT: dict[str, Any] = {"max_steps": 20, "eval_every": 2, "patience": 2}
"""Evaluations of a constant loss after 2, 4 and 6 steps: the last two are flat, and a fifth of 6 steps follows: 2."""


def flat_after(losses: Sequence[float], patience: int) -> int:
    """Number of the evaluation, from 1, that finds the loss flat; 0: none does."""
    state = TrainState()
    for number, loss in enumerate(losses, start=1):
        state.step = 10 * number
        if state.note_loss(loss, patience):
            assert state.ends == 10 * number + 2 * number  # a fifth more
            return number
    assert state.ends == 0
    return 0


@pytest.mark.parametrize(
    ("losses", "patience", "found"),
    [
        ([0.9**n for n in range(10)], 3, 0),
        ([1.0] * 10, 3, 4),  # three after the first
        ([1.0] * 10, 1, 2),
        ([1.0] * 10, 0, 0),  # never
        ([1.0, 0.995, 0.9925, 0.991], 3, 4),  # 0.9 % in three evaluations
        ([1.0, 0.996, 0.992, 0.988, 0.984, 0.98, 0.976], 3, 0),  # 0.4 % each: 1.2 % in three
        ([1.0, 1.2, 0.9, 1.1, 1.3, 0.8, 0.9, 1.0, 0.795], 3, 9),  # noise, which falls until the sixth
        ([2.0, 1.0, 3.0, 0.995, 3.0], 3, 5),  # 0.995 is not 1 % below 1
        ([-1.0, -1.005, -1.02, -1.021, -1.022, -1.023], 3, 6),  # a loss may be negative
        ([0.0, 0.0, 0.0, 0.0], 3, 4),
    ],
)
def test_a_loss_is_flat_where_it_has_not_fallen_by_a_hundredth(losses: list[float], patience: int, found: int):
    assert flat_after(losses, patience) == found


def test_the_count_stands_still_once_the_end_is_set():
    """The rate falls then, and so may the loss; it ends all the same."""
    state = TrainState(step=100)
    assert [state.note_loss(1.0, 1) for _ in range(2)] == [False, True]
    state.step = 110
    assert not state.note_loss(0.5, 1)
    assert (state.ends, state.stale_evaluations) == (120, 1)


def test_the_learning_rate_falls_to_zero_from_there():
    optim, budget = OptimConfig(lr=1.0, warmup_fraction=0.0), Budget(1000, None)
    before = learning_rate(99, budget.horizon(TrainState(step=99)), optim)
    flat = TrainState(step=100, ends=120)
    assert budget.horizon(flat) == 120 and budget.share(flat) == 100 / 120 and not budget.spent(flat)
    rates = [learning_rate(step, budget.horizon(flat), optim) for step in range(100, 121)]
    # 20 of 120 updates are left: 20 / 120, then 19 / 120, …
    assert rates == pytest.approx([left / 120 for left in range(20, -1, -1)])
    assert before == pytest.approx(1 - 99 / 1000) and rates[0] < before
    flat.step = 120
    assert budget.spent(flat) and not budget.used_up(flat)


def test_a_budget_that_ends_before_stays_the_end():
    assert Budget(110, None).horizon(TrainState(step=100, ends=120)) == 110
    assert Budget(None, 60.0).horizon(TrainState(step=100, seconds=50.0, ends=200)) == 120  # 0.5 s each, 10 s left
    assert Budget(None, 600.0).horizon(TrainState(step=100, seconds=50.0, ends=200)) == 200


@pytest.mark.parametrize(
    ("given", "patience"),
    [
        ({}, 3),
        ({"epochs": 5}, 0),
        ({"max_steps": 5}, 0),
        ({"max_minutes": 5.0}, 0),
        ({"epochs": 5, "patience": 4}, 4),
        ({"patience": 0}, 0),
    ],
)
def test_a_run_whose_length_was_given_keeps_it(given: dict[str, Any], patience: int):
    assert patience_of(RunConfig(**given)) == patience


def test_a_run_of_aam_train_has_a_length_by_default():
    assert patience_of(from_options(FinetuneConfig, {}).run) == 0


def test_a_flat_run_ends_early_says_so_and_stays_ended(new_run: NewRun, tmp_path: Path):
    run, state = new_run("run", **FLAT)
    (tmp_path / "run").mkdir()
    with open_sinks(tmp_path / "run", 0) as run.sinks:
        assert len(trained(run, state)) == 8
    assert (state.step, state.best_step, state.done) == (8, 2, True)
    assert run.early_end(state) == "ended early, at step 8: held-out loss flat for 2 evaluations"
    told = [record for record in read_log(tmp_path / "run") if record["kind"] == "flat"]
    assert [(record["step"], record["evaluations"], record["ends"]) for record in told] == [(6, 2, 8)]
    assert trained(*new_run("run", **FLAT, resume=True)) == []
    # three are allowed now: it is flat again after one more evaluation at step 10, and ends after a fifth of 10 steps
    assert len(trained(*new_run("run", **FLAT | {"patience": 3}, resume=True))) == 4
    assert len(trained(*new_run("run", **FLAT | {"patience": 0}, resume=True))) == 8  # to step 20


def test_a_run_that_ends_with_its_budget_did_not_end_early(new_run: NewRun):
    run, state = new_run("run", max_steps=6, eval_every=2, patience=2)
    assert len(trained(run, state)) == 6 and run.early_end(state) == ""


def test_a_run_of_an_earlier_version_that_had_lost_patience_stays_ended(new_run: NewRun):
    run, _ = new_run("run", max_steps=9)
    state = TrainState(step=3, best_loss=1.0, best_step=1, stale_evaluations=2, done=True)
    run.save(state, "last")
    again, found = new_run("run", max_steps=9, patience=2, resume=True)
    assert found.done and found.ends == 3 and trained(again, found) == []


@pytest.mark.parametrize(
    "after", [5, 6, 7], ids=["before it is flat", "with that evaluation", "in the fall of the rate"]
)
def test_interrupted_and_resumed_it_is_bitwise_the_same(new_run: NewRun, example: Corpus, after: int):
    """With the real held-out loss, of which a fall by 1 % is asked at every other step."""
    held_out = HeldOut.of(from_options(PretrainConfig, {"example": True, "max_bp": 20, "token_limit": 16}), example)

    def evaluate(learner: Learner) -> dict[str, float]:
        return held_out.validate(learner.model, lambda batch: score(learner, batch)[1])

    options = FLAT | {"lr": 1e-6, "evaluate": evaluate}  # learns next to nothing
    whole = new_run("whole", **options)
    wanted, final = trained(*whole), everything(whole[0])
    assert whole[1].step == 8 and math.isfinite(whole[1].flat_loss)
    first = trained(*new_run("broken", **options), after=after)
    torch.manual_seed(123)
    again = new_run("broken", **options, resume=True)
    rest = trained(*again)
    assert len(first) + len(rest) == 8 and again[1].ends == 8
    assert all(torch.equal(*pair) for pair in zip([*first, *rest], wanted, strict=True))
    for name, tensor in everything(again[0]).items():
        assert torch.equal(tensor, final[name]), name
