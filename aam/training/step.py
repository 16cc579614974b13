"""One optimiser step: forward, backward, check by the guard, clip, update."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from aam.checkpoint import Checkpoint, save_checkpoint
from aam.config import OptimConfig
from aam.corpus.batches import split_batch
from aam.corpus.dataset import Batch
from aam.errors import NonFiniteError, OutOfMemoryError, lacks_memory
from aam.health.bundle import restore_torch_state, torch_state
from aam.health.guards import check_gradients
from aam.health.stats import gather_tensor
from aam.models.devices import set_product_precision
from aam.text import counted, name_few
from aam.training.losses import Losses, refuse_non_finite
from aam.training.objective import Objective
from aam.training.optim import MuonAdamW, learning_rate, set_learning_rate

MAX_NAMED_SAMPLES = 3
"""Samples of a batch that an error names."""


@dataclass(frozen=True)
class StepResult:
    """`terms` [n] holds the unweighted loss terms in the order of `names`, the total first; it stays on the device."""

    names: tuple[str, ...]
    terms: Tensor
    grad_norm: Tensor
    rate: float
    samples: int
    asvs: int


L = TypeVar("L")
M = TypeVar("M", bound=nn.Module)
Q = TypeVar("Q", bound=Objective)


class Ranks:
    """The processes that train a learner together (`alone`: one). This class is for a single process.

    `aam.training.distributed` has those for several processes; all ranks must call these methods together.
    """

    alone = True

    def reduce_gradients(self, model: nn.Module) -> None:
        """Combine the gradients of all ranks, between backward and update."""

    def any_rank(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        return flag

    def broadcast_first(self, values: Sequence[float]) -> list[float]:
        """The values of the first rank, on every rank."""
        return list(values)

    def apart(self, learner: L) -> AbstractContextManager[L]:
        """Yield a learner that each rank can compute alone."""
        return nullcontext(learner)

    def whole(self, learner: L) -> AbstractContextManager[L]:
        """Yield a learner whose whole weights are on each rank; the ranks compute it together."""
        return nullcontext(learner)

    def save(self, folder: Path, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint of the run; returns its path."""
        save_checkpoint(folder, checkpoint)
        return folder


@dataclass
class Learner(Generic[M, Q]):
    """Model, optimiser and everything else that a step uses or changes.

    `parts`: number of parts in which each batch is computed, because memory does not suffice for all of it. `kept`:
    share of the usual activations that are kept for the backward pass, as `planned_for` this many GB (None: any).
    """

    model: M
    optimizer: MuonAdamW
    scaler: torch.amp.GradScaler
    optim: OptimConfig
    objective: Q
    device: torch.device
    ranks: Ranks = field(default_factory=Ranks)
    parts: int = 1
    kept: float = 1.0
    planned_for: float | None = None

    def autocast(self) -> torch.autocast:
        return set_product_precision(self.optim.precision, self.device)


class Guard:
    """Checks of a step between gradients and update; this class checks nothing."""

    def begin(self, learner: Learner, microbatches: Sequence[Batch], number: int, horizon: int) -> None:
        """Called at the start of a step, with the random states of its forward passes."""

    def passes(self, learner: Learner) -> AbstractContextManager[object]:
        """Context of the forward and backward passes."""
        return nullcontext()

    def admit(self, learner: Learner, result: StepResult) -> Tensor:
        """Return the gradient norm for clipping; raises NonFiniteError before the update of a non-finite step."""
        return result.grad_norm

    def updating(self, learner: Learner, result: StepResult) -> AbstractContextManager[object]:
        """Context of the update."""
        return nullcontext()

    def out_of_memory(self, learner: Learner, text: str) -> None:
        """Called if the passes of a step, which begins anew, have run out of memory; the text says what is done."""


def named_outputs(output: Any) -> dict[str, Any]:
    """The predictions by field name, without copying them."""
    return {f.name: getattr(output, f.name) for f in fields(output)}


def score(learner: Learner, batch: Batch) -> tuple[Any, Losses]:
    """Forward pass and losses of one batch, under the precision of the run, on its device."""
    batch = batch.to(learner.device)
    with learner.autocast():
        output = learner.model(learner.objective.inputs(batch))
    return output, learner.objective.losses(output, batch)


def parts_of_step(batch: Batch, batches: Sequence[Batch]) -> float:
    """What the losses of a batch are divided by, so that those of all batches of a step add up to their mean."""
    return sum(len(each.sample_ids) for each in batches) / len(batch.sample_ids)


def add_gradients(learner: Learner, batch: Batch, parts: float) -> tuple[tuple[str, ...], Tensor]:
    """Forward and backward pass of a batch of a step; returns names and values of the loss terms, divided by `parts`.

    Raises NonFiniteError for a loss without a graph.
    """
    _, losses = score(learner, batch)
    refuse_constant(losses, batch)
    learner.scaler.scale(losses.total / parts).backward()
    return ("loss", *losses.terms), torch.stack([losses.total, *losses.terms.values()]).detach() / parts


