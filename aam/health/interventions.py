"""Counts of everything that was done to keep a run alive, and the budget above which the run must stop instead.

An intervention that nobody counts hides a fault: a sanitised gradient is applied with a made-up 0, a clamp has
gradient 0, a fallback may serve the same stale value for hours.
"""

from __future__ import annotations

from collections import Counter

from aam.errors import NonFiniteError
from aam.wording import counted


class Interventions:
    """Counter by kind ("skipped step", "clamp", "sanitised gradient", "fallback", …) against a budget.

    `budget` is the largest tolerated number of interventions per optimiser step, e.g. 0.001.
    """

    def __init__(self, budget: float):
        self.budget = budget
        self.counts: Counter[str] = Counter()

    def add(self, kind: str, count: int = 1) -> None:
        """Record that `kind` happened `count` times; 0 leaves no trace."""
        if count:
            self.counts[kind] += count

    @property
    def total(self) -> int:
        """Interventions of all kinds."""
        return self.counts.total()

    def check(self, steps: int) -> None:
        """Raise `NonFiniteError` (exit code 3) where the budget for this many steps is exceeded."""
        if self.total > self.budget * steps:
            raise NonFiniteError(
                f"{self.line(steps)}: above the budget of {self.budget:.3%} of the steps; "
                "find the cause (aam replay on the bundle of the first fault) or raise the intervention budget"
            )

    def line(self, steps: int) -> str:
        """One line for the log and the end of a run."""
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.counts.items()))
        return f"{counted(self.total, 'interventions')} in {counted(steps, 'steps')}" + (f" ({kinds})" if kinds else "")

    def state_dict(self) -> dict[str, int]:
        """The counts, for the manifest and for checkpoints."""
        return dict(self.counts)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on counting from a checkpoint."""
        self.counts = Counter(state)
