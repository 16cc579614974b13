"""Make a bundled step again and compare it, bit by bit, with what it came to the first time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from aam.corpus.dataset import Batch
from aam.errors import NonFiniteError
from aam.health.bundle import restore_random_state
from aam.training.bundles import Bundle, Outcome, outcome_of
from aam.training.diagnosis import Fault, diagnose
from aam.training.step import Learner, StepResult, step


class Stopped(NonFiniteError):
    """The step was made up to its update."""


class Mute:
    """A guard that lets a step through, or, where it made no update the first time, stops before the update."""

    def __init__(self, update: bool):
        self.update = update
        self.result: StepResult | None = None

    def begin(self, learner: Learner, microbatches: Sequence[Batch], number: int, horizon: int) -> None:
        pass

    def passes(self, learner: Learner) -> AbstractContextManager[object]:
        return nullcontext()

    def admit(self, learner: Learner, result: StepResult) -> Tensor:
        self.result = result
        if not self.update:
            raise Stopped("not updated the first time either")
        return result.grad_norm

    def updating(self, learner: Learner, result: StepResult) -> AbstractContextManager[object]:
        return nullcontext()


@dataclass(frozen=True)
class Row:
    """One quantity of a step: as recorded, as made again, and whether they agree to the last bit."""

    name: str
    recorded: str
    again: str
    same: bool


def replay(bundle: Bundle) -> Outcome:
    """Make the step again; the learner of the bundle is changed as the run's was."""
    attempt, learner = bundle.attempt, bundle.learner
    restore_random_state(attempt.random)
    guard = Mute(update=bundle.outcome is None or bundle.outcome.updated)
    with suppress(Stopped):
        step(learner, attempt.microbatches, attempt.number, attempt.horizon, guard)
    assert guard.result is not None  # the step came as far as its guard
    return outcome_of(learner, guard.result, guard.update)


def compare(recorded: Outcome, again: Outcome) -> Iterator[Row]:
    """Loss, its terms, gradient norm and weights of two makings of one step."""
    pairs = (("loss terms", recorded.terms, again.terms), ("gradient norm", recorded.grad_norm, again.grad_norm))
    for name, one, other in pairs:
        yield Row(name, told(one), told(other), bits(one) == bits(other))
    yield Row("weights", recorded.weights[:16], again.weights[:16], recorded.weights == again.weights)


def told(tensor: Tensor) -> str:
    """Values with all their digits; of several only the first, which is the total."""
    return f"{tensor.flatten()[0].item():.9g}"


def bits(tensor: Tensor) -> bytes:
    """The bytes of a tensor: NaN equals NaN here."""
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def trace(bundle: Bundle) -> Fault:
    """Make the step again under the locator and ask for the cause; the weights stay as they were."""
    return diagnose(bundle.learner, bundle.attempt, bundle.names)
