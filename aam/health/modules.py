"""How large the result of every operation of a run gets, by module."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle

from aam.health.operations import Operation
from aam.health.stats import largest, read_together, real_values

ROOT = "(model)"
OUTSIDE = "(outside the model)"


@dataclass(frozen=True)
class Entry:
    """A module that is running: its path, how many times it ran before, and whether backward is recomputing it."""

    path: str
    call: int
    recomputed: bool


@dataclass(frozen=True)
class Size:
    """Largest magnitude a module put out, in the order of execution; NaN or Inf where it was not finite."""

    module: str
    call: int
    absmax: float


class ModuleStack:
    """Context manager that follows the modules of a model as they run, in forward and in recomputation.

    Modules that are not part of the model (a loss module beside it) appear as `(ClassName)`. `paused` is set while the
    hooks compute, so that a dispatch mode can ignore their own operations.
    """

    def __init__(self, model: nn.Module):
        self.paths = {module: plain_path(path) or ROOT for path, module in model.named_modules()}
        self.by_id = {id(module): path for module, path in self.paths.items()}
        self.entries: list[Entry] = []
        self.paused = False
        self._calls: dict[str, int] = {}
        self._sizes: list[tuple[str, int, Tensor]] = []
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> ModuleStack:
        self._handles = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        ]
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()

    @property
    def top(self) -> Entry | None:
        """The innermost running module."""
        return self.entries[-1] if self.entries else None

    def sizes(self) -> list[Size]:
        """Largest magnitude of every module output so far, in one host read per device."""
        values = read_together([value for *_, value in self._sizes])
        return [Size(path, call, value) for (path, call, _), value in zip(self._sizes, values, strict=True)]

    def _enter(self, module: nn.Module, args: Any) -> None:
        path = self.paths.get(module, f"({type(module).__name__})")
        call = self._calls.get(path, 0)
        self._calls[path] = call + 1
        self.entries.append(Entry(path, call, torch._C._current_autograd_node() is not None))

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        entry = self.entries.pop()
        tensor = next(iter(float_tensors(output)), None)
        if tensor is None or tensor.numel() == 0:
            return
        self.paused = True
        with torch.no_grad():
            self._sizes.append((entry.path, entry.call, largest(real_values(tensor))))
        self.paused = False


def plain_path(path: str) -> str:
    """A module path without the wrapper that `torch.compile` puts around a module."""
    return ".".join(part for part in path.split(".") if part != "_orig_mod")


def float_tensors(value: Any) -> list[Tensor]:
    """All floating-point and complex tensors in nested tuples, lists, mappings and dataclasses, in order."""
    tensors = [leaf for leaf in leaves(value) if isinstance(leaf, Tensor)]
    return [tensor for tensor in tensors if tensor.is_floating_point() or tensor.is_complex()]


def leaves(value: Any) -> list[Any]:
    """What nested tuples, lists, mappings and dataclasses hold, in order."""
    if isinstance(value, Tensor):
        return [value]
    if dataclasses.is_dataclass(value):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    elif isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, (tuple, list)):
        return [value]
    return [leaf for item in value for leaf in leaves(item)]


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