def refuse_constant(losses: Losses, batch: Batch) -> None:
    """Raise NonFiniteError for a loss without a graph: no weight can learn from it."""
    if losses.total.requires_grad:
        return
    constant = [name for name, term in losses.terms.items() if not term.requires_grad]
    why = f"its terms {', '.join(losses.terms)} have one, their sum was detached or made under no_grad"
    if constant:
        why = f"no weight that learns has made {', '.join(constant)} (frozen, detached, or under no_grad)"
    raise NonFiniteError(
        f"the loss has no gradient: {why}; samples {name_few(batch.sample_ids, MAX_NAMED_SAMPLES)}; nothing was updated"
    )


def add_all_gradients(
    learner: Learner, microbatches: Sequence[Batch], number: int, horizon: int, guard: Guard
) -> list[tuple[tuple[str, ...], Tensor]]:
    """Forward and backward passes of a step; returns what `add_gradients` does for each batch.

    If memory is short, all of it is made again with each batch in twice as many parts, now and in later steps. Raises
    OutOfMemoryError if a sample alone needs too much.
    """
    random = torch_state()
    while True:
        batches = [part for batch in microbatches for part in split_batch(batch, learner.parts)]
        learner.optimizer.zero_grad(set_to_none=True)
        guard.begin(learner, batches, number, horizon)
        part = batches[0]
        rows = []
        try:
            with guard.passes(learner):
                for part in batches:
                    rows.append(add_gradients(learner, part, parts_of_step(part, batches)))
            return rows
        except (RuntimeError, MemoryError) as error:
            if not (lacks_memory(error) and learner.ranks.alone):
                raise
        # The error is gone, and with it all that its frames held.
        text = f"step {number + 1}: not enough memory for samples {name_few(part.sample_ids, MAX_NAMED_SAMPLES)} "
        text += f"({counted(len(part.sample_ids), 'samples')}, {counted(len(part.asvs), 'ASVs')})"
        if len(part.sample_ids) == 1:
            raise OutOfMemoryError(f"{text}; use a smaller --token-limit, --max-bp or --preset, or more memory")
        learner.parts *= 2
        guard.out_of_memory(learner, f"{text}; from here on batches are computed in {learner.parts} parts")
        restore_torch_state(random)
        if learner.device.type == "cuda":
            torch.cuda.empty_cache()


def step(
    learner: Learner, microbatches: Sequence[Batch], number: int, horizon: int, guard: Guard | None = None
) -> StepResult:
    """Update the model on the mean loss of some batches; `number` counts updates from 0.

    Raises NonFiniteError before the update if loss or gradient is not finite; weights and optimiser are unchanged.
    """
    guard = guard or Gate()
    rate = learning_rate(number, horizon, learner.optim)
    set_learning_rate(learner.optimizer, rate)
    rows = add_all_gradients(learner, microbatches, number, horizon, guard)
    learner.ranks.reduce_gradients(learner.model)
    learner.scaler.unscale_(learner.optimizer)
    parameters = [p for p in learner.model.parameters() if p.grad is not None]
    norm = gather_tensor(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
    samples, asvs = sum(len(b.sample_ids) for b in microbatches), sum(len(b.asvs) for b in microbatches)
    terms = torch.stack([row for _, row in rows]).sum(0)
    result = StepResult(rows[0][0], terms, norm, rate, samples, asvs)
    norm = guard.admit(learner, result)
    with guard.updating(learner, result):
        nn.utils.clip_grads_with_norm_(parameters, learner.optim.clip_norm, norm)
        learner.scaler.step(learner.optimizer)
        learner.scaler.update()
    return result


class Gate(Guard):
    """Guard of a step outside of a run: raises for a non-finite loss or gradient, naming the tensor."""

    def begin(self, learner: Learner, microbatches: Sequence[Batch], number: int, horizon: int) -> None:
        self.microbatches, self.number = microbatches, number

    def admit(self, learner: Learner, result: StepResult) -> Tensor:
        scaled = learner.scaler.is_enabled() and bool(torch.isfinite(result.terms[0]))  # the scaler skips and halves
        if not scaled and not bool(torch.isfinite(result.terms[0] + result.grad_norm)):
            self.refuse(learner)
        return result.grad_norm

    def refuse(self, learner: Learner) -> None:
        """Raise NonFiniteError naming the first non-finite tensor, which an extra pass finds."""
        gradients = check_gradients(learner.model)
        parameters = [(f"parameter {name}", p) for name, p in learner.model.named_parameters()]
        for batch in self.microbatches:
            where = f"step {self.number + 1}, samples {name_few(batch.sample_ids, MAX_NAMED_SAMPLES)}"
            with torch.no_grad():
                output, _ = score(learner, batch)
            outputs = [(f"{'nuc' if n == 'nucleotides' else n}_pred", t) for n, t in named_outputs(output).items()]
            try:
                refuse_non_finite([*parameters, *learner.objective.targets(batch), *outputs])
            except NonFiniteError as error:
                raise NonFiniteError(f"{error} ({where}); nothing was updated") from None
        raise NonFiniteError(f"non-finite loss or gradients at {where}: {gradients}; nothing was updated")
