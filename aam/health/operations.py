"""Operations of torch: which arguments they write, and which source line and module called them."""

from __future__ import annotations

import dataclasses
import linecache
import math
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle

from aam.health.stats import largest_magnitude, read_together, real_values

ROOT = "(model)"
OUTSIDE = "(outside the model)"
TORCH = str(Path(torch.__file__).parent) + "/"
HERE = str(Path(__file__).parent) + "/"
OWN_FILES = frozenset(HERE + name for name in ("tracing.py", "locator.py", "operations.py"))
GUARD_FILES = frozenset(HERE + name for name in ("stats.py", "guards.py"))
INSTALLED = (sysconfig.get_path("purelib") + "/", sysconfig.get_path("stdlib") + "/")
ENGINE = torch.autograd.graph._engine_run_backward.__code__
MODULE_CALL = torch.nn.Module._call_impl.__code__
# Memory that holds whatever was there before: its content means nothing until something is written to it.
UNINITIALISED = frozenset(
    {"empty", "empty_like", "empty_strided", "empty_permuted", "new_empty", "new_empty_strided", "resize_", "set_"}
)
# In-place operations that do not read what they replace.
OVERWRITES = frozenset(
    {"copy_", "fill_", "zero_", "normal_", "uniform_", "bernoulli_", "random_", "exponential_", "log_normal_",
     "cauchy_", "geometric_", "_foreach_copy_", "_foreach_zero_"}
)  # fmt: skip
# Operations that write their running statistics (fourth and fifth argument) without saying so in their schema.
KEEPS_STATISTICS = frozenset({"native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm", "_batch_norm_impl_index"})
# Operations that write a number the author spelt out; an infinity among them is meant, e.g. in an attention mask.
FILLS = frozenset(
    {"fill", "fill_", "full", "full_like", "new_full", "masked_fill", "masked_fill_", "where", "scalar_tensor",
     "constant_pad_nd", "index_fill", "index_fill_", "lift_fresh"}
)  # fmt: skip
# Operations for which a given -inf is an ordinary input: a masked position.
TAKES_MASKS = frozenset(
    {"_softmax", "_log_softmax", "_safe_softmax", "softmax", "logsumexp", "_scaled_dot_product_flash_attention_for_cpu",
     "_scaled_dot_product_flash_attention", "_scaled_dot_product_efficient_attention",
     "_scaled_dot_product_cudnn_attention", "_scaled_dot_product_attention_math",
     "_scaled_dot_product_fused_attention_overrideable", "_transformer_encoder_layer_fwd"}
)  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """One overload, e.g. `aten.masked_fill_.Scalar`: its name and how it treats its arguments."""

    name: str  # masked_fill_
    kernel: str  # aten.masked_fill_.Scalar
    view: bool  # outputs share memory with an input and hold nothing new
    written: tuple[int | str, ...]  # positions and names of arguments written in place
    reads_written: bool  # whether the old content of those matters

    @staticmethod
    @cache
    def of(func: OpOverload) -> Operation:
        """Read the schema of an overload."""
        name = func._schema.name.split("::")[-1]
        written = tuple(
            argument.name if argument.kwarg_only else position
            for position, argument in enumerate(func._schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
        )
        if name in KEEPS_STATISTICS:
            written = (3, 4)
        out_variant = any(isinstance(argument, str) for argument in written)
        reads_written = bool(written) and not out_variant and name not in OVERWRITES
        return Operation(name, str(func), func.is_view, written, reads_written)

    def written_tensors(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
        """The tensors this call writes in place."""
        found: list[Tensor] = []
        for key in self.written:
            value = kwargs.get(key) if isinstance(key, str) else (args[key] if key < len(args) else None)
            values = [value] if isinstance(value, Tensor) else value or ()
            found += [item for item in values if isinstance(item, Tensor)]
        return found

    def spelt_out(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """True if this call writes an infinity or NaN that is a constant in the code."""
        numbers = (value for value in (*args, *kwargs.values()) if isinstance(value, float))
        return self.name in FILLS and not all(map(math.isfinite, numbers))


class SourceLine(NamedTuple):
    """A line of source code; cheap to record for every operation, because its text is only read on demand."""

    code: CodeType
    number: int

    @property
    def file(self) -> str:
        return self.code.co_filename

    @property
    def function(self) -> str:
        return self.code.co_qualname

    @property
    def text(self) -> str:
        """The source, empty if the file is gone."""
        return linecache.getline(self.file, self.number).strip()

    def __str__(self) -> str:
        return f"{self.file}:{self.number} in {self.function}" + (f": {self.text}" if self.text else "")


def calling_lines(backward: bool = False) -> tuple[SourceLine, ...]:
    """The source lines that called an operation: the innermost frame outside torch.

    If this frame belongs to an installed package, the line of the user's code that called it follows.

    With `backward`, only frames that the autograd engine called: a hook, or a backward pass written in Python; empty
    if the engine called one of its own kernels. Costs about 2 microseconds.
    """
    frame: FrameType | None = sys._getframe(1)
    found: list[SourceLine] = []
    while frame is not None:
        code = frame.f_code
        if backward and code is ENGINE:
            break
        if not _skip(code):
            installed = code.co_filename.startswith(INSTALLED)
            if not found or not installed:
                found.append(SourceLine(code, frame.f_lineno))
            if not installed:
                break
        frame = frame.f_back
    return tuple(found)


def running_method(paths: Mapping[int, str]) -> str | None:
    """The module, of those in `paths` by their `id`, one of whose methods runs inside the innermost module call.

    Hooks only see modules that are called; this sees `encoder.embed(x)` as well.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not MODULE_CALL:
        code = frame.f_code
        if code.co_varnames[:1] == ("self",) and not _skip(code) and (path := paths.get(id(frame.f_locals["self"]))):
            return path
        frame = frame.f_back
    return None


@cache
def _skip(code: CodeType) -> bool:
    """True for code of torch and of the tracer itself."""
    return code.co_filename.startswith((TORCH, "<frozen")) or code.co_filename in OWN_FILES


@dataclass(frozen=True)
class ModuleCall:
    """A call of a module: its path and how many times it had run before, in the forward, backward or update phase.

    A module that backward recomputes runs in the backward phase.
    """

    module: str
    call: int
    phase: str


@dataclass(frozen=True)
class OutputSize(ModuleCall):
    """Largest magnitude of the output of a module; NaN or Inf if it was not finite."""

    absmax: float


class ModuleStack:
    """Context manager that follows the modules of a model as they run, in forward and in recomputation.

    Modules that are not part of the model (a loss module beside it) appear as `(ClassName)`. `paused` is set while the
    hooks compute, so that a dispatch mode can ignore their own operations.
    """

    def __init__(self, model: nn.Module):
        self.paths: dict[int, str] = {}  # by identity
        for path, module in model.named_modules():
            parts = [part for part in path.split(".") if part != "_orig_mod"]  # the wrapper of `torch.compile`
            self.paths[id(module)] = ".".join(parts) or ROOT
        self.paused = False
        self._running: list[ModuleCall] = []
        self._calls: dict[str, int] = {}
        self._sizes: list[tuple[ModuleCall, Tensor]] = []
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
    def top(self) -> ModuleCall | None:
        """The innermost running module."""
        return self._running[-1] if self._running else None

    def sizes(self) -> list[OutputSize]:
        """Largest magnitude of every module output so far, in one host read per device."""
        values = read_together([value for _, value in self._sizes])
        return [OutputSize(**vars(call), absmax=value) for (call, _), value in zip(self._sizes, values, strict=True)]

    def _enter(self, module: nn.Module, args: Any) -> None:
        path = self.paths.get(id(module), f"({type(module).__name__})")
        call = self._calls.get(path, 0)
        self._calls[path] = call + 1
        phase = "forward" if torch._C._current_autograd_node() is None else "backward"
        self._running.append(ModuleCall(path, call, phase))

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        call = self._running.pop()
        tensor = next(iter(float_tensors(output)), None)
        if tensor is None or tensor.numel() == 0:
            return
        self.paused = True
        with torch.no_grad():
            self._sizes.append((call, largest_magnitude(real_values(tensor))))
        self.paused = False


def float_tensors(value: Any) -> list[Tensor]:
    """All floating-point and complex tensors in nested tuples, lists, mappings and dataclasses, in order."""
    tensors = [leaf for leaf in leaves(value) if isinstance(leaf, Tensor)]
    return [tensor for tensor in tensors if tensor.is_floating_point() or tensor.is_complex()]


def leaves(value: Any) -> list[Any]:
    """The leaves of nested tuples, lists, mappings and dataclasses, in order."""
    if isinstance(value, Tensor):
        return [value]
    if dataclasses.is_dataclass(value):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    elif isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, (tuple, list)):
        return [value]
    return [leaf for item in value for leaf in leaves(item)]
