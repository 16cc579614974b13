"""Guards for single tensors and for the gradients of a model; each fault is raised or counted, never hidden."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from torch.utils.hooks import RemovableHandle

from aam.errors import NonFiniteError
from aam.health.stats import TensorSummary, format_stats, real_values, summarise_tensors
from aam.text import counted

HALVED_BATCH = "halved batches for memory"
"""Intervention that is no fault of the numbers and has no budget."""


class Interventions:
    """Counter by kind ("skipped step", "clamp", "sanitised gradient", "fallback", …) against a budget.

    `budget` is the largest tolerated number of interventions per optimiser step, e.g. 0.001.
    """

    def __init__(self, budget: float):
        self.budget = budget
        self.counts: Counter[str] = Counter()

    def add(self, kind: str, count: int = 1) -> None:
        """Record that `kind` happened `count` times; 0 records nothing."""
        if count:
            self.counts[kind] += count

    @property
    def total(self) -> int:
        """Interventions of all kinds."""
        return self.counts.total()

    def check(self, steps: int) -> None:
        """Raise `NonFiniteError` (exit code 3) if the budget for this number of steps is exceeded."""
        if self.total - self.counts[HALVED_BATCH] > self.budget * steps:
            raise NonFiniteError(
                f"{self.line(steps)}: above the budget of {self.budget:.3%} of the steps; "
                "find the cause (aam replay on the bundle of the first fault) or raise the intervention budget"
            )

    def line(self, steps: int) -> str:
        """All counts in one line, for the log and the end of a run."""
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.counts.items()))
        return f"{counted(self.total, 'interventions')} in {counted(steps, 'steps')}" + (f" ({kinds})" if kinds else "")

    def state_dict(self) -> dict[str, int]:
        """The counts, for the manifest and for checkpoints."""
        return dict(self.counts)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue counting from a checkpoint."""
        self.counts = Counter(state)


def assert_finite(name: str, tensor: Tensor) -> None:
    """Raise `NonFiniteError` with name, shape and statistics of a tensor that holds NaN or Inf. One host read."""
    (summary,) = summarise_tensors([(name, tensor)])
    if not summary.finite:
        kind = "NaN" if summary.nan else "Inf"
        raise NonFiniteError(f"{kind} values found in {name} with shape {tensor.shape}: {format_stats(tensor)}")


def clamp_and_check(
    tensor: Tensor, low: float, high: float, name: str = "tensor", interventions: Interventions | None = None
) -> Tensor:
    """The tensor with its values clamped to [low, high]; a NaN raises `NonFiniteError`.

    Clamped values get gradient 0. With `interventions`, a call that changed a value counts as one "clamp".
    One host read.
    """
    values = real_values(tensor)
    outside = ((values < low) | (values > high)).sum()
    nan, changed = torch.stack([torch.isnan(values).sum(), outside]).tolist()
    if nan:
        raise NonFiniteError(f"NaN values found in {name} with shape {tensor.shape}: {format_stats(tensor)}")
    if interventions is not None and changed:
        interventions.add("clamp")
    return tensor.clamp(low, high)


def clamp_outputs(
    modules: Iterable[tuple[str, nn.Module]], bound: float, interventions: Interventions
) -> list[RemovableHandle]:
    """Clamp the outputs of these modules to [-bound, bound] until the handles are removed; for emergencies.

    Each call of a module that had to be clamped counts; NaN raises `NonFiniteError` naming the module. One host read
    for each output tensor.
    """

    def watched(name: str) -> Callable[[nn.Module, Any, Any], Any]:
        def clamp(item: Any) -> Any:
            real = isinstance(item, Tensor) and item.is_floating_point()
            return clamp_and_check(item, -bound, bound, f"the output of {name}", interventions) if real else item

        return lambda module, args, output: tree_map(clamp, output)

    return [module.register_forward_hook(watched(name)) for name, module in modules]


@dataclass(frozen=True)
class GradientReport:
    """State of the gradients of a model, by parameter name."""

    norm: float  # Euclidean norm over all gradients; NaN or Inf where any of them is
    bad: tuple[TensorSummary, ...]  # gradients that hold NaN or Inf
    missing: tuple[str, ...]  # trainable parameters without a gradient
    zero: tuple[str, ...]  # gradients that are 0 everywhere
    checked: int

    @property
    def ok(self) -> bool:
        """True if every gradient is finite."""
        return not self.bad

    def __str__(self) -> str:
        lines = [f"{self.checked} gradients, norm {self.norm:.6g}: {len(self.bad)} non-finite, {len(self.zero)} zero"]
        lines += [
            f"  {row.name} {list(row.shape)}: {row.nan} NaN, {row.inf} Inf, finite part to {row.absmax:.3g}"
            for row in self.bad
        ]
        if self.missing:
            lines.append(f"  no gradient: {', '.join(self.missing)}")
        return "\n".join(lines)


def check_gradients(model: nn.Module) -> GradientReport:
    """Report which gradients hold NaN or Inf, are missing or zero. One host read; call it before clipping.

    After `clip_grad_norm_` it is too late: it spreads one NaN to every gradient.
    """
    trainable = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    with_gradient = [(name, parameter.grad) for name, parameter in trainable if parameter.grad is not None]
    # The norm travels with the statistics as one more 0-d tensor, so that there is still a single read.
    # In fp64: the square of 1e20 is beyond fp32.
    grads = [real_values(grad) for _, grad in with_gradient]
    norms = [torch.linalg.vector_norm(grad, dtype=torch.float64) for grad in grads if grad.numel()]
    total = torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.zeros(())
    *rows, norm_row = summarise_tensors([*with_gradient, ("norm", total)])
    return GradientReport(
        norm=norm_row.maximum if norm_row.finite else (math.nan if norm_row.nan else math.inf),
        bad=tuple(row for row in rows if not row.finite),
        missing=tuple(name for name, parameter in trainable if parameter.grad is None),
        zero=tuple(row.name for row in rows if row.zeros == math.prod(row.shape)),
        checked=len(rows),
    )


def sanitize_gradients(model: nn.Module, interventions: Interventions) -> GradientReport:
    """Replace non-finite gradient values by 0 and count each touched tensor; for emergencies, off by default.

    Returns the report from before the repair. The zeros are not the true gradients.
    """
    report = check_gradients(model)
    parameters = dict(model.named_parameters())
    for row in report.bad:
        gradient = parameters[row.name].grad
        assert gradient is not None  # it was just read
        torch.nan_to_num_(gradient, nan=0.0, posinf=0.0, neginf=0.0)
        interventions.add("sanitised gradient")
    return report
