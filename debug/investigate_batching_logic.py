#!/usr/bin/env python3
"""Order, ASVs, counts and targets of training batches, worked out a second time from the table and by scikit-bio.

python debug/investigate_batching_logic.py
python debug/investigate_batching_logic.py --table table.biom --tree tree.nwk --token-limit 30 --num-workers 4
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click
import torch

from aam.cli.debugging import print_inspections, run_script, script_workbench, workbench_options
from aam.corpus.dataset import Batch
from aam.workflows.inspect_batches import compare_targets, compare_with_table
from aam.workflows.inspect_stages import inspect_tokens
from aam.workflows.workbench import Inspection, Workbench, name_first

WORKERS = 2
"""Processes that assemble batches for the comparison, where --num-workers does not say otherwise."""
STREAMED = 4
"""Batches compared between processes."""


@click.command()
@workbench_options("token_limit", "asv_selection", "rarefy_depth", "unifrac_metric", "num_workers")
@click.option("--epochs", type=click.IntRange(1), default=2, show_default=True, help="Epochs to compare.")
def main(model: Path | None, epochs: int, **given: Any) -> int:
    """Compare the first batch of each epoch with the table and with scikit-bio, and all batches with each other."""
    bench = script_workbench(model, **given)
    numbers = [epoch * bench.batches.per_epoch for epoch in range(epochs)]
    code = max([investigate(bench, bench.batches[number], number) for number in numbers])
    checks = [*compare_epochs(bench, epochs), compare_workers(bench, bench.config.run.num_workers or WORKERS)]
    return max(code, print_inspections(f"{bench.batches.per_epoch} batches an epoch", checks))


def investigate(bench: Workbench, batch: Batch, number: int = 0) -> int:
    """Compare one batch with table and tree and print the result; 1 where they differ."""
    checks = [inspect_tokens(bench, batch), *compare_with_table(bench, batch), *compare_targets(bench, batch)]
    return print_inspections(f"batch {number}: {', '.join(batch.sample_ids[:4])}, …", checks)


def compare_epochs(bench: Workbench, epochs: int) -> Iterator[Inspection]:
    """Every sample at most once an epoch, each epoch in an order of its own."""
    size, orders = bench.batches.per_epoch, list[list[str]]()
    for epoch in range(epochs):
        order = [name for place in range(size) for name in bench.batches[epoch * size + place].sample_ids]
        twice = sorted({name for name in order if order.count(name) > 1})
        faults = [f"sample {name} comes twice in epoch {epoch}" for name in twice]
        faults += [f"epoch {epoch} repeats the order of epoch {orders.index(order)}"] if order in orders else []
        orders.append(order)
        found = f"{len(set(order))} of {len(bench.batches.samples)} samples"
        yield Inspection("order", f"epoch {epoch}", found, name_first(faults))


def compare_workers(bench: Workbench, workers: int) -> Inspection:
    """Batches do not depend on which process assembles them, nor on those before them."""
    start = bench.batches.per_epoch // 2  # in the middle, as a resumed run begins
    streamed = islice(bench.batches.stream(start, workers), STREAMED)
    differing = [
        f"{name} of batch {number} differs"
        for number, batch in enumerate(streamed, start)
        for name in differing_fields(batch, bench.batches[number])
    ]
    what = f"batches {start} to {start + STREAMED - 1}"
    return Inspection("workers", what, f"{workers} processes against this one", name_first(differing))


def differing_fields(one: Batch, other: Batch) -> list[str]:
    """Fields in which two batches differ in any bit."""
    pairs = [(f.name, getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(one)]
    return [name for name, a, b in pairs if not (torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b)]


if __name__ == "__main__":
    run_script(main)
