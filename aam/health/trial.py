"""Interface of the preflight checks: the parts of a training loop, and the results of the checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

IGNORED = -100  # target value that a cross-entropy leaves out
TENSORS_SHOWN = 4  # that a fault names


class Head(NamedTuple):
    """A classification head: logits [n, V] as they go into the cross-entropy, and targets [n].

    `prior` [n, V] are the logits of the untrained head without input, e.g. log frequencies.
    """

    logits: Tensor
    targets: Tensor
    classes: frozenset[int] | None = None  # the targets that make sense, where not all V do
    prior: Tensor | None = None


@dataclass
class Trial:
    """The parts of one training run, freshly built. Batches are whatever `predict`, `score` and `step` understand."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    batches: Sequence[Any]  # at least two, different, in training order
    predict: Callable[[Any], Any]  # batch -> output of the model
    score: Callable[[Any, Any], Tensor]  # (output, batch) -> scalar loss
    step: Callable[[Any], object]  # batch -> the loop's own update: forward, backward, clip, optimiser
    few: Any = None  # a batch of four samples that can be learned by heart
    held_out: Sequence[Any] = ()  # batches of other samples
    heads: Callable[[Any, Any], Mapping[str, Head]] | None = None  # (output, batch) -> classification heads
    perfect: Callable[[Any], Any] | None = None  # batch -> the output of a model that knows the answers
    shuffled: Callable[[Any], Any] | None = None  # batch -> the same with the targets of other samples
    junk: Callable[[Any], Any] | None = None  # batch -> the same with other values in all padding
    frozen: frozenset[str] = field(default_factory=frozenset)  # parameters that are not trained, on purpose
    rates: Sequence[float] = ()  # learning rates of the whole run


@dataclass(frozen=True)
class CheckResult:
    """One line of the table. `ok` is None if the check was skipped."""

    name: str
    ok: bool | None
    detail: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Preflight:
    """All checks, in the order in which they ran."""

    checks: tuple[CheckResult, ...]

    @property
    def ok(self) -> bool:
        """True if no check found a fault."""
        return not self.failed

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        return tuple(check for check in self.checks if check.ok is False)

    def tally(self) -> str:
        """One line: how many checks passed, and how many were skipped."""
        skipped = [check.name for check in self.checks if check.ok is None]
        passed = len(self.checks) - len(skipped) - len(self.failed)
        left_out = f"; {len(skipped)} skipped, for which time or samples did not suffice" if skipped else ""
        return f"{passed} checks found no fault{left_out}"

    def __str__(self) -> str:
        words = {True: "ok", False: "FAULT", None: "skipped"}
        width = max((len(check.name) for check in self.checks), default=0)
        return "\n".join(
            f"{words[check.ok]:<8} {check.name:<{width}}  {check.detail} ({check.seconds:.1f} s)"
            for check in self.checks
        )


Make = Callable[[], Trial]
Checks = tuple[tuple[str, Callable[[Make, float], str]], ...]
"""Names of checks, and functions of (make, seconds left) that return what was found or raise one of the below."""


class CheckFailed(Exception):
    """Raised by a check that found a fault; its text is the detail."""


class CheckSkipped(Exception):
    """Raised by a check if the trial lacks what it needs; its text is the reason."""
