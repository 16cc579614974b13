"""Find the cause of a fault by replays of the faulty step, each with one change.

    verdict = judge(report, Replays(again=..., in_fp32=..., without=..., samples=batch.sample_ids))

The order is that of the questions a person would ask: was a parameter already bad? was the input bad? which operation
made it? does the replay differ (transient)? does single precision survive (precision)? does the step survive without
one sample (data)? If nothing helps, the operation itself is at fault for such values (algorithm).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from aam.health.report import Origin, Report

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
class Replays:
    """Ways to run the faulty step again, each under the locator. Without a replay its question stays open."""

    again: Callable[[], Report]
    in_fp32: Callable[[], Report] | None = None
    without: Callable[[Sequence[str]], Report] | None = None  # the same step less these samples
    samples: Sequence[str] = ()  # all samples of the step
    suspects: Sequence[str] = ()  # those that the report names, where its labels are not sample ids


@dataclass(frozen=True)
class Verdict:
    """The cause, one line of evidence for each question, and the samples at fault, if any."""

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
        samples = report.samples or _samples_at_fault(report, replays, evidence)
        return Verdict("input", tuple(evidence), samples)
    evidence.append("input: finite")
    again = replays.again()
    if report.ok or not _same_fault(report, again):
        evidence.append(f"replay: differs ({again.headline()})")
        return Verdict("none" if report.ok and again.ok else "transient", tuple(evidence))
    evidence += [f"operation: {report.headline()}", "replay: the same"]
    survives_fp32 = False
    if replays.in_fp32 is None:
        evidence.append("fp32: not asked")
    else:
        single = replays.in_fp32()
        survives_fp32 = single.ok
        evidence.append("fp32: survives" if single.ok else f"fp32: fails too ({single.headline()})")
    samples = _samples_at_fault(report, replays, evidence)
    cause: Cause = "precision" if survives_fp32 else "data" if samples else "algorithm"
    return Verdict(cause, tuple(evidence), samples)


def _same_fault(a: Report, b: Report) -> bool:
    """True if two reports blame the same operation of the same module in the same phase."""
    if a.producer is None or b.producer is None:
        return a.producer is b.producer and a.ok == b.ok
    return (a.producer.module, a.producer.op, a.producer.phase) == (b.producer.module, b.producer.op, b.producer.phase)


def _samples_at_fault(report: Report, replays: Replays, evidence: list[str]) -> tuple[str, ...]:
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
    """Find, by halving the batch, one sample with which the step fails; assumes that there is only one."""
    suspects = everyone
    while len(suspects) > 1:
        left = suspects[: len(suspects) // 2]
        suspects = left if without(left).ok else suspects[len(left) :]
    return suspects
