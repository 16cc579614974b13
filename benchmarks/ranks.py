"""One run on more and more processes: what a step costs each of them, and what that makes of the speed of the whole.

    python benchmarks/ranks.py                                        (the embedded example)
    python benchmarks/ranks.py --table table.biom --tree tree.nwk --batch-size 128 --token-limit 256 --ranks 1,2,4,8

Every process counts the CPU seconds of its own steps. With a core for each, a step takes as long as the busiest needs,
so the seconds of one process over those of the busiest of several estimate the speed-up, whatever else the machine is
doing and however few cores it has; the time in which packets travel is not in it. `assembly` is that of the batch, with
its exact UniFrac, which every process does for itself (and data loaders do ahead). Medians over steps, the first left
out.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import torch
import torch.distributed as dist
from measure import LATEST, files_of

from aam.config import PretrainConfig, from_options
from aam.corpus.pretraining import open_corpus
from aam.training.distributed import distribute
from aam.training.run import build_learner, training_batches
from aam.training.step import step
from aam.training.world import World, join_world


def measured(options: dict[str, Any], steps: int, world: World) -> dict[str, float]:
    """CPU seconds of a step and of the assembly of its batch on this process."""
    config = from_options(PretrainConfig, options)
    corpus = open_corpus(config)
    batches = training_batches(config, corpus)
    learner = build_learner(config, batches, torch.device("cpu"))
    distribute(learner, world)
    rows = []
    for number in range(steps + 1):
        start = time.process_time()
        batch = batches[number]
        ready = time.process_time()
        step(learner, [batch], number, 1000)
        rows.append((time.process_time() - ready, ready - start, len(batch.asvs)))
    return {
        name: statistics.median(values)
        for name, values in zip(("step", "assembly", "asvs"), zip(*rows[1:], strict=True), strict=True)
    }


def work(options: dict[str, Any], steps: int, output: Path) -> None:
    """One of the processes; the first writes what all of them measured."""
    torch.set_num_threads(1)
    with join_world(output.parent) as world:
        found = [measured(options, steps, world)]
        if world.size > 1:
            rows = [torch.zeros(3, dtype=torch.float64) for _ in range(world.size)]
            dist.all_gather(rows, torch.tensor(list(found[0].values()), dtype=torch.float64))
            found = [dict(zip(found[0], row.tolist(), strict=True)) for row in rows]
        if world.first:
            output.write_text(json.dumps(found))


def report(found: dict[int, list[dict[str, float]]]) -> None:
    """A line for each number of processes."""
    alone = max(row["step"] for row in found[min(found)])
    print(f"{'ranks':>5}{'step, CPU s':>13}{'of all':>9}{'speed-up':>10}{'efficiency':>12}{'assembly':>10}{'ASVs':>7}")
    for ranks, rows in found.items():
        busiest, total = max(row["step"] for row in rows), sum(row["step"] for row in rows)
        print(
            f"{ranks:>5}{busiest:>13.2f}{total:>9.2f}{alone / busiest:>10.2f}{alone / busiest / ranks:>12.0%}"
            f"{rows[0]['assembly']:>10.3f}{rows[0]['asvs']:>7.0f}"
        )


def started(ranks: int, arguments: Sequence[str], output: Path) -> list[dict[str, float]]:
    """What so many processes of this script measure."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), __file__]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*launch, *arguments, "--worker", str(output)], check=True, env=environment)
    return json.loads(output.read_text())


@click.command()
@click.option("--table", type=click.Path(path_type=Path), help="Feature table instead of the embedded example.")
@click.option("--tree", type=click.Path(path_type=Path))
@click.option("--batch-size", default=32, show_default=True)
@click.option("--token-limit", default=256, show_default=True)
@click.option("--steps", default=3, show_default=True)
@click.option("--ranks", default="1,2,4", show_default=True, help="Numbers of processes.")
@click.option("--worker", type=click.Path(path_type=Path), hidden=True)
def main(
    table: Path | None,
    tree: Path | None,
    batch_size: int,
    token_limit: int,
    steps: int,
    ranks: str,
    worker: Path | None,
) -> None:
    """Measure and print."""
    files = files_of(table, tree)
    options = files | {"batch_size": batch_size, "token_limit": token_limit}
    if worker is not None:
        work(options, steps, worker)
        return
    LATEST.mkdir(parents=True, exist_ok=True)
    output = LATEST / "ranks.json"
    found = {int(number): started(int(number), sys.argv[1:], output) for number in ranks.split(",")}
    output.write_text(json.dumps(found, indent=2))
    report(found)


if __name__ == "__main__":
    main()
