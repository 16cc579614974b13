"""A meter that lets a test stop a run where it likes."""

from __future__ import annotations

from torch import Tensor

from aam.stopping import StopRequest
from aam.training.sinks import Meter
from aam.training.step import StepResult


class EveryStep(Meter):
    """A meter that remembers each step, and asks for a stop after so many of them."""

    def __init__(self, stop: StopRequest, after: int | None):
        super().__init__()
        self.losses: list[Tensor] = []
        self.stop, self.after = stop, after

    def add(self, result: StepResult) -> None:
        super().add(result)
        self.losses.append(result.terms)
        if len(self.losses) == self.after:
            self.stop.requested, self.stop.name = True, "SIGTERM"
