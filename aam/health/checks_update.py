"""Preflight checks of the update: do gradients reach every tensor, and does the loop apply them?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.utils.hooks import RemovableHandle

from aam.health.stats import not_finite
from aam.health.trial import SHOWN, CheckFailed, Checks, CheckSkipped, Make, Trial
from aam.wording import few

REACH = 3  # steps within which a gradient must reach every tensor


def gradients_reach(make: Make, left: float) -> str:
    """Backward of the loss gives every trainable tensor a finite gradient that is not 0, if not at once then soon.

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
        if bad := not_finite(gradients):
            raise CheckFailed(f"gradient of {bad[0][0].name} holds {bad[0][0].nan} NaN and {bad[0][0].inf} Inf")
        waiting -= {name for name, gradient in gradients if bool(gradient.any())}
        if not waiting:
            return "every trainable tensor has one"
        torch.optim.SGD(trial.model.parameters(), lr=1e-3).step()
    raise CheckFailed(f"no gradient reaches {few(sorted(waiting), SHOWN)} ({len(waiting)} tensors)")


def update_is_real(make: Make, left: float) -> str:
    """The loop's own step hands gradients to the optimiser, in training mode, and every trainable tensor moves."""
    trial = make()
    trial.model.train()
    before = {name: p.detach().clone() for name, p in trial.model.named_parameters() if p.requires_grad}
    updates, modes = _watched(trial, trial.batches[:3])
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
            f"not moved by {len(updates)} updates: {few(still, SHOWN)} ({len(still)} of {len(before)} tensors)"
        )
    return f"all {len(before)} tensors move"


def gradients_are_fresh(make: Make, left: float) -> str:
    """What backward adds to in the second step is zero at first: nothing is left over from the step before."""
    trial = make()
    trial.model.train()
    trial.step(trial.batches[0])
    added: dict[int, Tensor] = {}
    stale: list[str] = []
    nodes: list[Any] = []  # held, or autograd makes others

    def note(name: str, parameter: nn.Parameter) -> list[RemovableHandle]:
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

    handles = [h for name, p in trial.model.named_parameters() if p.requires_grad for h in note(name, p)]
    try:
        trial.step(trial.batches[1 % len(trial.batches)])
    finally:
        for handle in handles:
            handle.remove()
    if not added:
        raise CheckSkipped("the step runs no backward pass, see above")
    if stale:
        raise CheckFailed(f"gradients of the step before are still there, e.g. of {stale[0]}: zero_grad is missing")
    return "the second step starts from zero"


UPDATE: Checks = (
    ("gradient reach", gradients_reach),
    ("update", update_is_real),
    ("fresh gradients", gradients_are_fresh),
)


def _watched(trial: Trial, batches: Any) -> tuple[list[tuple[float, float]], set[bool]]:
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

    handles = [trial.optimizer.register_step_pre_hook(at_update), trial.model.register_forward_pre_hook(at_forward)]
    try:
        for batch in batches:
            trial.step(batch)
    finally:
        for handle in handles:
            handle.remove()
    return updates, modes
