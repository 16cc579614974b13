"""Batches with labels: what `aam.data.dataset` draws, with targets and covariates beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from aam.data.dataset import ASVDataset, Batch, collate_fn
from aam.data.label_schema import EncodedLabels
from aam.data.loader import TrainingBatches


@dataclass(frozen=True)
class LabelledBatch(Batch):
    """A batch and, row by row of its samples, the fields of `EncodedLabels`."""

    numbers: Tensor = torch.empty(0)
    known: Tensor = torch.empty(0)
    classes: Tensor = torch.empty(0)
    numeric: Tensor = torch.empty(0)
    categories: Tensor = torch.empty(0)

    def seen(self) -> dict[str, Tensor]:
        """What a model that predicts labels may see of it, by the names of its inputs."""
        asvs = {"columns": self.asvs, "tokens": self.tokens}
        slots = {"index": self.index, "valid": self.valid, "abundance": self.abundance}
        return asvs | slots | {"numeric": self.numeric, "categories": self.categories}


def labelled(batch: Batch, labels: EncodedLabels, rows: np.ndarray) -> LabelledBatch:
    """A batch with the labels of these rows [B]."""
    found: dict[str, Any] = {name: torch.from_numpy(values[rows]) for name, values in vars(labels).items()}
    return LabelledBatch(**vars(batch), **found)


class LabelledBatches(TrainingBatches):
    """Shuffled training batches; row i of `labels` belongs to sample i of `samples`."""

    def __init__(self, samples: ASVDataset, batch_size: int, labels: EncodedLabels):
        super().__init__(samples, min(batch_size, len(samples)), targets=None, hiding=None)
        self.labels = labels
        self.row_of = {sample_id: row for row, sample_id in enumerate(samples.sample_ids)}

    def __getitem__(self, number: int) -> LabelledBatch:
        batch = super().__getitem__(number)
        return labelled(batch, self.labels, np.array([self.row_of[sample] for sample in batch.sample_ids]))


def labelled_parts(samples: ASVDataset, labels: EncodedLabels, epoch: int, size: int) -> Iterator[LabelledBatch]:
    """Every sample once, in order, drawn as in `epoch`."""
    for start in range(0, len(samples), size):
        rows = np.arange(start, min(start + size, len(samples)))
        yield labelled(collate_fn([samples[epoch, int(row)] for row in rows]), labels, rows)
