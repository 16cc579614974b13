"""Where does a model leave the range of half precision, and does it help to keep one module in fp32?

    report = bisect_precision(model, call)          # call(model) runs a forward pass of the model it is given
    print(report); report.verdict, report.first, report.keep

One run in fp32 shows how large everything gets, which predicts the place. At most three replays on a copy in half
precision confirm it: as it is; with the predicted modules in fp32; in bf16, whose range is that of fp32. The verdict is

    fine        the whole model survives in this precision
    module      it survives with `keep` in fp32: values are too large (or small) inside of these modules only
    stream      what is too large passes from module to module, usually along a residual stream: no module in fp32 helps
    algorithm   fp32 fails as well, so it is not the precision
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from aam.health.locator import examine
from aam.health.operations import ROOT, Operation, float_tensors
from aam.health.report import Report
from aam.health.stats import largest, read_together, real_values
from aam.health.tracing import SampleRows

WRONG = 0.25  # relative error of the result from which on a run counts as failed though everything is finite
MOST = 0.5  # a part with more of the operations than this is not "a module" but the model
Verdict = Literal["fine", "module", "stream", "algorithm"]
Call = Callable[[nn.Module], Any]
Lower = Callable[[nn.Module, torch.dtype, tuple[str, ...]], nn.Module]


@dataclass(frozen=True)
class PrecisionReport:
    """The answer. `first` is where values first leave the range as met in half precision; `predicted` is from fp32."""

    dtype: torch.dtype
    verdict: Verdict
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
        rows += [f"  {trial}: {_outcome(fine, self.errors[trial])}" for trial, fine in self.survives.items()]
        return "\n".join(rows)


def bisect_precision(
    model: nn.Module, call: Call, dtype: torch.dtype = torch.float16, lower: Lower | None = None
) -> PrecisionReport:
    """Find where a forward pass leaves the range of `dtype`; see the module's text. The model itself is not changed.

    `lower` makes the copies in half precision: `converted`, where the weights are half as well, or `autocast`.
    """
    lower = lower or converted
    trials = _Trials(call)
    name = str(dtype).removeprefix("torch.")
    seen, plain = trials.run("fp32", model)
    over = [found for found in seen if not found.absmax <= torch.finfo(dtype).max]

    def answer(verdict: Verdict, first: str = "", op: str = "", keep: tuple[str, ...] = ()) -> PrecisionReport:
        return PrecisionReport(dtype, verdict, first, op, keep, tuple(over), trials.survives, trials.errors)

    if not trials.survives["fp32"]:
        return answer("algorithm", *_first(plain, over))
    made, half = trials.run(name, lower(model, dtype, ()))
    if trials.survives[name]:
        return answer("fine")
    upcast = {(found.module, found.op) for found in made if found.dtype is torch.float32}
    first = _first(half, [found for found in over if (found.module, found.op) not in upcast])
    sizes = _sizes(plain)
    modules = {first[0], *(found.module for found in over if (found.module, found.op) not in upcast)}
    keep = _to_keep({module for module in modules if module in sizes}, sizes, torch.finfo(dtype).max)
    if keep and _share(seen, keep) <= MOST:
        trial = f"{name} with {', '.join(keep)} in fp32"
        trials.run(trial, lower(model, dtype, keep))
        if trials.survives[trial]:
            return answer("module", *first, keep)
    if dtype is not torch.bfloat16:
        trials.run("bfloat16", lower(model, torch.bfloat16, ()))
    return answer("stream", *first)


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


class _Trials:
    """Runs of one call on several versions of a model; the first one is what the others are compared with."""

    def __init__(self, call: Call):
        self.survives: dict[str, bool] = {}
        self.errors: dict[str, float] = {}
        self._call = call
        self._expected: list[Tensor] = []

    def run(self, trial: str, model: nn.Module) -> tuple[list[Range], Report]:
        """One forward pass: the range of every operation, and the locator's report."""
        log = RangeLog()

        def once() -> Any:
            with torch.no_grad():
                return self._call(model)

        report = examine(model, once, SampleRows(), listener=log)
        results = [tensor.double() for tensor in float_tensors(report.result)]
        self._expected = self._expected or results
        self.errors[trial] = max((_error(a, b) for a, b in zip(results, self._expected, strict=False)), default=0.0)
        self.survives[trial] = report.ok and self.errors[trial] <= WRONG
        return log.read(), report


