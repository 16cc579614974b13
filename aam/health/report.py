"""The report of the locator: events that produced non-finite values, their place, and their effect."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import torch

from aam.health.operations import ModuleCall, OutputSize, SourceLine
from aam.health.stats import Pattern
from aam.text import name_few

NAMES_SHOWN, OUTPUTS_SHOWN = 8, 12
"""Names of one kind, and module outputs, that a report lists."""
REACHED_RESULT = "the result"
REACHED_GRADIENT = "a gradient"
SPOILT = "a parameter"
CONTAINED = "neither the result nor a gradient"
OUTCOME_ORDER = (CONTAINED, SPOILT, REACHED_GRADIENT, REACHED_RESULT)  # the last one that holds is reported


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

    def __str__(self) -> str:
        kinds = ((self.nan, "NaN"), (self.positive, "+Inf"), (self.negative, "-Inf"))
        return ", ".join(f"{count:,} {kind}" for count, kind in kinds if count)


@dataclass(frozen=True)
class Site(ModuleCall):
    """Where an operation was called: module, call, phase (forward, backward or update), operation and source."""

    op: str  # name of the operation; in backward that of the forward operation whose gradient it is
    kernel: str  # the overload that ran
    lines: tuple[SourceLine, ...] = ()  # of source outside torch, the innermost first

    @property
    def line(self) -> SourceLine | None:
        return self.lines[0] if self.lines else None


@dataclass(frozen=True)
class TensorRecord:
    """Description of one tensor of an event."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    counts: Counts
    absmax: float  # over the finite values
    pattern: Pattern | None = None  # None where all values are finite
    rows: tuple[int, ...] = ()  # bad, or else outlying, indices of the sample axis
    labels: tuple[str, ...] = ()  # the caller's names of those rows

    @property
    def singles_out_rows(self) -> bool:
        """True if the bad rows have names and are not all rows of the tensor."""
        everything = self.pattern is not None and any(len(self.rows) == size for size in self.shape)
        return bool(self.labels) and (len(self.rows) == 1 or not everything)

    def __str__(self) -> str:
        text = f"{str(self.dtype).removeprefix('torch.')} {list(self.shape)}: "
        if self.pattern is None:
            return text + f"finite, max |x| {self.absmax:.4g}"
        return text + f"{self.counts}; {self.pattern.text}; others to {self.absmax:.4g}"


@dataclass(frozen=True, kw_only=True)
class Event(Site):
    """Non-finite values in the output of one operation, or found in a tensor from outside.

    For a parameter or an input, module and operation are where it was first used.
    """

    index: int
    origin: Origin
    counts: Counts
    parents: tuple[int, ...] = ()  # indices of the events whose values this operation took in
    auxiliary: bool = False  # only a secondary output is bad, e.g. saved statistics
    name: str = ""  # of a parameter or buffer
    output: TensorRecord | None = None  # None for values passed on, and late in a trace
    inputs: tuple[TensorRecord, ...] = ()
    reach: str = ""  # what the values spoilt, one of `OUTCOME_ORDER`; known at the end of the trace

    @property
    def made_nan(self) -> bool:
        """True if the operation produced NaN in its first output."""
        return bool(self.counts.nan) and self.origin in (Origin.MADE, Origin.TURNED) and not self.auxiliary

    @property
    def nan(self) -> int:
        return self.counts.nan

    @property
    def inf(self) -> int:
        return self.counts.inf

    @property
    def samples(self) -> tuple[str, ...]:
        """Names of the samples of the bad rows; if all rows are bad, of the outlying rows of an operand."""
        tensors = (tensor for tensor in (self.output, *self.inputs) if tensor is not None)
        return next((tensor.labels for tensor in tensors if tensor.singles_out_rows), ())

    @property
    def pattern(self) -> str:
        """`row`, `element`, … (see `aam.health.stats.classify_pattern`), or `unknown`."""
        return self.output.pattern.kind if self.output and self.output.pattern else "unknown"

    def headline(self) -> str:
        """One line: the fault, its operation, module, phase and source line."""
        what = "NaN" if self.nan else "Inf"
        where = f"in {self.module} ({self.phase}{f', call {self.call}' if self.call else ''})"
        if self.origin is Origin.PARAMETER:
            return f"{what} already in parameter or buffer {self.name}, first used by {self.op} {where}"
        if self.origin is Origin.INPUT:
            return f"{what} already in a tensor handed in, first used by {self.op} {where}"
        if self.origin is Origin.UNINITIALISED:
            return f"{what} read from uninitialised memory by {self.op} {where}"
        return f"{what} {self.origin.value} by {self.op} {where}" + (f" at {self.line}" if self.line else "")

    def details(self) -> list[str]:
        """What follows the headline, line by line."""
        rows = []
        if self.phase == "backward":
            rows.append(f"  kernel   {self.kernel}, in the gradient of {self.op}")
        rows += [f"  called from {line}" for line in self.lines[1:]]
        if self.output is not None:
            rows.append(f"  values   {self.output}")
        rows += [f"  operand  {tensor}" for tensor in self.inputs]
        if self.samples:
            rows.append(f"  samples  {', '.join(self.samples)}")
        rows.append(f"  reached  {self.reach}")
        return rows


