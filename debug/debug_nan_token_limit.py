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

from aam.cli.debugging.stages import first_of, notes_on, operations_check, packing_check, stage_checks, tokens_check
from aam.cli.debugging.workbench import Check, Workbench, open_workbench, run, verdict, workbench_options
from aam.corpus.dataset import Batch
from aam.health import locate
from aam.health.report import Report
from aam.training.step import StepResult, step


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
    bench = open_workbench(model, **given)
    checks: list[Check] = []
    for limit, accumulate in product(limits, accumulations):
        varied = bench.varied(limit, accumulate)
        groups = [[varied.batches[at * accumulate + place] for place in range(accumulate)] for at in range(steps)]
        checks += walk(varied, groups)
    return verdict(f"{steps} steps each", checks)


def walk(bench: Workbench, groups: list[list[Batch]]) -> Iterator[Check]:
    """Real steps on these groups of batches, one check each; ends at the first fault, whose stages it prints."""
    learner = bench.learner
    for number, batches in enumerate(groups):
        update = partial(step, learner, batches, number, len(groups))
        report = locate(learner.model, update, label=bench.names(batches))
        data = [check(bench, batch) for batch in batches for check in (tokens_check, packing_check)]
        checks = [*data, *stage_checks(report), update_check(report), operations_check(report)]
        fault = first_of(f"{check.step}: {check.fault}" for check in checks if check.fault)
        slots, distinct = sum(int(batch.valid.sum()) for batch in batches), sum(len(batch.asvs) for batch in batches)
        name = f"limit {bench.config.data.token_limit} x {len(batches)}, step {number + 1}"
        yield Check(name, f"{slots} slots, {distinct} ASVs", told(report), fault)
        if fault:
            verdict(name, checks, notes_on(report))
            return


def told(report: Report) -> str:
    """Loss, gradient norm before clipping and the largest magnitude that a module put out."""
    result: StepResult | None = report.result
    largest = max((size.absmax for size in report.history if math.isfinite(size.absmax)), default=0.0)
    figures = "no update" if result is None else f"loss {result.terms[0]:.4g}, |g| {result.grad_norm:.3g}"
    return f"{figures}, |x| {largest:.3g}"


def update_check(report: Report) -> Check:
    """Gradients arrived finite and the step left finite weights."""
    wrong = [f"the gradient of {name} is not finite" for name in report.bad_gradients]
    wrong += [f"{name} is no longer finite" for name in report.spoilt_parameters]
    return Check("update", "gradients and weights", told(report), first_of(wrong))


if __name__ == "__main__":
    run(main)
