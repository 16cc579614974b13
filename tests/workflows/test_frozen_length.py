"""A head on a frozen encoder trains for ten epochs by default, or for 300 steps if these are more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from aam.cli.terminal import TERMINAL
from aam.config import FinetuneConfig, from_options
from aam.corpus.split import Fold
from aam.workflows.opening import with_frozen_length


def epochs_of(training: list[int], **asked: Any) -> int | None:
    """The epochs of a run of folds with so many training samples, with batches of 32."""
    folds = [Fold(str(size), np.arange(size), np.arange(size, size + 9)) for size in training]
    return with_frozen_length(from_options(FinetuneConfig, asked), asked, folds, TERMINAL).run.epochs


@pytest.mark.parametrize(
    ("training", "epochs"),
    [
        ([1312], 10),  # 41 steps an epoch: 410 steps
        ([960], 10),  # 30 steps an epoch: 300 steps
        ([959], 11),  # 29: 290 are too few, 319 are not
        ([1312, 320], 30),  # the smallest fold: 10 an epoch
        ([224], 40),  # 43 would be needed; never more than without --freeze
        ([9], 40),
    ],
)
def test_ten_epochs_or_300_steps(training: list[int], epochs: int, capsys: pytest.CaptureFixture[str]):
    assert epochs_of(training, freeze=True) == epochs
    assert capsys.readouterr().err == (
        f"trains for {epochs} epochs, which is enough for a head on a frozen encoder; --epochs N trains longer\n"
    )


def test_a_limit_of_time_limits_and_asks_for_no_more():
    assert epochs_of([1312], freeze=True, max_minutes=3.0) == 10


def test_gradients_of_several_batches_are_one_step():
    assert epochs_of([1312], freeze=True, accumulate=4) == 30  # 10 steps an epoch


@pytest.mark.parametrize(
    ("asked", "epochs"),
    [
        ({}, 40),
        ({"freeze_asvs": True}, 40),
        ({"freeze": True, "epochs": 40}, 40),
        ({"freeze": True, "max_steps": 300}, 40),
        ({"freeze": True, "resume": True}, 40),
    ],
    ids=str,
)
def test_a_length_that_was_given_is_kept(asked: dict[str, Any], epochs: int, capsys: pytest.CaptureFixture[str]):
    assert epochs_of([1312], **asked) == epochs and capsys.readouterr().err == ""


def test_learners_on_clades_have_no_epochs(capsys: pytest.CaptureFixture[str]):
    config = from_options(FinetuneConfig, {"freeze": True, "learner": "clades"})
    folds = [Fold("1", np.arange(9), np.arange(9))]
    assert with_frozen_length(config, {"freeze": True}, folds, TERMINAL) == replace(config)
    assert capsys.readouterr().err == ""
