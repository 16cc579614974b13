"""Why did it happen? Replays of the faulty step, each with one thing changed, decide between the possible causes.

    verdict = judge(report, Replays(again=..., in_fp32=..., without=..., samples=batch.sample_ids))

The order is that of the questions a person would ask: was a parameter already bad? was the input bad? which operation
made it? does the replay differ (transient)? does single precision survive (precision)? does the step survive without
one sample (data)? If nothing helps, the operation itself is at fault for such values (algorithm).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from aam.health.events import Event, Origin, Tensors
from aam.health.modules import Size
from aam.health.operations import Line, read_lines
from aam.text import few

SHOWN, RECENT = 8, 12
"""Names of one kind, and outputs of modules, that a report lists."""
REACHED_RESULT = "the result"
REACHED_GRADIENT = "a gradient"
SPOILT = "a parameter"
CONTAINED = "neither the result nor a gradient"
RANK = (CONTAINED, SPOILT, REACHED_GRADIENT, REACHED_RESULT)  # the last one that holds is reported
Cause = Literal["none", "parameter", "input", "transient", "precision", "data", "algorithm"]
ADVICE: dict[Cause, str] = {
    "none": "nothing to do",
    "parameter": "the weights were spoilt earlier: take the last good checkpoint, look at the step that wrote them",
    "input": "the batch came in bad: fix or quarantine the named data, and check values where they are read",
    "transient": "the same step is sound when repeated: suspect hardware, a race, or random state not restored",
    "precision": "run this part in fp32 or bf16, or scale it down; `aam precision` says which part",
    "data": "quarantine the named samples, or make the operation safe for values like theirs",
    "algorithm": "the operation is undefined for these values in any precision and batch: change the code at that line",
}


@dataclass(frozen=True)
class Finding:
    """One origin of non-finite values. For a parameter or an input, module and op are where it was first used."""

    origin: Origin
    module: str
    call: int
    phase: str
    op: str
    kernel: str
    nan: int
    inf: int
    reach: str
    name: str = ""
    lines: tuple[Line, ...] = ()
    output: Tensors | None = None
    inputs: tuple[Tensors, ...] = ()

    @staticmethod
    def of(event: Event, reach: str) -> Finding:
        site, counts = event.site, event.counts
        return Finding(
            event.origin, site.module, site.call, site.phase, site.op, site.kernel, counts.nan, counts.inf, reach,
            event.name, read_lines(site.spots), event.output, event.inputs,
        )  # fmt: skip

    @property
    def samples(self) -> tuple[str, ...]:
        """Names of the samples of the bad rows; where all rows are bad, of the rows that stand out in an operand."""
        for tensor in (self.output, *self.inputs):
            if tensor is not None and tensor.labels and (len(tensor.rows) == 1 or not _all_rows(tensor)):
                return tensor.labels
        return ()

    @property
    def line(self) -> Line | None:
        """The innermost source line outside torch."""
        return self.lines[0] if self.lines else None

    @property
    def pattern(self) -> str:
        """`row`, `element`, … (see `patterns.classify`), or `unknown`."""
        return self.output.pattern.kind if self.output and self.output.pattern else "unknown"

    def headline(self) -> str:
        """One line: what, by which operation, in which module and phase, where in the source."""
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
            rows.append(f"  values   {_tensor(self.output)}")
        rows += [f"  operand  {_tensor(tensor)}" for tensor in self.inputs]
        if self.samples:
            rows.append(f"  samples  {', '.join(self.samples)}")
        rows.append(f"  reached  {self.reach}")
        return rows


@dataclass(frozen=True)
class Report:
    """The outcome of one traced call.

    `findings` are the origins, those that reached the result or a gradient first, then by time; the first one is the
    `producer`. `passed_on` are the (module, phase) pairs that only handed bad values on, in order of time.
    """

    findings: tuple[Finding, ...]
    passed_on: tuple[tuple[str, str], ...]
    bad_parameters: tuple[str, ...]
    bad_gradients: tuple[str, ...]
    spoilt_parameters: tuple[str, ...]  # finite before the call, not after it
    bad_result: bool
    history: tuple[Size, ...]
    operations: int
    error: str = ""  # what the call raised, if it did
    context: Mapping[str, Any] = field(default_factory=dict)
    result: Any = None  # what the call returned

    @property
    def ok(self) -> bool:
        """True where nothing went wrong: no NaN was made, and no Inf reached the result or a gradient."""
        bad = (*self.findings, *self.bad_parameters, *self.bad_gradients, *self.spoilt_parameters)
        return not (bad or self.bad_result)

    @property
    def producer(self) -> Finding | None:
        """The finding to look at first."""
        return self.findings[0] if self.findings else None

    @property
    def samples(self) -> tuple[str, ...]:
        """The samples at fault, where the producer can name them."""
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
        if self.bad_parameters:
            rows.append(f"  bad before the call: {few(self.bad_parameters, SHOWN)}")
        if self.bad_gradients:
            rows.append(f"  bad gradients: {few(self.bad_gradients, SHOWN)}")
        if self.spoilt_parameters:
            rows.append(f"  spoilt by the call: {few(self.spoilt_parameters, SHOWN)}")
        for finding in self.findings[:1]:
            rows += finding.details()
        for finding in self.findings[1:]:
            rows += [f"also: {finding.headline()}", *finding.details()]
        if self.passed_on and not self.ok:
            rows.append("passed on by " + few([f"{module} ({phase})" for module, phase in self.passed_on], SHOWN))
        if not self.ok and self.history:
            rows.append("largest |x| of module outputs: " + ", ".join(_size(size) for size in self.recent()))
        return "\n".join(rows)

    def recent(self) -> list[Size]:
        """The history of max |x| up to the first output that was not finite, the last `RECENT` of it."""
        first_bad = next(
            (i for i, size in enumerate(self.history) if not math.isfinite(size.absmax)), len(self.history)
        )
        return list(self.history[: first_bad + 1][-RECENT:])


def _all_rows(tensor: Tensors) -> bool:
    return tensor.pattern is not None and any(len(tensor.rows) == size for size in tensor.shape)


def _tensor(tensor: Tensors) -> str:
    dtype = str(tensor.dtype).removeprefix("torch.")
    text = f"{dtype} {list(tensor.shape)}: "
    if tensor.pattern is None:
        return text + f"finite, max |x| {tensor.absmax:.4g}"
    counts = tensor.counts
    figures = ((counts.nan, "NaN"), (counts.positive, "+Inf"), (counts.negative, "-Inf"))
    kinds = ", ".join(f"{count:,} {kind}" for count, kind in figures if count)
    return text + f"{kinds}; {tensor.pattern.text}; others to {tensor.absmax:.4g}"


def _size(size: Size) -> str:
    return f"{size.module} {size.absmax:.3g}"


@dataclass(frozen=True)
class Replays:
    """Ways to run the faulty step again, each under the locator. A missing one leaves its question open."""

    again: Callable[[], Report]
    in_fp32: Callable[[], Report] | None = None
    without: Callable[[Sequence[str]], Report] | None = None  # the same step less these samples
    samples: Sequence[str] = ()  # all samples of the step
    suspects: Sequence[str] = ()  # those that the report names, where its labels are not sample ids


@dataclass(frozen=True)
class Verdict:
    """The cause, one line of evidence for each question, and the samples at fault where there are any."""

    cause: Cause
    evidence: tuple[str, ...]
    samples: tuple[str, ...] = ()

    def __str__(self) -> str:
        named = f" ({', '.join(self.samples)})" if self.samples else ""
        return "\n".join(
            [f"verdict: {self.cause}{named}: {ADVICE[self.cause]}", *(f"  {line}" for line in self.evidence)]
        )


def judge(report: Report, replays: Replays) -> Verdict:
    """Ask the questions in order; costs at most 4 + log2(samples) replays, none for a bad parameter."""
    evidence = [f"parameters before the step: {', '.join(report.bad_parameters) or 'all finite'}"]
    if report.bad_parameters:
        return Verdict("parameter", tuple(evidence))
    producer = report.producer
    if producer is not None and producer.origin is Origin.INPUT:
        evidence.append(f"input: {producer.headline()}")
        samples = report.samples or _culprits(report, replays, evidence)
        return Verdict("input", tuple(evidence), samples)
    evidence.append("input: finite")
    again = replays.again()
    if report.ok or not same(report, again):
        evidence.append(f"replay: differs ({again.headline()})")
        return Verdict("none" if report.ok and again.ok else "transient", tuple(evidence))
    evidence.append(f"operation: {report.headline()}")
    evidence.append("replay: the same")
    precision = _survives_fp32(replays, evidence)
    samples = _culprits(report, replays, evidence)
    if precision:
        return Verdict("precision", tuple(evidence), samples)
    return Verdict("data" if samples else "algorithm", tuple(evidence), samples)


def same(a: Report, b: Report) -> bool:
    """True where two reports blame the same operation of the same module in the same phase."""
    if a.producer is None or b.producer is None:
        return a.producer is b.producer and a.ok == b.ok
    return (a.producer.module, a.producer.op, a.producer.phase) == (b.producer.module, b.producer.op, b.producer.phase)


def _survives_fp32(replays: Replays, evidence: list[str]) -> bool:
    if replays.in_fp32 is None:
        evidence.append("fp32: not asked")
        return False
    report = replays.in_fp32()
    evidence.append("fp32: survives" if report.ok else f"fp32: fails too ({report.headline()})")
    return report.ok


def _culprits(report: Report, replays: Replays, evidence: list[str]) -> tuple[str, ...]:
    """The samples without which the step survives: those the report names, else one found by halving."""
    without, everyone = replays.without, list(replays.samples)
    if without is None or len(everyone) < 2:
        evidence.append("samples: not asked")
        return ()
    named = {*report.samples, *replays.suspects}
    for find in (lambda: [name for name in everyone if name in named], lambda: _halve(everyone, without)):
        suspects = find()
        if suspects and len(suspects) < len(everyone) and without(suspects).ok:
            evidence.append(f"samples: survives without {', '.join(suspects)}")
            return tuple(suspects)
    evidence.append("samples: no single sample is to blame")
    return ()


def _halve(everyone: list[str], without: Callable[[Sequence[str]], Report]) -> list[str]:
    """One sample such that some part of the batch with it fails; assumes there is only one of its kind."""
    suspects = everyone
    while len(suspects) > 1:
        left = suspects[: len(suspects) // 2]
        suspects = left if without(left).ok else suspects[len(left) :]
    return suspects
