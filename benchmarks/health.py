"""Cost of the watch and of a traced replay, in interleaved rounds of one training step each.

    python benchmarks/health.py [--steps 200] [--device cpu]

CPU time is compared on a CPU, so that other programs of the machine do not count; wall time on a GPU.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import numpy as np
import torch
from torch import Tensor, nn

from aam.config import HealthConfig
from aam.health import locate, parameter_groups, watch

TRACED = 20
"""Rounds of the traced replay."""


class Net(nn.Module):
    """A pre-norm transformer over nucleotides, [B, L] -> [B, L, 6]."""

    def __init__(self, dim: int, layers: int):
        super().__init__()
        self.embed = nn.Embedding(7, dim)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(dim, 4, 4 * dim, 0.0, batch_first=True, norm_first=True) for _ in range(layers)
        )
        self.head = nn.Linear(dim, 6)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def seconds(work: Callable[[], object], device: torch.device) -> float:
    start = clock(device)
    work()
    return clock(device) - start


def report(name: str, plain: list[float], other: list[float]) -> None:
    """Ratio of the medians, and its spread over the rounds."""
    ratios = np.array(other) / np.array(plain)
    low, high = np.percentile(ratios, [25, 75])
    ratio = np.median(other) / np.median(plain)
    print(f"{name}: {1e3 * np.median(plain):.1f} ms plain, {ratio:.3f} x with it (quartiles {low:.3f} to {high:.3f})")


@click.command()
@click.option("--steps", default=200, show_default=True, help="Rounds; each has a plain step and a watched one.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--dim", default=64, show_default=True)
@click.option("--layers", default=4, show_default=True)
@click.option("--batch", default=16, show_default=True)
def main(steps: int, device: str, dim: int, layers: int, batch: int) -> None:
    """Measure on a small transformer over sequences of 151 tokens."""
    torch.manual_seed(0)
    place = torch.device(device)
    model = Net(dim, layers).to(place)
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.1), lr=1e-4)
    tokens, targets = (torch.randint(0, 6, (batch, 151), device=place) for _ in range(2))
    watcher = watch(model, names=("loss",), config=HealthConfig())

    def step(number: int, watched: bool) -> None:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if watched:
            watcher.record(number, loss.detach().reshape(1), norm)
            with watcher.update(number):
                optimizer.step()
        else:
            assert torch.isfinite(loss + norm)  # the gate that every loop has
            optimizer.step()

    def gradients() -> None:
        model.zero_grad()
        nn.functional.cross_entropy(model(tokens).flatten(0, 1), targets.flatten()).backward()

    for number in range(3):
        step(number, True)
    locate(model, gradients)
    plain, watched = [], []
    for number in range(steps):
        plain.append(seconds(partial(step, number, False), place))
        watched.append(seconds(partial(step, number, True), place))
    report(f"watch, {steps} steps", plain, watched)
    print(f"  mean over all steps: {np.mean(watched) / np.mean(plain):.4f} x")
    plain, traced = [], []
    for _ in range(TRACED):
        plain.append(seconds(gradients, place))
        traced.append(seconds(lambda: locate(model, gradients), place))
    report("traced replay (forward and backward)", plain, traced)


if __name__ == "__main__":
    main()
