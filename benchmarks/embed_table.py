"""`aam embed` on a table against an epoch of pretraining on it: `python benchmarks/embed_table.py [--table --tree]`.

CPU seconds: of the epoch its steps alone; of the command all, and what is left of it without the start of Python and
the import of torch and this package. Medians of rounds in turns, each in a process of its own. The bar is a tenth of
an epoch, and 2 GB.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import torch
from measure import files_of
from scale import alone

from aam.checkpoint import Checkpoint, save_checkpoint
from aam.config import PretrainConfig, from_options
from aam.corpus.pretraining import open_corpus
from aam.folders import BEST
from aam.models.pretrain_model import PretrainModel
from aam.training.run import build_learner, training_batches
from aam.training.step import step

START = "import aam.cli.embed, aam.workflows.embed"
KINDS = ("fp32", "bf16")
ONE = os.environ | {"OMP_NUM_THREADS": "1"}


def epoch(config: PretrainConfig) -> dict[str, float]:
    """CPU seconds of the steps of one epoch, after one that warms up."""
    torch.set_num_threads(1)
    corpus = open_corpus(config)
    batches = training_batches(config, corpus)
    learner = build_learner(config, batches, torch.device("cpu"))
    step(learner, [batches[0]], 0, 1000)
    start = time.process_time()
    for number in range(1, 1 + batches.per_epoch):
        step(learner, [batches[number]], number, 1000)
    return {"epoch_s": time.process_time() - start}


def command(arguments: list[str]) -> dict[str, float]:
    """CPU seconds and peak memory in MB of a Python process; for one call a process, since it asks for the children."""
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=ONE)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"cpu_s": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1000}


@click.command()
@click.option("--table", type=click.Path(path_type=Path), help="Default: the embedded example.")
@click.option("--tree", type=click.Path(path_type=Path))
@click.option("--rounds", default=3, show_default=True)
@click.option("--precision", default="fp32", show_default=True, help="Of the epoch; embeddings are made in both.")
def main(table: Path | None, tree: Path | None, rounds: int, precision: str) -> None:
    config = from_options(PretrainConfig, files_of(table, tree) | {"precision": precision})
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_checkpoint(folder / BEST, Checkpoint(config, PretrainModel(config.model).state_dict(), {}, {}))
        given = ["--table", str(table)] if table else ["--example"]
        for number in range(rounds):
            row = {"start_s": alone(command, ["-c", START])["cpu_s"]} | alone(epoch, config)
            for kind in KINDS:
                out = ["--model", name, *given, "--precision", kind, "-o", str(folder / f"{kind}-{number}.tsv")]
                embed = alone(command, ["-m", "aam", "embed", *out])
                row |= {f"{kind}_s": embed["cpu_s"], f"{kind}_peak_mb": embed["peak_mb"]}
            rows.append(row)
    found = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    for kind in KINDS:
        found[f"epoch_over_{kind}"] = found["epoch_s"] / found[f"{kind}_s"]
        found[f"epoch_over_{kind}_without_start"] = found["epoch_s"] / (found[f"{kind}_s"] - found["start_s"])
    click.echo(json.dumps({name: round(value, 2) for name, value in found.items()}))


if __name__ == "__main__":
    main()
