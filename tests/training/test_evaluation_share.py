"""Evaluations of a run of limited time: a fifth of it at most, which matters where one takes as long as a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from every_step import EveryStep

from aam.stopping import StopRequest
from aam.training.loop import TrainingRun, train
from aam.training.state import TrainState
from aam.training.step import Learner, StepResult

NewRun = Callable[..., tuple[TrainingRun, TrainState]]
STEP, EVALUATION = 6.0, 18.0
"""Seconds."""


class Watch(EveryStep):
    """A clock that only steps and evaluations move."""

    now = 0.0

    def add(self, result: StepResult) -> None:
        self.now += STEP
        super().add(result)


def evaluated_steps(new_run: NewRun, **options: Any) -> list[int]:
    """The steps after which a run evaluates."""
    watch, found = Watch(StopRequest(), None), list[int]()

    def evaluate(learner: Learner) -> dict[str, float]:
        watch.now += EVALUATION
        found.append(state.step)
        return {"loss": 1.0}

    run, state = new_run("run", evaluate=evaluate, patience=0, **options)
    run.meter, run.clock = watch, lambda: watch.now
    train(run, state, StopRequest())
    assert state.evaluation_seconds == EVALUATION * len(found)
    return found


def test_a_run_of_limited_time_evaluates_for_a_fifth_of_it(new_run: NewRun):
    """Of 450 s a fifth is 5 evaluations, and the last comes at the end in any case; ten would be 40 %."""
    found = evaluated_steps(new_run, max_minutes=7.5)
    assert 4 <= len(found) <= 6
    for number, step in enumerate(found[1:-1], start=1):
        assert number * EVALUATION <= 0.2 * (step * STEP + number * EVALUATION)
    assert found[-1] * STEP + (len(found) - 1) * EVALUATION >= 450


@pytest.mark.parametrize("more", [{}, {"max_minutes": 60.0, "eval_every": 4}], ids=["steps", "asked"])
def test_other_runs_evaluate_as_they_were_told(new_run: NewRun, more: dict[str, Any]):
    """About ten times in 40 steps, or as often as --eval-every says."""
    assert evaluated_steps(new_run, max_steps=40, **more) == [*range(4 if more else 8, 41, 4)]
