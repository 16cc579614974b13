"""Preflight checks that train: gradients and updates reach all tensors, the loss falls, and the targets matter."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.utils.hooks import RemovableHandle

from aam.health.stats import find_non_finite
from aam.health.trial import TENSORS_SHOWN, CheckFailed, Checks, CheckSkipped, Make, Trial
from aam.text import name_few

REACH = 3  # steps within which a gradient must reach every tensor
REPEATS, LOSS_LOOKS = 10, 3  # updates on one batch after which its loss may have fallen, and how often it is looked at
OVERFIT_STEPS, OVERFIT_ROUND = 300, 10  # updates at most, and between two looks at the loss
OVERFIT_PART = 0.05  # of the loss at the start
CONTROL_STEPS = 100
CONTROL_GAIN = 0.02  # real targets must beat shuffled ones on held-out samples by this part of the loss


def check_gradient_reach(make: Make, left: float) -> str:
    """Within a few steps, backward of the loss gives every trainable tensor a finite gradient that is not 0.

    A tensor behind one that starts at 0 (an output layer, say) has gradient 0 at first; hence up to three steps.
    """
    trial = make()
    trial.model.train()
    waiting = {name for name, p in trial.model.named_parameters() if p.requires_grad} - trial.frozen
    for step in range(REACH):
        batch = trial.batches[step % len(trial.batches)]
        trial.model.zero_grad()
        loss = trial.score(trial.predict(batch), batch)
        if not loss.requires_grad:
            raise CheckFailed("the loss has no gradient: it was detached, or computed under no_grad")
        loss.backward()
        gradients = [(name, p.grad) for name, p in trial.model.named_parameters() if p.grad is not None]
        if bad := find_non_finite(gradients):
            raise CheckFailed(f"gradient of {bad[0][0].name} holds {bad[0][0].nan} NaN and {bad[0][0].inf} Inf")
        waiting -= {name for name, gradient in gradients if bool(gradient.any())}
        if not waiting:
            return "every trainable tensor has one"
        torch.optim.SGD(trial.model.parameters(), lr=1e-3).step()
    raise CheckFailed(f"no gradient reaches {name_few(sorted(waiting), TENSORS_SHOWN)} ({len(waiting)} tensors)")


def check_update(make: Make, left: float) -> str:
    """The step of the training loop runs in training mode, passes gradients on, and changes every trainable tensor."""
    trial = make()
    trial.model.train()
    before = {name: p.detach().clone() for name, p in trial.model.named_parameters() if p.requires_grad}
    updates, modes = _watch_steps(trial, trial.batches[:3])
    if not updates:
        raise CheckFailed("the step never calls the optimiser")
    if modes == {False}:
        raise CheckFailed(
            "the model is in evaluation mode while it is trained: dropout is off, running statistics are fixed"
        )
    if not any(norm for norm, _ in updates):
        raise CheckFailed(
            "all gradients are missing or 0 when the optimiser is called: no backward, or zeroed after it"
        )
    if not any(rate for _, rate in updates):
        raise CheckFailed("the learning rate is 0 when the optimiser is called")
    named = dict(trial.model.named_parameters())
    still = [name for name, old in before.items() if torch.equal(named[name], old) and name not in trial.frozen]
    if still:
        raise CheckFailed(
            f"not moved by {len(updates)} updates: {name_few(still, TENSORS_SHOWN)} "
            f"({len(still)} of {len(before)} tensors)"
        )
    return f"all {len(before)} tensors move"


def check_fresh_gradients(make: Make, left: float) -> str:
    """Gradients are zero before the backward pass of the second step: nothing remains from the first."""
    trial = make()
    trial.model.train()
    trial.step(trial.batches[0])
    added: dict[int, Tensor] = {}
    stale: list[str] = []
    nodes: list[Any] = []  # held, or autograd makes others

    def note_gradients(name: str, parameter: nn.Parameter) -> list[RemovableHandle]:
        def at_gradient(gradients: tuple[Tensor | None, ...]) -> None:
            gradient, seen = gradients[0], added.get(id(parameter))
            if gradient is not None:  # it is where an operation was handed the parameter and did not use it
                added[id(parameter)] = gradient.detach().clone() if seen is None else seen + gradient

        def at_sum(parameter: Tensor) -> None:
            found, expected = parameter.grad, added.get(id(parameter))
            if found is not None and expected is not None and not torch.allclose(found, expected, rtol=1e-3, atol=1e-8):
                stale.append(name)

        # The node that adds to the parameter, not the parameter: its hooks run for torch.autograd.grad as well.
        nodes.append(get_gradient_edge(parameter).node)
        return [nodes[-1].register_prehook(at_gradient), parameter.register_post_accumulate_grad_hook(at_sum)]

    handles = [h for name, p in trial.model.named_parameters() if p.requires_grad for h in note_gradients(name, p)]
    try:
        trial.step(trial.batches[1 % len(trial.batches)])
    finally:
        for handle in handles:  # or node, hook and closure would keep each other, and the model, in memory for good
            handle.remove()
    if not added:
        raise CheckSkipped("the step runs no backward pass, see above")
    if stale:
        raise CheckFailed(f"gradients of the step before are still there, e.g. of {stale[0]}: zero_grad is missing")
    return "the second step starts from zero"


def check_loss_falls(make: Make, left: float) -> str:
    """Updates on one batch lower its loss; the first updates may raise it."""
    trial = make()
    batch = trial.batches[0]
    start = end = _loss(trial, [batch])
    for done in range(REPEATS, REPEATS * LOSS_LOOKS + 1, REPEATS):
        _train(trial, [batch], REPEATS, left / LOSS_LOOKS)
        end = _loss(trial, [batch])
        if end < start:
            return f"{start:.4g} -> {end:.4g} in {done} updates on one batch"
    raise CheckFailed(
        f"{REPEATS * LOSS_LOOKS} updates on one batch: its loss goes from {start:.4g} to {end:.4g}, expected it to fall"
    )


def check_overfit(make: Make, left: float) -> str:
    """The model can memorise four samples: the loss falls to 5 % of its start within 300 updates."""
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


def check_shuffled_control(make: Make, left: float) -> str:
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
    losses = f"held-out loss {start:.4g} -> {real:.4g} with real targets, {wrong:.4g} with shuffled ones"
    if not real < wrong - CONTROL_GAIN * abs(start):
        raise CheckFailed(f"{losses}: the targets do not belong to these inputs")
    return losses


UPDATE_CHECKS: Checks = (
    ("gradient reach", check_gradient_reach),
    ("update", check_update),
    ("fresh gradients", check_fresh_gradients),
)
LEARNING_CHECKS: Checks = (
    ("loss falls", check_loss_falls),
    ("overfit", check_overfit),
    ("shuffled control", check_shuffled_control),
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
    """Mean loss of the batches in evaluation mode."""
    trial.model.eval()
    with torch.no_grad():
        losses = [float(trial.score(trial.predict(batch), batch)) for batch in batches]
    trial.model.train()
    return sum(losses) / len(losses)


def _watch_steps(trial: Trial, batches: Any) -> tuple[list[tuple[float, float]], set[bool]]:
    """Run the loop's step; (gradient norm, largest rate) of each call of the optimiser, and the model's modes."""
    updates: list[tuple[float, float]] = []
    modes: set[bool] = set()

    def at_update(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0
        updates.append((norm, max(float(group["lr"]) for group in optimizer.param_groups)))

    def at_forward(module: nn.Module, args: Any) -> None:
        if torch.is_grad_enabled():
            modes.add(module.training)

    trial.optimizer.register_step_pre_hook(at_update)
    trial.model.register_forward_pre_hook(at_forward)
    for batch in batches:
        trial.step(batch)
    return updates, modes
