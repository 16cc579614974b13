"""Statistics of many tensors in one host read, of one tensor as a line of text, and patterns of non-finite values.

Minimum, maximum, mean and largest magnitude are taken over the finite values, so that a single NaN does not hide the
range of the others; NaN and Inf are counted separately. Complex tensors are described by their absolute
values.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

INDICES_SHOWN = 8
"""Indices of one kind that a pattern names."""
PatternKind = Literal["none", "element", "feature", "slice", "row", "sample", "all"]
# Row widths of widely used transformers; a bare count of NaN is explained by the widest that divides it.
KNOWN_WIDTHS = (
    384, 512, 640, 768, 1024, 1152, 1280, 1536, 1600, 1792, 2048, 2304, 2560, 2816, 3072, 3584, 3840, 4096, 4608, 5120,
    5376, 6144, 6656, 7168, 8192, 12288, 16384,
)  # fmt: skip


@dataclass(frozen=True)
class TensorSummary:
    """What one tensor holds. `minimum` to `absmax` are NaN if the tensor has no finite value."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    minimum: float
    maximum: float
    mean: float
    absmax: float
    nan: int
    inf: int
    zeros: int

    @property
    def finite(self) -> bool:
        """True if the tensor holds neither NaN nor Inf (an empty tensor is finite)."""
        return self.nan == 0 and self.inf == 0


def summarise_tensors(tensors: Iterable[tuple[str, Tensor]]) -> list[TensorSummary]:
    """Summaries of (name, tensor) pairs, in their order, with one device-to-host copy per device.

    Integers beyond 2**53 are rounded, because the statistics travel as float64. Any dtype and any shape, empty and 0-d
    included, is accepted.
    """
    named = [(name, tensor.detach()) for name, tensor in tensors]
    rows = read_together([_statistics(tensor) for _, tensor in named])
    return [
        TensorSummary(name, tuple(tensor.shape), tensor.dtype, low, high, mean, top, int(nan), int(inf), int(zeros))
        for (name, tensor), (low, high, mean, top, nan, inf, zeros) in zip(named, rows, strict=True)
    ]


def read_together(values: list[Tensor]) -> list[Any]:
    """Small tensors of one shape as Python numbers, with one device-to-host copy per device."""
    read: list[Any] = [None] * len(values)
    by_device: dict[torch.device, list[int]] = defaultdict(list)
    for index, value in enumerate(values):
        by_device[value.device].append(index)
    for indices in by_device.values():
        block = torch.stack([values[index] for index in indices]).tolist()  # the one host read
        for index, row in zip(indices, block, strict=True):
            read[index] = row
    return read


def largest_magnitude(values: Tensor) -> Tensor:
    """Largest magnitude of real values, at least one: 0-d float64 on their device, NaN if any of them is."""
    low, high = torch.aminmax(values)
    return torch.maximum(low.abs(), high.abs()).double()


def tripwire(tensor: Tensor) -> Tensor:
    """The sum of a tensor, 0-d on its device: not finite if any value is not, rarely also if all are.

    One pass over the memory, several times faster than `isfinite`; the caller must confirm a non-finite sum.
    """
    plain = tensor.layout is torch.strided and tensor.is_floating_point() and tensor.element_size() > 1
    values = tensor.detach() if plain else real_values(tensor)
    # The sum of half precision numbers overflows from 65,504 on.
    return values.sum(dtype=torch.float32) if values.dtype is torch.float16 else values.sum()


def find_non_finite(tensors: Iterable[tuple[str, Tensor]]) -> list[tuple[TensorSummary, Tensor]]:
    """Those of the (name, tensor) pairs that hold NaN or Inf: one host read if there are none."""
    named = [(name, tensor) for name, tensor in tensors if tensor.is_floating_point() or tensor.is_complex()]
    finite = read_together([tripwire(tensor).isfinite() for _, tensor in named])
    suspects = [pair for pair, fine in zip(named, finite, strict=True) if not fine]
    rows = zip(summarise_tensors(suspects), suspects, strict=True)
    return [(row, tensor) for row, (_, tensor) in rows if not row.finite]


def real_values(tensor: Tensor) -> Tensor:
    """The tensor as real numbers that every reduction understands: stored values if sparse, |x| if complex."""
    tensor = tensor.detach()
    if tensor.layout is torch.sparse_coo:
        tensor = tensor._values()
    elif tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.is_complex():
        return tensor.abs()
    if tensor.is_floating_point():
        return tensor if tensor.element_size() > 1 else tensor.float()
    return tensor.long() if tensor.dtype is not torch.uint64 else tensor.double()


def _statistics(tensor: Tensor) -> Tensor:
    """Minimum, maximum, mean, absmax, nan, inf and zeros as float64 [7] on the device of the tensor."""
    values = real_values(tensor)
    if values.numel() == 0:
        return values.new_tensor([math.nan] * 4 + [0.0] * 3, dtype=torch.float64)
    zeros = (values == 0).sum().double()
    if not values.is_floating_point():
        values = values.double()
    finite, nan = torch.isfinite(values), torch.isnan(values).sum().double()
    count = finite.sum().double()
    some = count > 0
    hole = torch.full_like(count, math.nan)
    low = torch.where(some, torch.where(finite, values, math.inf).amin().double(), hole)
    high = torch.where(some, torch.where(finite, values, -math.inf).amax().double(), hole)
    mean = torch.where(finite, values, 0).sum(dtype=torch.float64) / count  # 0 / 0 is the wanted NaN
    return torch.stack(
        [low, high, mean, torch.maximum(low.abs(), high.abs()), nan, values.numel() - count - nan, zeros]
    )


