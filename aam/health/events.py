"""Non-finite values met while tracing, as a graph from where they were made to where they went."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

import torch
from torch import Tensor

from aam.health.operations import TAKES_MASKS, Spot
from aam.health.stats import real_values

SHOWN = 8
"""Indices of one kind that are named."""
Kind = Literal["none", "element", "feature", "slice", "row", "sample", "all"]
# Row widths of widely used transformers; a bare count of NaN is explained by the widest that divides it.
KNOWN_WIDTHS = (
    384, 512, 640, 768, 1024, 1152, 1280, 1536, 1600, 1792, 2048, 2304, 2560, 2816, 3072, 3584, 3840, 4096, 4608, 5120,
    5376, 6144, 6656, 7168, 8192, 12288, 16384,
)  # fmt: skip


@dataclass(frozen=True)
class Pattern:
    """Where the bad values of one tensor sit; `indices` are those of the samples, rows, features or slices."""

    kind: Kind
    text: str
    count: int
    total: int
    indices: tuple[int, ...] = ()


def classify(bad: Tensor) -> Pattern:
    """The pattern of a bool tensor of any shape, True = bad.

    `all`: every value; `sample`: everything below some indices of the first of three or more axes; `row`: everything
    along the last axis for some positions; `feature`: some indices of the last axis at every position; `slice`: the
    same on another axis, e.g. a channel of [B, C, T]; `element`: anything else.
    """
    bad = bad.detach().cpu()
    total, count = bad.numel(), int(bad.sum())
    if count == 0:
        return Pattern("none", "no value", 0, total)
    of = f"({count:,} of {total:,} values)"
    if count == total:
        return Pattern("all", f"all {total:,} values" if total > 1 else "the only value", count, total)
    last = bad.dim() - 1
    if bad.dim() >= 3 and (full := _full_slices(bad, 0, count)):
        width = total // bad.shape[0]
        return Pattern("sample", f"{_few('whole sample', full)} of {width:,} {of}", count, total, full)
    if bad.dim() >= 2:
        rows = bad.reshape(-1, bad.shape[-1])
        if full := _full_slices(rows, 0, count):
            return Pattern(
                "row", f"{_rows_text(len(full), bad.shape[-1])}: {_few('row', full)} {of}", count, total, full
            )
        if full := _full_slices(bad, last, count):
            return Pattern(
                "feature", f"{_few('feature', full)} of {bad.shape[-1]:,} in every row {of}", count, total, full
            )
    for axis in range(1, last):
        if full := _full_slices(bad, axis, count):
            text = f"{_few('index', full)} of axis {axis} everywhere {of}"
            return Pattern("slice", text, count, total, full)
    first = bad.nonzero()[0].tolist()
    what = f"1 element at {first}" if count == 1 else f"{count:,} elements, the first at {first}"
    return Pattern("element", f"{what} of {list(bad.shape)}", count, total)


def _full_slices(bad: Tensor, axis: int, count: int) -> tuple[int, ...]:
    """Indices of `axis` at which everything is bad, where they explain all `count` bad values; else nothing."""
    full = bad.movedim(axis, 0).reshape(bad.shape[axis], -1).all(dim=1)
    indices = tuple(full.nonzero().flatten().tolist())
    return indices if len(indices) * (bad.numel() // bad.shape[axis]) == count else ()


def _few(noun: str, indices: tuple[int, ...]) -> str:
    """`row 3`, `rows 3, 5, 7` or `rows 0, 1, …`; the count comes first where it would not be visible."""
    plural = {"index": "indices"}.get(noun, noun + "s")
    if len(indices) == 1:
        return f"{noun} {indices[0]}"
    text = ", ".join(str(index) for index in indices[:SHOWN])
    return f"{plural} {text}" if len(indices) <= SHOWN else f"{len(indices):,} {plural} {text}, …"


def _rows_text(rows: int, width: int) -> str:
    return f"{rows:,} whole row{'s' if rows != 1 else ''} of {width:,}"


def explain_count(count: int, others: Iterable[int] = ()) -> str:
    """Read a bare number of NaN, e.g. from a log: `34 whole rows of 3,840`, or `130,560 single values`.

    The row width is the widest of `KNOWN_WIDTHS` that divides all counts of the same run; else their greatest common
    divisor, where they differ and it is at least 64.
    """
    counts = [count, *others]
    divisor = math.gcd(*counts)
    width = max((known for known in KNOWN_WIDTHS if divisor % known == 0), default=0)
    if not width and len(set(counts)) > 1 and divisor >= 64:
        width = divisor
    return _rows_text(count // width, width) if count and width else f"{count:,} single values"


class Origin(Enum):
    """How non-finite values came into a tensor."""

    MADE = "made"  # every input was finite
    TURNED = "made from an infinity"  # an input held Inf, the output holds NaN
    PASSED = "passed on"
    SPELT = "spelt out"  # the author wrote the value, e.g. masked_fill(..., -inf)
    PARAMETER = "parameter"
    INPUT = "input"
    UNINITIALISED = "uninitialised memory"


@dataclass(frozen=True)
class Counts:
    """Non-finite values of a tensor."""

    nan: int = 0
    positive: int = 0
    negative: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.nan + other.nan, self.positive + other.positive, self.negative + other.negative)

    @property
    def inf(self) -> int:
        return self.positive + self.negative

    @property
    def bad(self) -> bool:
        return bool(self.nan or self.inf)


def count_bad(tensors: list[Tensor]) -> list[Counts]:
    """Exact counts for several floating-point or complex tensors, one host read each."""
    if not tensors:
        return []
    counts = []
    for tensor in tensors:
        values = real_values(tensor)
        bad = [torch.isnan(values).sum(), (values == torch.inf).sum(), (values == -torch.inf).sum()]
        counts.append(Counts(*torch.stack(bad).tolist()))
    return counts


@dataclass(frozen=True)
class Site:
    """Where an operation was asked for."""

    module: str
    call: int  # how many times that module had run before
    phase: str  # forward, backward or update
    op: str  # name of the operation; in backward that of the forward operation whose gradient it is
    kernel: str  # the overload that ran
    spots: tuple[Spot, ...] = ()


@dataclass(frozen=True)
class Tensors:
    """One tensor of an event, described."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    counts: Counts
    absmax: float  # over the finite values
    pattern: Pattern | None = None
    rows: tuple[int, ...] = ()  # bad, or else outlying, indices of the sample axis
    labels: tuple[str, ...] = ()  # the caller's names of those rows


