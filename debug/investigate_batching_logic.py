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

from aam.cli.debugging.recount import recount, retarget
from aam.cli.debugging.stages import first_of, tokens_check
from aam.cli.debugging.workbench import Check, Workbench, open_workbench, run, verdict, workbench_options
from aam.corpus.dataset import Batch

WORKERS = 2
"""Processes that assemble batches for the comparison, where --num-workers does not say otherwise."""
STREAMED = 4
"""Batches compared between processes."""


@click.command()
@workbench_options("token_limit", "asv_selection", "rarefy_depth", "unifrac_metric", "num_workers")
@click.option("--epochs", type=click.IntRange(1), default=2, show_default=True, help="Epochs to compare.")
def main(model: Path | None, epochs: int, **given: Any) -> int:
    """Compare the first batch of each epoch with the table and with scikit-bio, and all batches with each other."""
    bench = open_workbench(model, **given)
    numbers = [epoch * bench.batches.per_epoch for epoch in range(epochs)]
    code = max([investigate(bench, bench.batches[number], number) for number in numbers])
    checks = [*across_epochs(bench, epochs), across_workers(bench, bench.config.run.num_workers or WORKERS)]
    return max(code, verdict(f"{bench.batches.per_epoch} batches an epoch", checks))


def investigate(bench: Workbench, batch: Batch, number: int = 0) -> int:
    """Print what a second reckoning of one batch says; 1 where it says something else."""
    checks = [tokens_check(bench, batch), *recount(bench, batch), *retarget(bench, batch)]
    return verdict(f"batch {number}: {', '.join(batch.sample_ids[:4])}, …", checks)


def across_epochs(bench: Workbench, epochs: int) -> Iterator[Check]:
    """Every sample at most once an epoch, each epoch in an order of its own."""
    size, orders = bench.batches.per_epoch, list[list[str]]()
    for epoch in range(epochs):
        order = [name for place in range(size) for name in bench.batches[epoch * size + place].sample_ids]
        twice = sorted({name for name in order if order.count(name) > 1})
        faults = [f"sample {name} comes twice in epoch {epoch}" for name in twice]
        faults += [f"epoch {epoch} repeats the order of epoch {orders.index(order)}"] if order in orders else []
        orders.append(order)
        found = f"{len(set(order))} of {len(bench.batches.samples)} samples"
        yield Check("order", f"epoch {epoch}", found, first_of(faults))


def across_workers(bench: Workbench, workers: int) -> Check:
    """Batches do not depend on which process assembles them, nor on those before them."""
    start = bench.batches.per_epoch // 2  # in the middle, as a resumed run begins
    streamed = islice(bench.batches.stream(start, workers), STREAMED)
    differing = [
        f"{name} of batch {number} differs"
        for number, batch in enumerate(streamed, start)
        for name in differences(batch, bench.batches[number])
    ]
    what = f"batches {start} to {start + STREAMED - 1}"
    return Check("workers", what, f"{workers} processes against this one", first_of(differing))


def differences(one: Batch, other: Batch) -> list[str]:
    """Fields in which two batches differ in any bit."""
    pairs = [(f.name, getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(one)]
    return [name for name, a, b in pairs if not (torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b)]


if __name__ == "__main__":
    run(main)