def format_stats(tensor: Tensor) -> str:
    """`min=…, max=… (integer tensor)` for integers and bools, `min=…, max=…, mean=…` with six decimals for floats.

    Adds the number of NaN and Inf values if there are any. Never raises, because it is called while the text of another
    error is built.
    """
    try:
        return _describe(tensor)
    except Exception as error:  # noqa: BLE001 - a tensor without readable values, e.g. on the meta device
        return f"no statistics ({type(error).__name__})"


def _describe(tensor: Tensor) -> str:
    integer = not (tensor.is_floating_point() or tensor.is_complex() or tensor.is_quantized)
    values = real_values(tensor)
    if values.numel() == 0:
        return "min=nan, max=nan" + (" (integer tensor)" if integer else ", mean=nan") + ", empty"
    if integer:
        return f"min={int(values.min())}, max={int(values.max())} (integer tensor)"
    (summary,) = summarise_tensors([("", values)])
    text = f"min={summary.minimum:.6f}, max={summary.maximum:.6f}, mean={summary.mean:.6f}"
    if tensor.is_complex():
        text += " of absolute values"
    if not summary.finite:
        text += f" over finite values, {summary.nan} NaN and {summary.inf} Inf of {values.numel()}"
    return text


def gather_tensor(tensor: Tensor) -> Tensor:
    """Gather a tensor that is sharded over processes, on each of them; any other tensor is returned as it is."""
    return tensor.full_tensor() if is_divided(tensor) else tensor


def is_divided(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether a tensor is sharded over several processes."""
    if type(tensor) in (Tensor, nn.Parameter):
        return False
    from torch.distributed.tensor import DTensor  # half a second, for runs that divide tensors only

    return isinstance(tensor, DTensor)


@dataclass(frozen=True)
class Pattern:
    """Where the bad values of one tensor sit: `count` of `total`."""

    kind: PatternKind
    text: str
    count: int
    total: int


def classify_pattern(bad: Tensor) -> Pattern:
    """The pattern of a bool tensor of any shape, True = bad.

    `all`: every value; `sample`: everything below some indices of the first of three or more axes; `row`: everything
    along the last axis for some positions; `feature`: some indices of the last axis at every position; `slice`: the
    same on another axis, e.g. a channel of [B, C, T]; `element`: anything else.
    """
    bad = bad.detach().cpu()
    total, count = bad.numel(), int(bad.sum())
    if count == 0:
        return Pattern("none", "no value", 0, total)
    if count == total:
        return Pattern("all", f"all {total:,} values" if total > 1 else "the only value", count, total)
    of, width = f"({count:,} of {total:,} values)", bad.shape[-1]
    if bad.dim() >= 3 and (found := _full_slices(bad, 0, count)):
        text = f"{_name_indices('whole sample', found)} of {total // bad.shape[0]:,}"
        return Pattern("sample", f"{text} {of}", count, total)
    if bad.dim() >= 2 and (found := _full_slices(bad.reshape(-1, width), 0, count)):
        return Pattern("row", f"{_rows_text(len(found), width)}: {_name_indices('row', found)} {of}", count, total)
    if bad.dim() >= 2 and (found := _full_slices(bad, -1, count)):
        return Pattern("feature", f"{_name_indices('feature', found)} of {width:,} in every row {of}", count, total)
    for axis in range(1, bad.dim() - 1):
        if found := _full_slices(bad, axis, count):
            return Pattern("slice", f"{_name_indices('index', found)} of axis {axis} everywhere {of}", count, total)
    first = bad.nonzero()[0].tolist()
    what = f"1 element at {first}" if count == 1 else f"{count:,} elements, the first at {first}"
    return Pattern("element", f"{what} of {list(bad.shape)}", count, total)


def _full_slices(bad: Tensor, axis: int, count: int) -> tuple[int, ...]:
    """Indices of `axis` at which everything is bad, if these are all `count` bad values; else empty."""
    full = bad.movedim(axis, 0).reshape(bad.shape[axis], -1).all(dim=1)
    indices = tuple(full.nonzero().flatten().tolist())
    return indices if len(indices) * (bad.numel() // bad.shape[axis]) == count else ()


def _name_indices(noun: str, indices: tuple[int, ...]) -> str:
    """Text for some indices: `row 3`, `rows 3, 5, 7` or `rows 0, 1, …`; with their count if some are omitted."""
    plural = {"index": "indices"}.get(noun, noun + "s")
    if len(indices) == 1:
        return f"{noun} {indices[0]}"
    text = ", ".join(str(index) for index in indices[:INDICES_SHOWN])
    return f"{plural} {text}" if len(indices) <= INDICES_SHOWN else f"{len(indices):,} {plural} {text}, …"


def _rows_text(rows: int, width: int) -> str:
    return f"{rows:,} whole row{'s' if rows != 1 else ''} of {width:,}"


def explain_count(count: int, others: Iterable[int] = ()) -> str:
    """Say what a number of NaN, e.g. from a log, stands for: `34 whole rows of 3,840`, or `130,560 single values`.

    The row width is the widest of `KNOWN_WIDTHS` that divides all counts of the same run; else their greatest common
    divisor, if they differ and it is at least 64.
    """
    counts = [count, *others]
    divisor = math.gcd(*counts)
    width = max((known for known in KNOWN_WIDTHS if divisor % known == 0), default=0)
    if not width and len(set(counts)) > 1 and divisor >= 64:
        width = divisor
    return _rows_text(count // width, width) if count and width else f"{count:,} single values"
