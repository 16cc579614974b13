"""Checks, before a run, that a model can learn; they work with any training loop.

    table = preflight(make)          # make() -> a fresh `Trial`, the same every time it is called
    print(table); table.ok

A `Trial` has the parts of a training loop: model, optimiser, batches, forward pass, loss, and update step. Each check
starts from a fresh trial, so that the objects of the run itself are never changed. A check whose optional callable is
missing is reported as skipped.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from aam.errors import lacks_memory
from aam.health.checks_start import MODE_CHECKS, START_CHECKS
from aam.health.checks_update import LEARNING_CHECKS, UPDATE_CHECKS
from aam.health.trial import CheckFailed, CheckResult, Checks, CheckSkipped, Make, Preflight
from aam.text import one_line

ALL = (*START_CHECKS, *UPDATE_CHECKS, *MODE_CHECKS, *LEARNING_CHECKS)


def preflight(make: Make, seconds: float = 60.0, checks: Checks = ALL) -> Preflight:
    """Run checks in order, by default all with the cheap ones first; checks beyond `seconds` are skipped.

    An unexpected error of a check counts as a fault, because the run would raise it too.
    """
    started = time.monotonic()
    done: list[CheckResult] = []
    for name, check in checks:
        begun = time.monotonic()
        left = seconds - (begun - started)
        if left <= 0:
            done.append(CheckResult(name, None, "the time for all checks is used up"))
            continue
        ok, detail = _outcome(check, make, left)
        done.append(CheckResult(name, ok, detail, time.monotonic() - begun))
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
        if lacks_memory(error):  # the run itself computes a batch in parts where it has to
            return None, f"not enough memory ({one_line(error)})"
        return False, f"{type(error).__name__}: {error}"
    finally:
        torch.set_rng_state(state)