@dataclass(frozen=True)
class Report:
    """The outcome of one traced call.

    `findings` are the events in which non-finite values began, those that reached the result or a gradient first, then
    by time; the first one is the `producer`. `passed_on` are the (module, phase) pairs that only passed bad values
    on, in order of time.
    """

    findings: tuple[Event, ...]
    passed_on: tuple[tuple[str, str], ...]
    bad_parameters: tuple[str, ...]
    bad_gradients: tuple[str, ...]
    spoilt_parameters: tuple[str, ...]  # finite before the call, not after it
    bad_result: bool
    history: tuple[OutputSize, ...]
    operations: int
    error: str = ""  # what the call raised, if it did
    context: Mapping[str, Any] = field(default_factory=dict)
    result: Any = None  # what the call returned

    @property
    def ok(self) -> bool:
        """True if no operation produced NaN, and no Inf reached the result or a gradient."""
        bad = (*self.findings, *self.bad_parameters, *self.bad_gradients, *self.spoilt_parameters)
        return not (bad or self.bad_result)

    @property
    def producer(self) -> Event | None:
        """The finding to look at first."""
        return self.findings[0] if self.findings else None

    @property
    def samples(self) -> tuple[str, ...]:
        """The samples at fault, if the producer has their names."""
        return self.producer.samples if self.producer else ()

    def headline(self) -> str:
        """One line for a log."""
        if self.producer is not None:
            return self.producer.headline()
        if self.bad_parameters:
            return f"non-finite values in {', '.join(self.bad_parameters)}, which no traced operation used"
        if not self.ok:
            return "non-finite result or gradient that no traced operation made (a compiled or custom kernel?)"
        return f"all finite in {self.operations:,} operations"

    def __str__(self) -> str:
        rows = ["fault: " + self.headline() if not self.ok else self.headline()]
        rows += [f"  {key}: {value}" for key, value in self.context.items()]
        if self.error:
            rows.append(f"  the call raised {self.error}")
        for title, names in (
            ("bad before the call", self.bad_parameters),
            ("bad gradients", self.bad_gradients),
            ("spoilt by the call", self.spoilt_parameters),
        ):
            if names:
                rows.append(f"  {title}: {name_few(names, NAMES_SHOWN)}")
        for number, finding in enumerate(self.findings):
            rows += [f"also: {finding.headline()}"] if number else []
            rows += finding.details()
        if self.passed_on and not self.ok:
            rows.append(
                "passed on by " + name_few([f"{module} ({phase})" for module, phase in self.passed_on], NAMES_SHOWN)
            )
        if not self.ok and self.history:
            sizes = ", ".join(f"{size.module} {size.absmax:.3g}" for size in self.recent())
            rows.append(f"largest |x| of module outputs: {sizes}")
        return "\n".join(rows)

    def recent(self) -> list[OutputSize]:
        """The last `OUTPUTS_SHOWN` of the history up to the first output that was not finite."""
        bad = (number for number, size in enumerate(self.history, 1) if not math.isfinite(size.absmax))
        return list(self.history[: next(bad, len(self.history))][-OUTPUTS_SHOWN:])