def _error(found: Tensor, expected: Tensor) -> float:
    """Euclidean norm of the difference over that of the expected values."""
    size = float(expected.norm())
    return float((found - expected).norm()) / size if size else float(found.norm())


def _outcome(fine: bool, error: float) -> str:
    return f"survives, result off by {error:.2%}" if fine else f"fails, result off by {error:.2%}"


def _first(report: Report, over: list[Range]) -> tuple[str, str]:
    """Module and operation of the first fault; where an overflow was swallowed, of the first value out of range."""
    if report.producer is not None:
        return report.producer.module, report.producer.op
    return (over[0].module, over[0].op) if over else ("", "")


def _sizes(report: Report) -> dict[str, float]:
    """Largest magnitude that each module put out."""
    sizes: dict[str, float] = {}
    for size in report.history:
        sizes[size.module] = max(size.absmax, sizes.get(size.module, 0.0))
    return sizes


def _to_keep(modules: set[str], sizes: Mapping[str, float], limit: float) -> tuple[str, ...]:
    """The smallest modules around these whose output is within the limit, outermost only; none if that is the model."""
    around = {enclosing(module, sizes, limit) for module in modules}
    if ROOT in around:
        return ()
    return tuple(sorted(path for path in around if not any(path.startswith(f"{other}.") for other in around)))


def enclosing(module: str, sizes: Mapping[str, float], limit: float) -> str:
    """The smallest module around `module`, itself included, whose own output stays within the limit."""
    while module != ROOT:
        if sizes.get(module, float("inf")) <= limit:
            return module
        module = module.rpartition(".")[0] or ROOT
    return ROOT


def _share(seen: list[Range], keep: tuple[str, ...]) -> float:
    """The largest part of all operations that runs inside one of these modules."""
    inside = [sum(f"{found.module}.".startswith(f"{path}.") for found in seen) for path in keep]
    return max(inside) / max(1, len(seen))


def converted(model: nn.Module, dtype: torch.dtype, keep: tuple[str, ...] = ()) -> nn.Module:
    """A copy of the model in another precision, its inputs cast along, with the modules `keep` left in fp32."""
    twin = copy.deepcopy(model).to(dtype)
    twin.register_forward_pre_hook(lambda module, args, kwargs: cast((args, kwargs), dtype), with_kwargs=True)
    for path in keep:
        module = twin.get_submodule(path).float()
        # The weights come from the original: rounding them to half and back would not be fp32.
        module.load_state_dict(model.get_submodule(path).state_dict())
        module.register_forward_pre_hook(
            lambda module, args, kwargs: cast((args, kwargs), torch.float32), with_kwargs=True
        )
        module.register_forward_hook(lambda module, args, output: cast(output, dtype))
    return twin


def autocast(model: nn.Module, dtype: torch.dtype, keep: tuple[str, ...] = ()) -> nn.Module:
    """A copy of the model that runs under autocast to `dtype`, its weights in fp32, without autocast in `keep`."""
    twin = copy.deepcopy(model)
    device = next(twin.parameters()).device.type
    for path in keep:
        module = twin.get_submodule(path)
        module.register_forward_pre_hook(
            lambda module, args, kwargs: cast((args, kwargs), torch.float32), with_kwargs=True
        )
        module.forward = torch.autocast(device, enabled=False)(module.forward)
    twin.forward = torch.autocast(device, dtype)(twin.forward)
    return twin


def cast(value: Any, dtype: torch.dtype) -> Any:
    """The same nesting of tuples, lists, mappings and dataclasses with its floating-point tensors in another dtype."""

    def leaf(item: Any) -> Any:
        if isinstance(item, Tensor):
            return item.to(dtype) if item.is_floating_point() else item
        if dataclasses.is_dataclass(item) and not isinstance(item, type):
            fields = {field.name: cast(getattr(item, field.name), dtype) for field in dataclasses.fields(item)}
            return dataclasses.replace(item, **fields)
        return item

    return tree_map(leaf, value)
