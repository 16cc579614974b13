"""Seconds and memory to open a table and its tree from plain files: `python benchmarks/table_open.py`.

Writes BIOM and Newick of random samples into a temporary folder and opens them as a run does, in processes of their
own. Memory is what a process holds above its imports: at its peak, and of its own at the end. The bar is 0.3 s and
50 MB for 5,000 samples x 37,000 ASVs.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import click
from scale import alone, forget, held
from scale_files import tree_study

from aam.config import DataConfig, PretrainConfig
from aam.corpus.pretraining import open_corpus


def opening(table: Path, tree: Path) -> dict[str, float]:
    """CPU and wall milliseconds, and MB above what is held before."""
    config, before = PretrainConfig(DataConfig(table=table, tree=tree, rarefy_depth="1000")), forget()
    cpu, wall = time.process_time(), time.perf_counter()
    corpus = open_corpus(config)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    after = held()
    return {
        "entries": corpus.table.counts.nnz, "cpu_ms": 1e3 * cpu, "wall_ms": 1e3 * wall,
        "peak_mb": after["peak"] - before["rss"], "own_mb": after["own"] - before["own"],
    }  # fmt: skip


@click.command()
@click.option("--samples", default=5_000, show_default=True)
@click.option("--asvs", default=37_000, show_default=True)
@click.option("--rounds", default=5, show_default=True, help="Processes of which the medians count.")
def main(samples: int, asvs: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = tree_study(2 * asvs - 1, Path(folder) / "study", samples)
        found = [alone(opening, *files) for _ in range(rounds)]
    medians = {name: round(statistics.median(row[name] for row in found), 1) for name in found[0]}
    click.echo(json.dumps({"samples": samples, "asvs": asvs, **medians}))


if __name__ == "__main__":
    main()
