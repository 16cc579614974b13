"""Finds the cause of a non-finite step by replays, and describes it for a file and for the terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aam.corpus.batches import drop_samples
from aam.corpus.dataset import Batch
from aam.health import locate
from aam.health.bundle import random_state, restore_random_state
from aam.health.report import Report
from aam.health.verdict import Replays, Verdict, judge
from aam.models.devices import is_single
from aam.text import name_few, shorten
from aam.training.bundles import BUNDLE, AsvNames, Attempt
from aam.training.places import Meaning
from aam.training.step import Learner, add_gradients, parts_of_step

FAULT_REPORT = "report.txt"
SHOWN_BASES = 40
"""Bases of a sequence on the terminal; the report has all of them."""


@dataclass(frozen=True)
class Diagnosis:
    """Why a step was not finite; `place` is the micro-batch at fault, from 0.

    `samples` are those at fault, by id; `asvs` the ASVs named, by column.
    """

    attempt: Attempt
    place: int
    report: Report
    verdict: Verdict
    samples: tuple[str, ...] = ()
    asvs: tuple[int, ...] = ()

    @property
    def batch(self) -> Batch:
        return self.attempt.microbatches[self.place]


def diagnose(learner: Learner, attempt: Attempt, names: AsvNames) -> Diagnosis:
    """Find the micro-batch, the operation and the cause; random states are restored."""
    outside = random_state()
    try:
        restore_random_state(attempt.random)
        for place in range(len(attempt.microbatches)):
            start = random_state()
            report, meanings = locate_fault(learner, attempt, place, names)
            if not report.ok:
                return find_cause(learner, attempt, names, Located(place, start, report, meanings))
        found = Verdict("transient", ("the same step, made again, is finite",))
        return Diagnosis(attempt, 0, report, found)
    finally:
        restore_random_state(outside)


def locate_fault(
    learner: Learner, attempt: Attempt, place: int, names: AsvNames, without: Sequence[str] = ()
) -> tuple[Report, dict[str, Meaning]]:
    """Compute one micro-batch, without some samples, under the locator; also returns the meaning of its names."""
    batch = drop_samples(attempt.microbatches[place], without)
    parts = parts_of_step(attempt.microbatches[place], attempt.microbatches)

    def call() -> Tensor:
        return add_gradients(learner, batch, parts)[1]

    if names.ids:
        rows = learner.objective.row_names([batch], names.ids, learner.model)
        return locate(learner.model, call, label=rows), rows.meanings
    plain = {sample: Meaning((sample,)) for sample in batch.sample_ids}
    return locate(learner.model, call, sample_ids=batch.sample_ids), plain


class Located(NamedTuple):
    """A fault in micro-batch `place`, which began with the random states `start`; the rest is from `locate_fault`."""

    place: int
    start: dict[str, Any]
    report: Report
    meanings: dict[str, Meaning]


def find_cause(learner: Learner, attempt: Attempt, names: AsvNames, found: Located) -> Diagnosis:
    """Find the cause of a located fault by further replays of its micro-batch."""
    place, start, report, meanings = found

    def again(learner: Learner = learner, without: Sequence[str] = ()) -> Report:
        restore_random_state(start)
        return locate_fault(learner, attempt, place, names, without)[0]

    named = {name: meanings[name] for name in report.samples if name in meanings}
    suspects = tuple(dict.fromkeys(sample for meaning in named.values() for sample in meaning.samples))
    batch = attempt.microbatches[place]
    single = None if is_single(learner.optim.precision) else (lambda: again(copy_in_fp32(learner)))
    replays = Replays(again, single, lambda samples: again(without=samples), batch.sample_ids, suspects)
    verdict = judge(report, replays)
    guilty = tuple(sample for sample in batch.sample_ids if sample in {*verdict.samples, *suspects})
    if verdict.cause not in ("input", "data") and not verdict.samples:
        guilty = ()
    asvs = {meaning.asv: None for meaning in named.values() if meaning.asv is not None}
    if verdict.cause == "input":
        bad, columns = bad_counts(batch)
        guilty, asvs = bad or guilty, dict.fromkeys(columns) or asvs
    return Diagnosis(attempt, place, report, verdict, guilty, tuple(asvs))


def bad_counts(batch: Batch) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Samples (ids) and ASVs (columns) of counts that are NaN or Inf in the batch."""
    places = (batch.valid & ~torch.isfinite(batch.counts)).nonzero().tolist()
    columns = [int(batch.asvs[batch.index[row, slot]]) for row, slot in places]
    return tuple(dict.fromkeys(batch.sample_ids[row] for row, _ in places)), tuple(dict.fromkeys(columns))


def copy_in_fp32(learner: Learner) -> Learner:
    """The same learner in single precision."""
    return dataclasses.replace(
        learner,
        optim=dataclasses.replace(learner.optim, precision="fp32"),
        scaler=torch.amp.GradScaler(learner.device.type, enabled=False),
    )


def full_text(fault: Diagnosis, names: AsvNames, facts: Mapping[str, Any]) -> str:
    """Text of the full report; `facts` are further lines of its head."""
    report = dataclasses.replace(fault.report, context={**describe_place(fault), **facts})
    rows = [str(fault.verdict), "", str(report)]
    if fault.samples:
        rows += ["", "samples at fault", *(f"  {sample}" for sample in fault.samples)]
    if fault.asvs:
        rows += ["", "ASVs named", *(f"  {names.ids[asv]}\n    {names.sequences[asv]}" for asv in fault.asvs)]
    rows += ["", "samples of the batch", *(f"  {sample}" for sample in fault.batch.sample_ids)]
    return "\n".join(rows) + "\n"


def describe_place(fault: Diagnosis) -> dict[str, str]:
    """Step, micro-batch, module, operation and tensor of a fault, for the head of its report."""
    count, first = len(fault.attempt.microbatches), fault.report.producer
    place = {"step": f"{fault.attempt.number + 1}", "micro-batch": f"{fault.place + 1} of {count}"}
    if first is not None:
        place |= {"module": first.module, "operation": f"{first.op} ({first.phase})", "line": f"{first.line}"}
    if first is not None and first.output is not None:
        dtype = str(first.output.dtype).removeprefix("torch.")
        place |= {"tensor": f"{dtype} {list(first.output.shape)}", "pattern": first.pattern}
    return place


def headline(fault: Diagnosis) -> str:
    """One line: step, fault, place and cause."""
    found = fault.report.headline() if not fault.report.ok else "not finite the first time, finite when made again"
    return f"step {fault.attempt.number + 1}: {found}; cause: {fault.verdict.cause}"


def brief_text(fault: Diagnosis, names: AsvNames, folder: Path) -> str:
    """Text for the terminal."""
    rows = [headline(fault)]
    if fault.samples:
        rows.append(f"  sample   {name_few(fault.samples, 3)}")
    for asv in fault.asvs[:1]:
        sequence = names.sequences[asv]
        more = f" and {len(fault.asvs) - 1} more" if len(fault.asvs) > 1 else ""
        named = "" if names.ids[asv] == sequence else f"{names.ids[asv]}  "
        rows.append(f"  ASV      {named}{shorten(sequence, SHOWN_BASES)}{more}")
    rows.append(f"  {str(fault.verdict).splitlines()[0]}")
    rows += [f"  report   {folder / FAULT_REPORT}", f"  again    aam replay {folder / BUNDLE}"]
    return "\n".join(rows)