@dataclass
class Event:
    """Non-finite values in the output of one operation, or found in a tensor from outside."""

    index: int
    origin: Origin
    site: Site
    counts: Counts
    parents: tuple[int, ...]
    auxiliary: bool = False  # only a secondary output is bad, e.g. saved statistics
    name: str = ""  # of a parameter or buffer
    output: Tensors | None = None
    inputs: tuple[Tensors, ...] = field(default_factory=tuple)


def ancestors(events: list[Event], start: Iterable[int]) -> set[int]:
    """Indices of the given events and of all events they come from."""
    seen: set[int] = set()
    todo = list(start)
    while todo:
        index = todo.pop()
        if index not in seen:
            seen.add(index)
            todo += events[index].parents
    return seen


def blame(events: list[Event], index: int) -> set[int]:
    """The events that made what event `index` holds.

    NaN is followed to where NaN was first made. Where an operation turned Inf into NaN, an Inf that arithmetic made (an
    overflow) is to blame, or one in a parameter or in the data; but an Inf that the author spelt out, or a -inf handed
    to a softmax, is an ordinary mask, and then the operation that made NaN of it is to blame (a row without any key).
    """
    blamed: set[int] = set()
    seen: set[int] = set()
    todo = [index]
    while todo:
        index = todo.pop()
        if index in seen:
            continue
        seen.add(index)
        event = events[index]
        if event.origin is Origin.PASSED:
            nan_parents = [parent for parent in event.parents if events[parent].counts.nan]
            todo += nan_parents if event.counts.nan and nan_parents else event.parents
        elif event.origin is Origin.TURNED:
            blamed |= _culprits(events, event) or {index}
        else:
            blamed.add(index)
    return blamed


def _culprits(events: list[Event], event: Event) -> set[int]:
    """What is to blame for the Inf that `event` turned into NaN; empty where it was legal."""
    roots = set().union(*(blame(events, parent) for parent in event.parents)) if event.parents else set()
    masks = event.site.op in TAKES_MASKS
    return {
        root
        for root in roots
        if events[root].origin is not Origin.SPELT
        and not (events[root].origin is Origin.INPUT and masks and not events[root].counts.positive)
    }
