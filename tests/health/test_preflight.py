"""Preflight: silent faults are found before the run, sound configurations raise no alarm."""

from __future__ import annotations

import math

import pytest
import torch
from broken_trials import FAULTS
from torch import nn
from trials import GOOD, Recipe

from aam.health.checks_update import LEARNING_CHECKS
from aam.health.preflight import ALL, preflight
from aam.health.trial import Head


def named(names):
    """The checks of these names."""
    return [(name, check) for name, check in ALL if name in names]


@pytest.mark.parametrize("name", FAULTS)
def test_silent_fault_is_found_by_the_check_for_it(name):
    check, recipe = FAULTS[name]
    table = preflight(recipe.make, checks=named({check}))
    assert [found.name for found in table.failed] == [check], str(table)


@pytest.mark.parametrize("name", GOOD)
def test_no_alarm_before_the_first_update(name):
    table = preflight(GOOD[name].make, checks=[check for check in ALL if check not in LEARNING_CHECKS])
    assert table.ok and all(check.ok is not None for check in table.checks), str(table)


@pytest.mark.slow
@pytest.mark.parametrize("name", GOOD)
def test_no_alarm_on_a_sound_configuration(name):
    table = preflight(GOOD[name].make)
    assert table.ok and all(check.ok is not None for check in table.checks), str(table)


def test_every_check_of_one_sound_configuration():
    table = preflight(GOOD["plain"].make)
    assert table.ok and len(table.checks) == 14, str(table)
    assert "ok       initial loss        classes " in str(table)


def test_checks_leave_no_trace():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    preflight(lambda: Recipe().make(), checks=named({"trainable", "modes"}))
    assert torch.equal(torch.rand(3), expected)


def test_time_that_is_used_up_is_not_a_pass():
    table = preflight(GOOD["plain"].make, seconds=0)
    assert all(check.ok is None and "used up" in check.detail for check in table.checks)


def test_optional_parts_are_skipped_and_say_so():
    def bare(trial):
        trial.perfect = trial.shuffled = trial.few = trial.heads = trial.junk = None

    table = preflight(
        Recipe(change=bare).make, checks=named({"perfect prediction", "overfit", "shuffled control", "input"})
    )
    assert [check.ok for check in table.checks] == [None, True, None, None]


def test_an_error_in_the_step_is_a_finding():
    def broken(recipe, trial, batch):
        raise RuntimeError("no such column")

    (check,) = preflight(Recipe(step=broken).make, checks=named({"update"})).checks
    assert check.ok is False and check.detail == "RuntimeError: no such column"


@pytest.mark.parametrize("classes", [5, 6, 4817])
def test_expected_initial_loss_of_a_default_layer(classes):
    """A default nn.Linear on normalised input starts at ln V + 1/6: the logits have variance 1/3."""
    torch.manual_seed(0)
    logits = nn.Linear(64, classes)(nn.functional.layer_norm(torch.randn(4096, 64), (64,)))
    targets = torch.randint(0, classes, (4096,))
    found = nn.functional.cross_entropy(logits, targets).item()
    assert found == pytest.approx(math.log(classes) + 1 / 6, abs=0.1)

    def change(trial):
        trial.heads = lambda output, batch: {"bases": Head(logits, targets)}

    assert preflight(Recipe(change=change).make, checks=named({"initial loss"})).ok


def test_badly_scaled_head_and_strange_targets_are_found():
    logits, targets = 8 * torch.randn(4096, 6), torch.randint(0, 6, (4096,))

    def found(head):
        recipe = Recipe(change=lambda trial: setattr(trial, "heads", lambda output, batch: {"bases": head}))
        return preflight(recipe.make, checks=named({"initial loss"})).failed[0].detail

    assert "chance" in found(Head(logits * (1 + targets[:, None]), targets))
    assert "labels off by one" in found(Head(logits / 8, targets, classes=frozenset({1, 2, 3, 4})))
    assert "every target is ignored" in found(Head(logits, torch.full_like(targets, -100)))
