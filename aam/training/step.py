"""One optimiser step: forward, backward, clip, finite gate, update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from aam.config import OptimConfig
from aam.data.dataset import Batch
from aam.errors import NonFiniteError
from aam.health.guards import check_gradients
from aam.training.losses import explain
from aam.training.objective import Losses, Objective
from aam.training.optim import learning_rate, set_learning_rate

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class StepResult:
    """`terms` [n] holds the unweighted loss terms in the order of `names`, the total first; it stays on the device."""

    names: tuple[str, ...]
    terms: Tensor
    grad_norm: Tensor
    rate: float
    samples: int
    asvs: int
    batches: int


@dataclass
class Learner:
    """What a step changes and what it needs for that."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    optim: OptimConfig
    objective: Objective
    device: torch.device

    def autocast(self) -> torch.autocast:
        dtype = DTYPES[self.optim.precision]
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.optim.precision != "fp32")


def named_outputs(output: Any) -> dict[str, Any]:
    """The predictions by field name, without copying them."""
    return {f.name: getattr(output, f.name) for f in fields(output)}


def score(learner: Learner, batch: Batch) -> tuple[Any, Losses]:
    """Forward pass and losses of one batch, under the precision of the run, on its device."""
    batch = batch.to(learner.device)
    with learner.autocast():
        output = learner.model(learner.objective.inputs(batch))
    return output, learner.objective.losses(output, batch)


def step(learner: Learner, microbatches: Sequence[Batch], number: int, horizon: int) -> StepResult:
    """Update the model on the mean loss of some batches; `number` counts updates from 0.

    Raises NonFiniteError before the update where loss or gradient is not finite, so weights and optimiser stay intact.
    """
    rate = learning_rate(number, horizon, learner.optim)
    set_learning_rate(learner.optimizer, rate)
    learner.optimizer.zero_grad(set_to_none=True)
    sums = None
    for batch in microbatches:
        output, losses = score(learner, batch)
        learner.scaler.scale(losses.total / len(microbatches)).backward()
        row = torch.stack([losses.total, *losses.terms.values()]).detach() / len(microbatches)
        sums = row if sums is None else sums + row
    learner.scaler.unscale_(learner.optimizer)
    parameters = [p for p in learner.model.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm(p.grad for p in parameters)
    overflow = learner.scaler.is_enabled() and not bool(torch.isfinite(norm))  # the scaler skips and halves itself
    if not overflow and not bool(torch.isfinite(sums[0] + norm)):  # the one host read of a step
        blame(learner, batch, output, number)
    nn.utils.clip_grads_with_norm_(parameters, learner.optim.clip_norm, norm)
    learner.scaler.step(learner.optimizer)
    learner.scaler.update()
    samples, asvs = sum(len(b.sample_ids) for b in microbatches), sum(len(b.asvs) for b in microbatches)
    return StepResult(("loss", *losses.terms), sums, norm, rate, samples, asvs, len(microbatches))


def blame(learner: Learner, batch: Batch, output: Any, number: int) -> None:
    """Raise NonFiniteError naming the first tensor of the last batch of step `number` that is not finite."""
    parameters = [(f"parameter {name}", p) for name, p in learner.model.named_parameters()]
    outputs = [(f"{'nuc' if name == 'nucleotides' else name}_pred", t) for name, t in named_outputs(output).items()]
    targets = learner.objective.targets(batch)
    where = f"step {number + 1}, samples {', '.join(batch.sample_ids[:3])}, …"
    try:
        explain([*parameters, *targets, *outputs])
    except NonFiniteError as error:
        raise NonFiniteError(f"{error} ({where}); nothing was updated") from None
    report = check_gradients(learner.model)
    raise NonFiniteError(f"non-finite loss or gradients at {where}: {report}; nothing was updated")
