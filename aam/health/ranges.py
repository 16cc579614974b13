"""How large the result of every operation of a run gets, by module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from aam.health.modules import ROOT
from aam.health.operations import Operation
from aam.health.stats import largest, read_together, real_values


@dataclass(frozen=True)
class Range:
    """Largest finite magnitude in the result of one operation."""

    module: str
    op: str
    dtype: torch.dtype
    absmax: float


class RangeLog:
    """Listens to a tracer and notes the largest magnitude of each result; the host reads nothing before `read`."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, torch.dtype]] = []
        self._values: list[Tensor] = []

    def __call__(self, operation: Operation, module: str, results: Sequence[Tensor]) -> None:
        for tensor in results:
            if tensor.numel():
                finite = torch.nan_to_num(real_values(tensor), nan=0.0, posinf=0.0, neginf=0.0)  # masks hold -inf
                self._values.append(largest(finite))
                self._rows.append((module, operation.name, tensor.dtype))

    def read(self) -> list[Range]:
        """All operations so far, in order of time, with one host read per device."""
        values = read_together(self._values)
        return [Range(*row, absmax=value) for row, value in zip(self._rows, values, strict=True)]


def enclosing(module: str, sizes: Mapping[str, float], limit: float) -> str:
    """The smallest module around `module`, itself included, whose own output stays within the limit."""
    while module != ROOT:
        if sizes.get(module, float("inf")) <= limit:
            return module
        module = module.rpartition(".")[0] or ROOT
    return ROOT
