"""Preflight checks that train for a while: does the loss fall, can four samples be learned, do the targets matter?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch

from aam.health.trial import CheckFailed, Checks, CheckSkipped, Make, Trial

REPEATS, ROUNDS = 10, 3  # updates on one batch after which its loss may have fallen, and how often it is looked at
OVERFIT_STEPS, OVERFIT_ROUND = 300, 10  # updates at most, and between two looks at the loss
OVERFIT_PART = 0.05  # of the loss at the start
CONTROL_STEPS = 100
CONTROL_GAIN = 0.02  # real targets must beat shuffled ones on held-out samples by this part of the loss


def loss_falls(make: Make, left: float) -> str:
    """Updates on one batch lower its loss; the first of them may raise it, while the optimiser finds its pace."""
    trial = make()
    batch = trial.batches[0]
    start = end = _loss(trial, [batch])
    for done in range(REPEATS, REPEATS * ROUNDS + 1, REPEATS):
        _train(trial, [batch], REPEATS, left / ROUNDS)
        end = _loss(trial, [batch])
        if end < start:
            return f"{start:.4g} -> {end:.4g} in {done} updates on one batch"
    raise CheckFailed(
        f"{REPEATS * ROUNDS} updates on one batch: its loss goes from {start:.4g} to {end:.4g}, expected it to fall"
    )


def overfits(make: Make, left: float) -> str:
    """Four samples can be learned by heart: loss to 5 % of its start within 300 updates."""
    trial = make()
    if trial.few is None:
        raise CheckSkipped("no batch of four samples given")
    start = _loss(trial, [trial.few])
    goal, ends = OVERFIT_PART * start, time.monotonic() + left
    loss, steps = start, 0
    while loss > goal and steps < OVERFIT_STEPS:
        if time.monotonic() > ends:
            raise CheckSkipped(f"{start:.4g} -> {loss:.4g} after {steps} updates when the time was used up")
        _train(trial, [trial.few], OVERFIT_ROUND, left)
        loss, steps = _loss(trial, [trial.few]), steps + OVERFIT_ROUND
    if not loss <= goal:
        raise CheckFailed(f"four samples: {start:.4g} -> {loss:.4g} after {steps} updates, expected {goal:.4g} or less")
    return f"four samples: {start:.4g} -> {loss:.4g} after {steps} updates"


def targets_matter(make: Make, left: float) -> str:
    """Trained on the real targets, the model does better on held-out samples than trained on shuffled ones."""
    trial = make()
    if trial.shuffled is None or not trial.held_out:
        raise CheckSkipped("no shuffled targets or no held-out batches given")
    start = _loss(trial, trial.held_out)
    begun = time.monotonic()
    _train(trial, trial.batches, CONTROL_STEPS, left / 2)
    real = _loss(trial, trial.held_out)
    control = make()
    assert control.shuffled is not None  # the same trial again
    _train(control, [control.shuffled(batch) for batch in control.batches], CONTROL_STEPS, left / 2)
    if time.monotonic() - begun > left:
        raise CheckSkipped("the time was used up")
    wrong = _loss(control, trial.held_out)
    figures = f"held-out loss {start:.4g} -> {real:.4g} with real targets, {wrong:.4g} with shuffled ones"
    if not real < wrong - CONTROL_GAIN * abs(start):
        raise CheckFailed(f"{figures}: the targets do not belong to these inputs")
    return figures


LEARNING: Checks = (
    ("loss falls", loss_falls),
    ("overfit", overfits),
    ("shuffled control", targets_matter),
)


def _train(trial: Trial, batches: Sequence[Any], steps: int, seconds: float) -> None:
    """Up to that many updates of the loop's own, in turn over the batches."""
    ends = time.monotonic() + seconds
    trial.model.train()
    for step in range(steps):
        if time.monotonic() > ends:
            return
        trial.step(batches[step % len(batches)])


def _loss(trial: Trial, batches: Sequence[Any]) -> float:
    """Mean loss in evaluation mode."""
    trial.model.eval()
    with torch.no_grad():
        losses = [float(trial.score(trial.predict(batch), batch)) for batch in batches]
    trial.model.train()
    return sum(losses) / len(losses)
