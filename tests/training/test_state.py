"""Budgets, horizons, and what of a state survives JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aam.config import OptimConfig, RunConfig
from aam.training.optim import learning_rate
from aam.training.state import DEFAULT_EPOCHS, DEFAULT_MINUTES, TIMED_STEPS, Budget, TrainState


@pytest.mark.parametrize(
    ("given_budgets", "steps", "seconds"),
    [
        ({}, 12 * DEFAULT_EPOCHS, 60 * DEFAULT_MINUTES),
        ({"epochs": 3}, 36, None),
        ({"max_steps": 5}, 5, None),
        ({"epochs": 3, "max_steps": 50}, 36, None),
        ({"epochs": 3, "max_steps": 5}, 5, None),
        ({"max_minutes": 0.5}, None, 30.0),
        ({"max_minutes": 2.0, "max_steps": 7}, 7, 120.0),
        ({"max_minutes": 2.0, "epochs": 1}, 12, 120.0),
    ],
)
def test_the_first_budget_reached_ends_a_run(given_budgets: dict, steps: int | None, seconds: float | None):
    budget = Budget.of(RunConfig(**given_budgets), steps_per_epoch=12)
    assert (budget.steps, budget.seconds) == (steps, seconds)


def test_spent():
    budget = Budget(steps=10, seconds=60.0)
    assert not budget.spent(TrainState(step=9, seconds=59.0))
    assert budget.spent(TrainState(step=10, seconds=1.0))
    assert budget.spent(TrainState(step=1, seconds=60.0))
    assert not Budget(None, None).spent(TrainState(step=10**9, seconds=1e9))


def test_the_horizon_of_a_step_budget_is_exact():
    assert Budget(250, None).horizon(TrainState(step=17, seconds=99.0)) == 250


def test_the_horizon_of_a_time_budget_is_what_the_pace_makes_of_the_rest():
    # 20 updates took 10 s: 0.5 s each; 50 s left are 100 more
    assert Budget(None, 60.0).horizon(TrainState(step=20, seconds=10.0)) == 120
    assert Budget(90, 60.0).horizon(TrainState(step=20, seconds=10.0)) == 90
    assert Budget(None, 60.0).horizon(TrainState(step=20, seconds=70.0)) == 20


def test_before_there_is_a_pace_warm_up_is_that_of_a_thousand_updates():
    state = TrainState(step=TIMED_STEPS - 1, seconds=1.0)
    horizon = Budget(None, 60.0).horizon(state)
    assert learning_rate(state.step, horizon, OptimConfig(lr=1.0, warmup_fraction=0.1)) == 5 / (0.1 * 1000)
    assert Budget(30, 60.0).horizon(TrainState()) == 30


@given(step=st.integers(0, 10**6), seconds=st.floats(0.0, 1e6), steps=st.none() | st.integers(1, 10**6))
def test_shares_and_horizons_are_in_their_bounds(step: int, seconds: float, steps: int | None):
    state = TrainState(step=step, seconds=seconds)
    for budget in (Budget(steps, 100.0), Budget(steps, None)):
        assert 0.0 <= budget.share(state) <= 1.0
        if budget.steps is not None or step > 0:
            assert 0 < budget.horizon(state) <= 2**31


def test_a_state_survives_json():
    state = TrainState(step=3, batches=6, seconds=0.1, horizon=9, best_loss=1 / 3, best_step=2, stale_evaluations=1)
    assert TrainState(**json.loads(json.dumps(asdict(state)))) == state
    fresh = TrainState(**json.loads(json.dumps(asdict(TrainState()))))
    assert fresh == TrainState() and math.isinf(fresh.best_loss)
