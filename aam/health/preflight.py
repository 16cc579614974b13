"""Will this learn? Checks before a run, on callables, so that any training loop can be asked.

    table = preflight(make)          # make() -> a fresh `Trial`, the same every time it is called
    print(table); table.ok

A `Trial` hands out the parts of a training loop: its model, optimiser, batches, forward pass, loss, and its own update
step. Checks never touch the objects of the run itself, because each starts from a fresh trial. Checks whose optional
callables are missing are skipped and say so.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from aam.health.checks_learning import LEARNING
from aam.health.checks_modes import MODES
from aam.health.checks_start import START
from aam.health.checks_update import UPDATE
from aam.health.trial import Check, CheckFailed, Checks, CheckSkipped, Make


@dataclass(frozen=True)
class Preflight:
    """All checks, in the order in which they ran."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """True where no check found a fault."""
        return not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.ok is False)

    def tally(self) -> str:
        """One line: how many checks passed, and which were skipped."""
        skipped = [check.name for check in self.checks if check.ok is None]
        passed = len(self.checks) - len(skipped) - len(self.failed)
        return f"{passed} checks passed" + (f", no time or means for: {', '.join(skipped)}" if skipped else "")

    def __str__(self) -> str:
        words = {True: "ok", False: "FAULT", None: "skipped"}
        width = max((len(check.name) for check in self.checks), default=0)
        return "\n".join(
            f"{words[check.ok]:<8} {check.name:<{width}}  {check.detail} ({check.seconds:.1f} s)"
            for check in self.checks
        )


ALL = (*START, *UPDATE, *MODES, *LEARNING)


def preflight(make: Make, seconds: float = 60.0, checks: Checks = ALL) -> Preflight:
    """Run checks in their order, all of them the cheap ones first; what does not fit into `seconds` is skipped.

    A check that raises an unforeseen error is a fault as well: the run would have met it too.
    """
    started = time.monotonic()
    done: list[Check] = []
    for name, check in checks:
        begun = time.monotonic()
        left = seconds - (begun - started)
        if left <= 0:
            done.append(Check(name, None, "the time for all checks is used up"))
            continue
        ok, detail = _outcome(check, make, left)
        done.append(Check(name, ok, detail, time.monotonic() - begun))
    return Preflight(tuple(done))


def _outcome(check: Callable[[Make, float], str], make: Make, left: float) -> tuple[bool | None, str]:
    state = torch.get_rng_state()
    try:
        return True, check(make, left)
    except CheckFailed as fault:
        return False, str(fault)
    except CheckSkipped as reason:
        return None, str(reason)
    except Exception as error:  # noqa: BLE001 - whatever a training step raises is what the user must see
        return False, f"{type(error).__name__}: {error}"
    finally:
        torch.set_rng_state(state)
