"""Preflight checks of the forward pass: does it see its input and nothing else, and is it the same in every mode?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _NormBase

from aam.health.modules import float_tensors
from aam.health.stats import not_finite
from aam.health.trial import CheckFailed, Checks, Make

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
