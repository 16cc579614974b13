"""Find values of a model that are outside the range of half precision, and modules to keep in fp32.

    report = bisect_precision(model, call)          # call(model) runs a forward pass of the model it is given
    print(report); report.verdict, report.first, report.keep

One run in fp32 measures all magnitudes and predicts the place. At most three replays in half precision confirm it: of
the whole model; with the predicted modules in fp32; in bf16, which has the range of fp32. The verdict is

    fine        the whole model survives in this precision
    module      it survives with `keep` in fp32: values are too large (or small) inside of these modules only
    stream      what is too large passes from module to module, usually along a residual stream: no module in fp32 helps
    algorithm   fp32 fails as well, so it is not the precision
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from aam.health.locator import locate_with_listener
from aam.health.operations import ROOT, Operation, float_tensors
from aam.health.report import Report
from aam.health.stats import largest_magnitude, read_together, real_values

MAX_ERROR = 0.25  # relative error of the result from which on a run counts as failed though everything is finite
MAX_SHARE = 0.5  # a part with more of the operations than this is not "a module" but the model
PrecisionVerdict = Literal["fine", "module", "stream", "algorithm"]
Call = Callable[[nn.Module], Any]
Lower = Callable[[nn.Module, torch.dtype, tuple[str, ...]], nn.Module]


@dataclass(frozen=True)
class PrecisionReport:
    """Result of `bisect_precision`: `first` place out of range; `predicted`: the same, expected from fp32."""

    dtype: torch.dtype
    verdict: PrecisionVerdict
    first: str  # module path, or "" where nothing does
    op: str
    keep: tuple[str, ...]
    predicted: tuple[Range, ...]  # operations of the fp32 run beyond the range, in order of time
    survives: Mapping[str, bool]  # what was tried -> whether it stayed finite and near the result in fp32
    errors: Mapping[str, float]  # what was tried -> relative difference of the result from that in fp32

    def __str__(self) -> str:
        name, limit = str(self.dtype).removeprefix("torch."), torch.finfo(self.dtype).max
        words = {
            "fine": f"{name} is fine",
            "module": f"keep in fp32: {', '.join(self.keep)}",
            "stream": "the stream, not a module: values between modules are out of range, use bf16 or scale them down",
            "algorithm": "not the precision: fp32 fails as well, run the locator",
        }
        rows = [f"precision: {words[self.verdict]}"]
        if self.first:
            rows.append(f"  first leaves the range of {name} (largest {limit:.5g}) in {self.first}, by {self.op}")
        rows += [f"  predicted from fp32: {r.module} {r.op} reaches {r.absmax:.4g}" for r in self.predicted[:3]]
        for version, fine in self.survives.items():
            rows.append(f"  {version}: {'survives' if fine else 'fails'}, result off by {self.errors[version]:.2%}")
        return "\n".join(rows)


def bisect_precision(
    model: nn.Module, call: Call, dtype: torch.dtype = torch.float16, lower: Lower | None = None
) -> PrecisionReport:
    """Find where a forward pass leaves the range of `dtype`; see the module's text. The model itself is not changed.

    `lower` makes the copies in half precision: `convert_model`, which converts weights too, or `autocast_model`.
    """
    lower = lower or convert_model
    runs = _Runs(call)
    name = str(dtype).removeprefix("torch.")
    seen, plain = runs.run("fp32", model)
    over = [found for found in seen if not found.absmax <= torch.finfo(dtype).max]

    def answer(verdict: PrecisionVerdict, first: str = "", op: str = "", keep: tuple[str, ...] = ()) -> PrecisionReport:
        return PrecisionReport(dtype, verdict, first, op, keep, tuple(over), runs.survives, runs.errors)

    if not runs.survives["fp32"]:
        return answer("algorithm", *_first_fault(plain, over))
    made, half = runs.run(name, lower(model, dtype, ()))
    if runs.survives[name]:
        return answer("fine")
    upcast = {(found.module, found.op) for found in made if found.dtype is torch.float32}
    beyond = [found for found in over if (found.module, found.op) not in upcast]
    first = _first_fault(half, beyond)
    keep = _modules_to_keep({first[0], *(found.module for found in beyond)}, plain, torch.finfo(dtype).max)
    if keep and _largest_share(seen, keep) <= MAX_SHARE:
        version = f"{name} with {', '.join(keep)} in fp32"
        runs.run(version, lower(model, dtype, keep))
        if runs.survives[version]:
            return answer("module", *first, keep)
    if dtype is not torch.bfloat16:
        runs.run("bfloat16", lower(model, torch.bfloat16, ()))
    return answer("stream", *first)


@dataclass(frozen=True)
class Range:
    """Largest finite magnitude in the result of one operation."""

    module: str
    op: str
    dtype: torch.dtype
    absmax: float


class _Runs:
    """Runs of one call on several versions of a model; the first one is what the others are compared with."""

    def __init__(self, call: Call):
        self.survives: dict[str, bool] = {}
        self.errors: dict[str, float] = {}
        self._call = call
        self._expected: list[Tensor] = []

    def run(self, version: str, model: nn.Module) -> tuple[list[Range], Report]:
        """One forward pass: the range of every operation in order of time, and the locator's report."""
        rows: list[tuple[str, str, torch.dtype]] = []
        magnitudes: list[Tensor] = []

        def note_magnitudes(operation: Operation, module: str, results: Sequence[Tensor]) -> None:
            for tensor in results:
                if tensor.numel():
                    finite = torch.nan_to_num(real_values(tensor), nan=0.0, posinf=0.0, neginf=0.0)  # masks hold -inf
                    magnitudes.append(largest_magnitude(finite))
                    rows.append((module, operation.name, tensor.dtype))

        report = locate_with_listener(model, lambda: torch.no_grad()(self._call)(model), listener=note_magnitudes)
        results = [tensor.double() for tensor in float_tensors(report.result)]
        self._expected = self._expected or results
        errors = [_relative_error(found, wanted) for found, wanted in zip(results, self._expected, strict=False)]
        self.errors[version] = max(errors, default=0.0)
        self.survives[version] = report.ok and self.errors[version] <= MAX_ERROR
        return [Range(*row, size) for row, size in zip(rows, read_together(magnitudes), strict=True)], report


