"""A training step against the plain reference, in interleaved rounds on the same batches.

    python benchmarks/step.py                                         (the embedded example, under two minutes)
    python benchmarks/step.py --table table.biom --tree tree.nwk --batch-size 8 --token-limit 256 --seconds 1200
    python benchmarks/step.py ... --batch-size 128 --no-reference         (which would need 40 GB)

Two comparisons stand side by side. `ours` is the default model: its transformer has a position for every 5 bases and
2 + 2 layers, so it does less arithmetic by design. `ours, equal` has the reference's architecture, a position for
every base and 4 + 8 layers of width 128, so what it saves is the engineering: distinct ASVs, packing, no dropout and
no mask in the ASV encoder, chunks. `dup` is occurrences over distinct ASVs of a batch; ratios depend on it. CPU seconds
hardly depend on what else the machine does, wall seconds do. Peaks of memory are of separate processes, imports
included. `of gemm` are useful operations of the transformers (those of recomputation not counted) per CPU second, as a
share of what a matrix product in the same precision reaches in the same run; `executed` counts recomputation too.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from measure import Timing, Work, files_of, in_turns, make_gemm, transformer_operations, write
from reference import DIM, LAYERS, ReferenceLearner

from aam.config import ModelConfig, PretrainConfig, from_options
from aam.corpus.batches import TrainingBatches
from aam.corpus.dataset import Batch
from aam.corpus.pretraining import open_corpus
from aam.models.sample_encoder import used_slots
from aam.training.run import build_learner, training_batches
from aam.training.step import step

EQUAL = {"patch": 1, "asv_layers": LAYERS, "sample_layers": 2 * LAYERS, "dim": DIM}
VARIANTS: dict[str, dict[str, Any]] = {
    "ours": {},
    "ours, bf16": {"precision": "bf16"},
    "ours, equal": EQUAL,
    "ours, equal, bf16": EQUAL | {"precision": "bf16"},
}
"""Options of `aam pretrain`; whatever is not here is its default."""


REFERENCE = "reference"
GEMMS = {"gemm, fp32": partial(make_gemm, torch.float32), "gemm, bf16": partial(make_gemm, torch.bfloat16)}


def config_of(options: dict[str, Any]) -> PretrainConfig:
    return from_options(PretrainConfig, options)


def batches_of(config: PretrainConfig) -> TrainingBatches:
    corpus = open_corpus(config)
    return training_batches(config, corpus)


def occurrences(batch: Batch) -> int:
    """Slots that hold an ASV."""
    return int(batch.valid.sum())


def operations(model: Any, config: ModelConfig, batch: Batch) -> tuple[float, float]:
    """Operations of the transformers in a step, and those done again because chunks did not keep their activations."""
    asvs, samples, seen = model.asv_encoder, model.sample_encoder, batch.valid & ~batch.hidden
    positions = 1 + -(-(batch.tokens.shape[1] - 1) // config.patch)
    useful = again = 0.0
    for plan, layers, lengths in (
        (asvs.plan(batch.tokens), config.asv_layers, [positions] * len(batch.tokens)),
        (asvs.plan(batch.masked_tokens), config.asv_layers, [positions] * len(batch.masked_tokens)),
        (samples.plan(seen), config.sample_layers, used_slots(seen)),
    ):
        for number, rows in enumerate(plan.chunks):
            longest = max((lengths[row] for row in rows.tolist()), default=0)
            done = transformer_operations(len(rows), longest, config.dim, layers)
            useful, again = useful + done, again + (done / 3 if number >= plan.kept else 0.0)
    return useful, again


def make_ours(options: dict[str, Any]) -> Work:
    """Steps of our model; it says how many operations they are, with and without those of recomputation."""
    config = config_of(options)
    batches = batches_of(config)
    learner = build_learner(config, batches, torch.device("cpu"))
    model = learner.model

    def work(number: int) -> dict[str, float]:
        batch = batches[number]
        step(learner, [batch], number, 1000)
        useful, again = operations(model, config.model, batch)
        said = {"operations": useful, "executed": useful + again}
        return said | {"asvs": len(batch.asvs), "occurrences": occurrences(batch)}

    return work


def make_reference(options: dict[str, Any]) -> Work:
    """Steps of the reference on the same batches."""
    config = config_of(options)
    batches = batches_of(config)
    learner = ReferenceLearner(batches.samples.tokens.shape[1], config.data.token_limit)

    def work(number: int) -> dict[str, float]:
        batch = batches[number]
        learner.step(batch)
        done = transformer_operations(occurrences(batch), batch.tokens.shape[1], DIM, LAYERS)
        done += transformer_operations(len(batch.sample_ids), config.data.token_limit, DIM, 2 * LAYERS)
        said = {"operations": done, "executed": done * 4 / 3}  # every layer goes forward once more, to save memory
        return said | {"asvs": len(batch.asvs), "occurrences": occurrences(batch)}

    return work


def report(timings: dict[str, Timing]) -> None:
    """A line for each; ratios are against the reference where it took part."""
    base = timings.get(REFERENCE)
    peaks = {name: t.said["operations"] / t.cpu for name, t in timings.items() if name in GEMMS}
    some = next(t for name, t in timings.items() if name not in GEMMS)
    dup = some.said["occurrences"] / some.said["asvs"]
    print(f"dup {dup:.2f} ({some.said['asvs']:.0f} distinct ASVs)")
    print(", ".join(f"{name} {peak / 1e9:.0f} GFLOP a CPU second" for name, peak in peaks.items()))
    head = f"{'':<20}{'wall s':>8}{'CPU s':>8}{'x wall':>8}{'x CPU':>8}{'peak MB':>9}{'x mem':>7}"
    print(f"{head}{'of gemm':>9}{'executed':>9}{'n':>4}")
    for name, t in timings.items():
        if name in GEMMS:
            continue
        ideal = t.cpu * peaks["gemm, bf16" if name.endswith("bf16") else "gemm, fp32"]
        share, executed = t.said["operations"] / ideal, t.said["executed"] / ideal
        wall, cpu, memory = (base.wall / t.wall, base.cpu / t.cpu, base.memory / t.memory) if base else 3 * (np.nan,)
        print(
            f"{name:<20}{t.wall:>8.2f}{t.cpu:>8.2f}{wall:>8.1f}{cpu:>8.1f}"
            f"{t.memory / 1e6:>9.0f}{memory:>7.1f}{share:>9.0%}{executed:>9.0%}{t.rounds:>4}"
        )


@click.command()
@click.option("--table", type=click.Path(path_type=Path), help="Feature table instead of the embedded example.")
@click.option("--tree", type=click.Path(path_type=Path))
@click.option("--batch-size", default=4, show_default=True)
@click.option("--token-limit", default=64, show_default=True)
@click.option("--seconds", default=30.0, show_default=True, help="About how long to measure; two rounds at least.")
@click.option("--threads", default=1, show_default=True, help="Arithmetic threads of each process.")
@click.option("--reference/--no-reference", default=True, show_default=True, help="Whether the reference takes part.")
@click.option("--only", multiple=True, type=click.Choice(list(VARIANTS)), help="Variants of ours (default: all).")
@click.option("--output", type=click.Path(path_type=Path), help="JSON file (default: in results/latest).")
def main(
    table: Path | None, tree: Path | None, batch_size: int, token_limit: int, seconds: float, threads: int,
    reference: bool, only: tuple[str, ...], output: Path | None,
) -> None:  # fmt: skip
    """Time the variants in turns and print them."""
    files = files_of(table, tree)
    options = files | {"batch_size": batch_size, "token_limit": token_limit}
    chosen = {name: VARIANTS[name] for name in only or VARIANTS}
    works = dict(GEMMS) | ({REFERENCE: partial(make_reference, options)} if reference else {})
    works |= {name: partial(make_ours, options | changes) for name, changes in chosen.items()}
    timings = in_turns(works, seconds, threads)
    report(timings)
    about = {"table": table.parent.name if table else "example", "batch_size": batch_size, "token_limit": token_limit}
    write(output, "step", timings, about | {"threads": threads})


if __name__ == "__main__":
    main()
