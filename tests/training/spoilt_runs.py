"""Runs into which something bad comes, and what is looked at afterwards."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import torch

from aam.corpus.batches import TrainingBatches
from aam.corpus.dataset import Batch
from aam.training.faults import FAULTS
from aam.training.loop import TrainingRun
from aam.training.state import TrainState

NewRun = Callable[..., tuple[TrainingRun, TrainState]]
GENEROUS = {"quarantine_budget": 0.5, "intervention_budget": 0.5}
BAD, ROW, SLOT = 3, 2, 1
"""The batch that is spoiled, counted from 0, and the sample and its ASV that are."""


class Spoilt:
    """The batches of a run, of which number `at` comes in changed; it keeps that one and where streams started."""

    def __init__(self, batches: TrainingBatches, change: Callable[[Batch], Batch], at: int):
        self.batches, self.change, self.at = batches, change, at
        self.starts: list[int] = []
        self.seen: list[Batch] = []

    def stream(self, start: int, num_workers: int) -> Iterator[Batch]:
        self.starts.append(start)
        for number, batch in enumerate(self.batches.stream(start, num_workers), start):
            if number == self.at:
                batch = self.change(batch)
                self.seen.append(batch)
            yield batch


def spoil(run: TrainingRun, change: Callable[[Batch], Batch], at: int = BAD) -> list[Batch]:
    """Let one batch of the run come in changed; the list holds it once it was drawn."""
    run.batches = Spoilt(run.batches, change, at)
    return run.batches.seen


def infinite_count(batch: Batch) -> Batch:
    counts = batch.counts.clone()
    counts[ROW, SLOT] = math.inf
    return dataclasses.replace(batch, counts=counts)


def close(run: TrainingRun) -> None:
    for sink in run.sinks:
        sink.close()


def text_of(run: TrainingRun, step: int = BAD + 1) -> str:
    return (run.config.run.output_dir / FAULTS / f"step-{step}" / "report.txt").read_text()


def weights(run: TrainingRun) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in run.learner.model.state_dict().items()}


def finite(run: TrainingRun) -> bool:
    moments = [t for entry in run.learner.optimizer.state_dict()["state"].values() for t in entry.values()]
    return all(bool(torch.isfinite(tensor).all()) for tensor in (*weights(run).values(), *moments))
