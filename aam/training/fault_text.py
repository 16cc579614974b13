"""What a fault reads like: all of it for a file, and the few lines that matter for a terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aam.training.bundles import BUNDLE, AsvNames
from aam.training.diagnosis import Fault
from aam.wording import cut, few

REPORT = "report.txt"
SHOWN_BASES = 40
"""Bases of a sequence on the terminal; the report has all of them."""


def full_text(fault: Fault, names: AsvNames, facts: Mapping[str, Any]) -> str:
    """The whole report; `facts` are further lines of its head."""
    report = dataclasses.replace(fault.report, context={**place_of(fault), **facts})
    rows = [str(fault.verdict), "", str(report)]
    if fault.samples:
        rows += ["", "samples at fault", *(f"  {sample}" for sample in fault.samples)]
    if fault.asvs:
        rows += ["", "ASVs named", *(f"  {names.ids[asv]}\n    {names.sequences[asv]}" for asv in fault.asvs)]
    rows += ["", "samples of the batch", *(f"  {sample}" for sample in fault.batch.sample_ids)]
    return "\n".join(rows) + "\n"


def place_of(fault: Fault) -> dict[str, str]:
    """When and where it happened."""
    count, first = len(fault.attempt.microbatches), fault.report.producer
    place = {"step": f"{fault.attempt.number + 1}", "micro-batch": f"{fault.place + 1} of {count}"}
    if first is not None:
        place |= {"module": first.module, "operation": f"{first.op} ({first.phase})", "line": f"{first.line}"}
    if first is not None and first.output is not None:
        dtype = str(first.output.dtype).removeprefix("torch.")
        place |= {"tensor": f"{dtype} {list(first.output.shape)}", "pattern": first.pattern}
    return place


def headline(fault: Fault) -> str:
    """One line: step, what, where and why."""
    found = fault.report.headline() if not fault.report.ok else "not finite the first time, finite when made again"
    return f"step {fault.attempt.number + 1}: {found}; cause: {fault.verdict.cause}"


def brief_text(fault: Fault, names: AsvNames, folder: Path) -> str:
    """The lines for a terminal."""
    rows = [headline(fault)]
    if fault.samples:
        rows.append(f"  sample   {few(fault.samples, 3)}")
    for asv in fault.asvs[:1]:
        sequence = names.sequences[asv]
        more = f" and {len(fault.asvs) - 1} more" if len(fault.asvs) > 1 else ""
        named = "" if names.ids[asv] == sequence else f"{names.ids[asv]}  "
        rows.append(f"  ASV      {named}{cut(sequence, SHOWN_BASES)}{more}")
    rows.append(f"  {str(fault.verdict).splitlines()[0]}")
    rows += [f"  report   {folder / REPORT}", f"  again    aam replay {folder / BUNDLE}"]
    return "\n".join(rows)
