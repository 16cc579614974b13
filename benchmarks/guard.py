"""Cost of the guard in a real pretraining: steps with it and without it, in interleaved rounds on the same batches.

    python benchmarks/guard.py [--steps 200] [--preset tiny] [--batch-size 8]

Without it nothing is watched at all: no finite flag, no random states kept, no update ratios. CPU time is compared on a
CPU, so that other programs of the machine do not count; wall time on a GPU.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import numpy as np
import torch

from aam.config import PretrainConfig, from_options
from aam.corpus.dataset import Batch
from aam.corpus.pretraining import open_corpus
from aam.models.devices import resolve_device
from aam.training.bundles import AsvNames
from aam.training.guard import StepGuard
from aam.training.run import build_learner, training_batches
from aam.training.step import Guard, Learner, step


def clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def seconds(learner: Learner, batch: Batch, number: int, steps: int, guard: Guard) -> float:
    start = clock(learner.device)
    step(learner, [batch], number, 2 * steps, guard)
    return clock(learner.device) - start


@click.command()
@click.option("--steps", default=200, show_default=True, help="Rounds of one step with and one without the guard.")
@click.option("--preset", default="tiny", show_default=True)
@click.option("--batch-size", default=8, show_default=True)
@click.option("--device", default="cpu", show_default=True)
def main(steps: int, preset: str, batch_size: int, device: str) -> None:
    """Measure on the embedded example."""
    config = from_options(
        PretrainConfig,
        {"example": True, "preset": preset, "batch_size": batch_size, "device": device,
         "output_dir": Path(tempfile.gettempdir())},
    )  # fmt: skip
    corpus = open_corpus(config)
    batches = training_batches(config, corpus)
    learner = build_learner(config, batches, resolve_device(device))
    guard, none = StepGuard(config, learner, AsvNames()), Guard()
    kept = [batches[number] for number in range(min(steps, 2 * batches.per_epoch))]
    for number in range(3):
        step(learner, [kept[number]], number, 2 * steps, none)
    plain, guarded = list[float](), list[float]()
    for number in range(steps):
        pair: list[tuple[list[float], Guard]] = [(plain, none), (guarded, guard)]
        for times, each in pair if number % 2 else pair[::-1]:  # neither is always the first to see a batch
            times.append(seconds(learner, kept[number % len(kept)], number, steps, each))
    ratios = np.array(guarded) / np.array(plain)
    low, high = np.percentile(ratios, [25, 75])
    print(f"guard, {steps} steps of the {preset} model: {1e3 * np.median(plain):.1f} ms without")
    print(f"  median of the rounds {np.median(ratios):.4f} x (quartiles {low:.4f} to {high:.4f})")
    print(f"  mean over all steps  {np.mean(guarded) / np.mean(plain):.4f} x")


if __name__ == "__main__":
    main()
