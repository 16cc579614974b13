#!/usr/bin/env python3
"""Where NaN in nucleotide predictions begins: module, operation, sample and ASV.

python debug/investigate_nucleotide_nan.py
python debug/investigate_nucleotide_nan.py --table table.biom --tree tree.nwk --token-limit 512 --batch-size 6
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import torch

from aam.cli.debugging import batches_option, print_inspections, run_script, script_workbench, workbench_options
from aam.corpus.dataset import Batch
from aam.health import format_stats, locate
from aam.health.tracing import Place
from aam.workflows.inspect_stages import inspect_operations, inspect_pass, report_notes
from aam.workflows.workbench import Inspection, Workbench, flat_indices, name_first


@click.command()
@workbench_options("token_limit", "precision")
@batches_option
def main(model: Path | None, batches: int, **given: Any) -> int:
    """Follow batches to the nucleotide predictions and back: training, evaluation, and every slot on its own.

    The model runs as in training, every operation watched; nothing of it is rebuilt here.
    """
    bench = script_workbench(model, **given)
    return max([investigate(bench, bench.batches[number], number) for number in range(batches)])


def investigate(bench: Workbench, batch: Batch, number: int = 0) -> int:
    """Print the ways of one batch; 1 where a value is not finite on any of them."""
    code = 0
    for mode, training in (("training, forward and backward", True), ("evaluation, no gradients", False)):
        checks, report = inspect_pass(bench, batch, training)
        code |= print_inspections(f"batch {number}: {mode}", checks, report_notes(report))
    if bench.config.model.asv_encoder == "transformer":
        code |= inspect_every_slot(bench, batch, number)
    return code


def inspect_every_slot(bench: Workbench, batch: Batch, number: int) -> int:
    """The padded view [B, S, L, 6] of all nucleotides: finite where an ASV is, zeros where none is."""
    encoder, names, present = bench.learner.model.asv_encoder.eval(), bench.names([batch]), flat_indices(batch.valid)
    tokens = (batch.tokens[batch.index] * batch.valid[..., None]).to(bench.learner.device)

    def packed(place: Place) -> str | None:
        return names.slot(batch, present[place.row]) if place.shape[:1] == (len(present),) else None

    with torch.no_grad():
        report = locate(encoder, lambda: encoder(tokens, return_nucleotides=True), label=packed)
    checks = [inspect_operations(report)]
    if report.result is not None:
        nucleotides = report.result[1].cpu()
        slots = nucleotides.flatten(2)
        bad = [f"{names.slot(batch, slot)} is not finite" for slot in flat_indices(~slots.isfinite().all(dim=-1))]
        filled = (slots != 0).any(dim=-1) & ~batch.valid
        bad += [f"{names.slot(batch, slot)} is not zero" for slot in flat_indices(filled)]
        what = f"[B, S, L, 6] = {list(nucleotides.shape)}"
        checks.insert(0, Inspection("nucleotides", what, format_stats(nucleotides), name_first(bad)))
    return print_inspections(
        f"batch {number}: nucleotides of every slot, padding included", checks, report_notes(report)
    )


if __name__ == "__main__":
    run_script(main)
