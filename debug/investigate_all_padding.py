#!/usr/bin/env python3
"""Padding of training batches, sample by sample, and proof that no row without a key reaches attention.

python debug/investigate_all_padding.py --token-limit 64
python debug/investigate_all_padding.py --table table.biom --tree tree.nwk --token-limit 256 --batch-size 6
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import torch

from aam.cli.debugging import batches_option, print_inspections, run_script, script_workbench, workbench_options
from aam.corpus.dataset import Batch
from aam.health.locator import keep_in_one_thread
from aam.health.tracing import Place
from aam.models.attention_pooling import AttentionPooling
from aam.models.layers import Transformer
from aam.training.step import score
from aam.workflows.inspect_stages import inspect_packing, inspect_tokens
from aam.workflows.workbench import Inspection, Workbench, flat_indices, name_first


@click.command()
@workbench_options("token_limit", "asv_selection", "rarefy_depth")
@batches_option
def main(model: Path | None, batches: int, **given: Any) -> int:
    """Count slots, padding, shared ASVs and cut reads of batches; watch the keys of every attention of the model."""
    bench = script_workbench(model, **given)
    return max([investigate(bench, bench.batches[number], number) for number in range(batches)])


def investigate(bench: Workbench, batch: Batch, number: int = 0) -> int:
    """Print the padding of training batch `number`; 1 where a sample lost all its ASVs or a row has no key."""
    packing = inspect_packing(bench, batch)
    again = f"; an ASV serves {int(batch.valid.sum()) / len(batch.asvs):.2f} slots"
    packing = dataclasses.replace(packing, found=packing.found + again)
    samples, keys = inspect_samples(bench, batch, number), inspect_keys(bench, batch)
    title = f"batch {number}, token limit {bench.config.data.token_limit}"
    return print_inspections(title, [*samples, inspect_tokens(bench, batch), packing, *keys])


def inspect_samples(bench: Workbench, batch: Batch, number: int) -> Iterator[Inspection]:
    """One line a sample: the slots it fills, and what the token limit cut away of the same draw."""
    drawn, epoch = bench.batches.samples, number // bench.batches.per_epoch
    whole = bench.corpus.samples(bench.corpus.sides.train, dataclasses.replace(drawn.draw, token_limit=None))
    for sample_id, valid, counts in zip(batch.sample_ids, batch.valid, batch.counts, strict=True):
        uncut = whole[epoch, drawn.sample_ids.index(sample_id)]
        had, slots, reads = len(uncut.asvs), int(valid.sum()), int(counts[valid].sum())
        what = f"{slots} of {had} ASVs, {len(valid) - slots} padding"
        fault = "" if slots else f"all {had} ASVs were cut away, its {len(valid)} slots are padding"
        found = f"{reads:,} reads, {1 - reads / uncut.counts.sum():.1%} cut"
        yield Inspection(f"sample {sample_id}", what, found, fault)


def inspect_keys(bench: Workbench, batch: Batch) -> Iterator[Inspection]:
    """What transformers and poolings of the model are handed in a real pass: rows, and rows without a key."""
    names, handed = bench.names([batch]), []
    watched = [(p, m) for p, m in bench.learner.model.named_modules() if isinstance(m, (Transformer, AttentionPooling))]
    with ExitStack() as hooks, torch.no_grad(), keep_in_one_thread():  # calls are counted in their order
        for path, module in watched:
            hook = module.register_forward_pre_hook(lambda _, given, path=path: handed.append((path, *given, None)))
            hooks.callback(hook.remove)
        score(bench.learner, batch)
    for path, _ in watched:
        calls = [(states, valid) for name, states, valid, *_ in handed if name == path]
        empty = [
            names(Place(path, call, "forward", tuple(states.shape), row)) or f"row {row} of call {call}"
            for call, (states, valid) in enumerate(calls)
            for row in ([] if valid is None else flat_indices(~valid.any(dim=-1)))
        ]
        found = f"{sum(len(states) for states, _ in calls)} rows, {len(empty)} without a key"
        yield Inspection("keys", path, found, name_first(f"{path} is handed {name} without a key" for name in empty))


if __name__ == "__main__":
    run_script(main)
