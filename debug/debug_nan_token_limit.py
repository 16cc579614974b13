#!/usr/bin/env python3
"""Optimiser steps over token limits and accumulation, every operation of every stage watched.

python debug/debug_nan_token_limit.py
python debug/debug_nan_token_limit.py --table table.biom --tree tree.nwk --token-limit 192 --accumulate 4 --steps 10
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import click

from aam.cli.debugging import print_inspections, run_script, script_workbench, workbench_options
from aam.corpus.dataset import Batch
from aam.health import locate
from aam.health.report import Report
from aam.training.step import StepResult, step
from aam.workflows.inspect_stages import (
    inspect_operations,
    inspect_packing,
    inspect_stages,
    inspect_tokens,
    report_notes,
)
from aam.workflows.workbench import Inspection, Workbench, name_first


@click.command()
@workbench_options("asv_selection", "precision")
@click.option(
    "--token-limit", "limits", type=click.IntRange(1), multiple=True, default=(64, 256, 512, 1024), show_default=True,
    help="Most ASVs of a sample the model sees; may be given several times.",
)  # fmt: skip
@click.option(
    "--accumulate", "accumulations", type=click.IntRange(1), multiple=True, default=(1, 4), show_default=True,
    help="Forward passes summed into one step; may be given several times.",
)  # fmt: skip
@click.option("--steps", type=click.IntRange(1), default=3, show_default=True, help="Optimiser steps of each.")
def main(model: Path | None, limits: list[int], accumulations: list[int], steps: int, **given: Any) -> int:
    """Train a few steps at each token limit and accumulation, and find the first value that is not finite."""
    bench = script_workbench(model, **given)
    checks: list[Inspection] = []
    for limit, accumulate in product(limits, accumulations):
        varied = bench.varied(limit, accumulate)
        groups = [[varied.batches[at * accumulate + place] for place in range(accumulate)] for at in range(steps)]
        checks += take_steps(varied, groups)
    return print_inspections(f"{steps} steps each", checks)


def take_steps(bench: Workbench, groups: list[list[Batch]]) -> Iterator[Inspection]:
    """Real steps on these groups of batches, one check each; ends at the first fault, whose stages it prints."""
    learner = bench.learner
    for number, batches in enumerate(groups):
        update = partial(step, learner, batches, number, len(groups))
        report = locate(learner.model, update, label=bench.names(batches))
        data = [check(bench, batch) for batch in batches for check in (inspect_tokens, inspect_packing)]
        checks = [*data, *inspect_stages(report), inspect_update(report), inspect_operations(report)]
        fault = name_first(f"{check.step}: {check.fault}" for check in checks if check.fault)
        slots, distinct = sum(int(batch.valid.sum()) for batch in batches), sum(len(batch.asvs) for batch in batches)
        name = f"limit {bench.config.data.token_limit} x {len(batches)}, step {number + 1}"
        yield Inspection(name, f"{slots} slots, {distinct} ASVs", describe_step(report), fault)
        if fault:
            print_inspections(name, checks, report_notes(report))
            return


def describe_step(report: Report) -> str:
    """Loss, gradient norm before clipping and the largest magnitude that a module put out."""
    result: StepResult | None = report.result
    largest = max((size.absmax for size in report.history if math.isfinite(size.absmax)), default=0.0)
    figures = "no update" if result is None else f"loss {result.terms[0]:.4g}, |g| {result.grad_norm:.3g}"
    return f"{figures}, |x| {largest:.3g}"


def inspect_update(report: Report) -> Inspection:
    """Gradients arrived finite and the step left finite weights."""
    wrong = [f"the gradient of {name} is not finite" for name in report.bad_gradients]
    wrong += [f"{name} is no longer finite" for name in report.spoilt_parameters]
    return Inspection("update", "gradients and weights", describe_step(report), name_first(wrong))


if __name__ == "__main__":
    run_script(main)
