"""Non-finite values met while tracing, as a graph from where they were made to where they went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

import torch
from torch import Tensor

from aam.health.operations import TAKES_MASKS
from aam.health.patterns import Pattern
from aam.health.source import Spot
from aam.health.stats import real_values


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
