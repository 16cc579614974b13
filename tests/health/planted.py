"""Faults to plant into any module: each takes the module's output and hands back something poisoned.

A fault is (function, operation that makes the first bad value, phase). The function keeps the shape, so that the fault
travels on through the rest of the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Fault(NamedTuple):
    spoil: Callable[[Tensor], Tensor]
    op: str
    phase: str


class DividesInBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient / torch.zeros_like(gradient)


def hooked(x: Tensor) -> Tensor:
    y = x * 1
    y.register_hook(lambda gradient: gradient.sub(1e6).log())
    return y


def repeated_eigenvalues(x: Tensor) -> Tensor:
    return x + torch.linalg.eigh(torch.eye(3) + x.sum() * 0)[1].sum()


def masked_row(x: Tensor) -> Tensor:
    return x + torch.softmax(x.masked_fill(torch.ones_like(x, dtype=torch.bool), -math.inf), dim=-1)


FAULTS = {
    # made in the forward pass
    "log of a negative number": Fault(lambda x: x + torch.log(-1 - x * x), "log", "forward"),
    "zero by zero": Fault(lambda x: x + (x * 0) / (x * 0), "div", "forward"),
    "overflow of exp": Fault(lambda x: x * torch.exp(x * 0 + 200), "exp", "forward"),
    "square root of a negative number": Fault(lambda x: x + torch.sqrt(-1 - x * x), "sqrt", "forward"),
    "softmax of a fully masked row": Fault(masked_row, "_softmax", "forward"),
    "arc cosine beyond 1": Fault(lambda x: x + torch.acos(x * 0 + 1.5), "acos", "forward"),
    "mean of nothing": Fault(lambda x: x + x[:0].mean(), "mean", "forward"),
    "infinity minus infinity": Fault(
        lambda x: x + (torch.full_like(x, math.inf) - torch.full_like(x, math.inf)), "sub", "forward"
    ),
    "overflow of a square": Fault(lambda x: x + (x * 0 + 1e30) ** 2, "pow", "forward"),
    "reciprocal of zero": Fault(lambda x: x * torch.reciprocal(x * 0), "reciprocal", "forward"),
    "cast to half precision": Fault(lambda x: x + (x * 0 + 1e6).half().float(), "_to_copy", "forward"),
    "variance of one value": Fault(lambda x: x + x.flatten()[:1].var(), "var", "forward"),
    "overflow of a matrix product": Fault(
        lambda x: x + (x * 0 + 1e30) @ torch.full((x.shape[-1], x.shape[-1]), 1e30), "mm", "forward"
    ),
    "in-place division by zero": Fault(lambda x: (x * 1).div_(x.detach() * 0), "div_", "forward"),
    # forward is finite; made in the backward pass
    "square root at zero": Fault(lambda x: x + torch.sqrt(x * 0), "sqrt", "backward"),
    "norm by hand at zero": Fault(lambda x: x + (x * 0).square().sum().sqrt(), "sqrt", "backward"),
    "power 0.5 at zero": Fault(lambda x: x + (x * 0) ** 0.5, "pow", "backward"),
    "arc cosine at 1": Fault(lambda x: x + torch.acos(x * 0 + 1), "acos", "backward"),
    "inverse hyperbolic cosine at 1": Fault(lambda x: x + torch.acosh(x * 0 + 1), "acosh", "backward"),
    "division hidden by where": Fault(lambda x: torch.where(x == x, x, x / (x * 0 + 0.0).square()), "div", "any"),
    "log hidden by where": Fault(lambda x: torch.where(x == x, x, torch.log(x * 0)), "log", "backward"),
    "repeated eigenvalues": Fault(repeated_eigenvalues, "_linalg_eigh", "backward"),
    "backward pass written by hand": Fault(DividesInBackward.apply, "div", "backward"),
    "hook on a gradient": Fault(hooked, "log", "backward"),
}


def plant(model: nn.Module, path: str, fault: Fault) -> None:
    """Spoil what the module at `path` returns, from within its forward."""
    module = model.get_submodule(path)
    sound = module.forward
    module.forward = lambda *args, **kwargs: fault.spoil(sound(*args, **kwargs))
