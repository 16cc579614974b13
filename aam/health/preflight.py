"""Will this learn? Checks before a run, on callables, so that any training loop can be asked.

    table = preflight(make)          # make() -> a fresh `Trial`, the same every time it is called
    print(table); table.ok

A `Trial` hands out the parts of a training loop: its model, optimiser, batches, forward pass, loss, and its own update
step. Checks never touch the objects of the run itself, because each starts from a fresh trial. Checks whose optional
callables are missing are skipped and say so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _NormBase

from aam.health.checks_start import START
from aam.health.checks_update import LEARNING, UPDATE
from aam.health.operations import float_tensors
from aam.health.stats import not_finite
from aam.health.trial import Check, CheckFailed, Checks, CheckSkipped, Make

PARITY = 1e-5  # tolerated relative difference between modes in fp32
BACKEND = 1e-3  # and between attention kernels, which sum in another order


def output_depends_on_input(make: Make, left: float) -> str:
    """Other inputs give other outputs, and junk in the padding gives the same."""
    trial = make()
    trial.model.eval()
    with torch.no_grad():
        first, second = (float_tensors(trial.predict(batch)) for batch in list(trial.batches)[:2])
        if all(
            a.shape == b.shape and torch.allclose(a, b, rtol=1e-6, atol=1e-7)
            for a, b in zip(first, second, strict=False)
        ):
            raise CheckFailed("two different batches give the same output: the model does not see its input")
        if trial.junk is None:
            return "outputs differ between batches"
        again = float_tensors(trial.predict(trial.junk(trial.batches[0])))
    if not all(a.shape == b.shape and _close(a, b, PARITY) for a, b in zip(first, again, strict=True)):
        raise CheckFailed("values in the padding change the output: the mask is inverted, or missing somewhere")
    return "outputs differ between batches, not with junk in the padding"


def modes_agree(make: Make, left: float) -> str:
    """Training (dropout 0), evaluation, no_grad, inference mode and each attention kernel give the same output."""
    trial = make()
    batch = trial.batches[0]
    with _without_dropout(trial.model):
        trial.model.eval()
        expected = float_tensors(trial.predict(batch))
        if bad := not_finite((str(i), t) for i, t in enumerate(expected)):
            raise CheckFailed(
                f"output {bad[0][0].name} in evaluation mode holds {bad[0][0].nan} NaN and {bad[0][0].inf} Inf"
            )
        for name, context in (("no_grad", torch.no_grad), ("inference_mode", torch.inference_mode)):
            with context():
                _agree(expected, trial.predict(batch), name, PARITY)
        with sdpa_kernel([SDPBackend.MATH]):
            _agree(expected, trial.predict(batch), "plain attention kernel", BACKEND)
        if any(isinstance(module, _NormBase) and module.track_running_stats for module in trial.model.modules()):
            return "evaluation modes agree; training differs by design (running statistics)"
        trial.model.train()
        once, twice = (float_tensors(trial.predict(batch)) for _ in range(2))
        if not all(map(torch.equal, once, twice)):
            return "evaluation modes agree; training is random beyond nn.Dropout, so it is not compared"
        _agree(expected, once, "training", PARITY)
    return "all modes agree"


MODES: Checks = (
    ("input", output_depends_on_input),
    ("modes", modes_agree),
)


@contextmanager
def _without_dropout(model: nn.Module) -> Iterator[None]:
    """Set the rate of every dropout module to 0 for a while."""
    modules = [module for module in model.modules() if isinstance(module, nn.modules.dropout._DropoutNd)]
    rates = [module.p for module in modules]
    for module in modules:
        module.p = 0.0
    try:
        yield
    finally:
        for module, rate in zip(modules, rates, strict=True):
            module.p = rate


def _agree(expected: list[Tensor], output: Any, name: str, tolerance: float) -> None:
    for index, (a, b) in enumerate(zip(expected, float_tensors(output), strict=True)):
        if not _close(a.detach(), b.detach(), tolerance):
            worst = float((a.detach() - b.detach()).abs().max())
            raise CheckFailed(f"output {index} differs between evaluation and {name} by up to {worst:.3g}")


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    scale = float(a.abs().max()) if a.numel() else 0.0
    return torch.allclose(a, b, rtol=tolerance, atol=tolerance * max(scale, 1.0))


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
