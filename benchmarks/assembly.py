"""Batch assembly (rarefy, select, collate, targets) against the training step that it feeds.

    python benchmarks/assembly.py --table table.biom --tree tree.nwk      (default: the embedded example)

Prints medians over interleaved batches and steps, on one thread; assembly should take less than a tenth of a step.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
import torch
from measure import files_of

from aam.config import PretrainConfig, from_options
from aam.corpus.pretraining import open_corpus
from aam.training.run import build_learner, training_batches
from aam.training.step import step

REPEATS = 7


@click.command()
@click.option("--table", type=click.Path(path_type=Path))
@click.option("--tree", type=click.Path(path_type=Path))
@click.option("--batch-size", default=32, show_default=True)
def main(table: Path | None, tree: Path | None, batch_size: int) -> None:
    """Time both and print them."""
    torch.set_num_threads(1)
    files = files_of(table, tree)
    config = from_options(PretrainConfig, files | {"batch_size": batch_size})
    corpus = open_corpus(config)
    batches = training_batches(config, corpus)
    learner = build_learner(config, batches, torch.device("cpu"))
    assembly, steps, asvs = [], [], []
    for number in range(REPEATS):
        start = time.perf_counter()
        batch = batches[number]
        middle = time.perf_counter()
        step(learner, [batch], number, REPEATS)
        assembly.append(middle - start)
        steps.append(time.perf_counter() - middle)
        asvs.append(len(batch.asvs))
    made, fed = np.median(assembly), np.median(steps)
    print(f"batch of {batch_size} samples, {int(np.median(asvs))} distinct ASVs, one thread, median of {REPEATS}")
    print(f"assembly {made * 1e3:.1f} ms ({made / batch_size * 1e3:.2f} ms a sample), step {fed * 1e3:.0f} ms")
    print(f"assembly / step = {made / fed:.4f}")


if __name__ == "__main__":
    main()