def _relative_error(found: Tensor, expected: Tensor) -> float:
    """Euclidean norm of the difference over that of the expected values."""
    size = float(expected.norm())
    return float((found - expected).norm()) / size if size else float(found.norm())


def _first_fault(report: Report, over: list[Range]) -> tuple[str, str]:
    """Module and operation of the first fault, or of the first value out of range if the overflow had no effect."""
    if report.producer is not None:
        return report.producer.module, report.producer.op
    return (over[0].module, over[0].op) if over else ("", "")


def _modules_to_keep(modules: set[str], report: Report, limit: float) -> tuple[str, ...]:
    """The smallest modules that contain these and whose own output is within the limit; empty if that is the model."""
    sizes: dict[str, float] = {}  # largest magnitude that each module put out
    for size in report.history:
        sizes[size.module] = max(size.absmax, sizes.get(size.module, 0.0))
    around = set()
    for module in modules & sizes.keys():
        while module != ROOT and not sizes.get(module, math.inf) <= limit:
            module = module.rpartition(".")[0] or ROOT
        around.add(module)
    if ROOT in around:
        return ()
    return tuple(sorted(path for path in around if not any(path.startswith(f"{other}.") for other in around)))


def _largest_share(seen: list[Range], keep: tuple[str, ...]) -> float:
    """The largest part of all operations that runs inside one of these modules."""
    inside = [sum(f"{found.module}.".startswith(f"{path}.") for found in seen) for path in keep]
    return max(inside) / max(1, len(seen))


def convert_model(model: nn.Module, dtype: torch.dtype, keep: tuple[str, ...] = ()) -> nn.Module:
    """Copy the model to another precision; the copy casts its inputs, and its modules `keep` stay in fp32."""
    twin = copy.deepcopy(model).to(dtype)
    _cast_inputs(twin, dtype)
    for path in keep:
        module = twin.get_submodule(path).float()
        # The weights come from the original: rounding them to half and back would not be fp32.
        module.load_state_dict(model.get_submodule(path).state_dict())
        _cast_inputs(module, torch.float32)
        module.register_forward_hook(lambda module, args, output: cast_tensors(output, dtype))
    return twin


def autocast_model(model: nn.Module, dtype: torch.dtype, keep: tuple[str, ...] = ()) -> nn.Module:
    """Copy the model so that it runs under autocast to `dtype`, except in `keep`; weights stay in fp32."""
    twin = copy.deepcopy(model)
    device = next(twin.parameters()).device.type
    for path in keep:
        module = twin.get_submodule(path)
        _cast_inputs(module, torch.float32)
        module.forward = torch.autocast(device, enabled=False)(module.forward)
    twin.forward = torch.autocast(device, dtype)(twin.forward)
    return twin


def _cast_inputs(module: nn.Module, dtype: torch.dtype) -> None:
    module.register_forward_pre_hook(lambda module, args, kwargs: cast_tensors((args, kwargs), dtype), with_kwargs=True)


def cast_tensors(value: Any, dtype: torch.dtype) -> Any:
    """The same nesting of tuples, lists, mappings and dataclasses with its floating-point tensors in another dtype."""

    def leaf(item: Any) -> Any:
        if isinstance(item, Tensor):
            return item.to(dtype) if item.is_floating_point() else item
        if dataclasses.is_dataclass(item) and not isinstance(item, type):
            fields = {field.name: cast_tensors(getattr(item, field.name), dtype) for field in dataclasses.fields(item)}
            return dataclasses.replace(item, **fields)
        return item

    return tree_map(leaf, value)
