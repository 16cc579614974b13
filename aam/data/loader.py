"""Batches by number: batch m of a run is a pure function of (seed, m), so a run resumes exactly by starting at m."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from aam.config import LossConfig
from aam.data.dataset import ASVDataset, Batch, Targets, collate_fn
from aam.data.maps import send_maps_as_places
from aam.errors import ConfigError

SHUFFLE, MASKING = 1, 2
"""Streams of random numbers that one seed feeds."""


class TrainingBatches(Dataset):
    """Endless shuffled batches; an epoch is every sample once, less the few that do not fill a last batch.

    A batch is of one study, because UniFrac between samples of different trees is not defined.
    """

    def __init__(self, samples: ASVDataset, batch_size: int, targets: Targets | None, hiding: LossConfig | None):
        self.members = samples.by_study()
        smallest = min(len(rows) for rows in self.members)
        if batch_size > smallest:
            whose = "training samples" if len(self.members) == 1 else "training samples of the smallest study"
            raise ConfigError(
                f"batch size {batch_size} is larger than the {smallest} {whose}; use --batch-size {smallest} or less"
            )
        self.samples, self.batch_size, self.targets, self.hiding = samples, batch_size, targets, hiding
        self.per_epoch = sum(len(rows) // batch_size for rows in self.members)
        self._orders: dict[int, np.ndarray] = {}

    def __getitem__(self, number: int) -> Batch:
        epoch, place = divmod(number, self.per_epoch)
        if epoch not in self._orders:
            self._orders = {epoch: self.order(epoch)}  # shuffling a million samples takes as long as a batch
        drawn = [self.samples[epoch, int(row)] for row in self._orders[epoch][place]]
        return collate_fn(
            drawn, self.targets, self.hiding, np.random.default_rng((self.samples.draw.seed, MASKING, number))
        )

    def order(self, epoch: int) -> np.ndarray:
        """Rows of the batches of an epoch, [batches, B]: each study shuffled and cut, then the batches shuffled."""
        rng, size = np.random.default_rng((self.samples.draw.seed, SHUFFLE, epoch)), self.batch_size
        cut = [rng.permutation(rows)[: len(rows) // size * size].reshape(-1, size) for rows in self.members]
        return cut[0] if len(cut) == 1 else rng.permutation(np.concatenate(cut))

    def stream(self, start: int, num_workers: int) -> Iterator[Batch]:
        """Batches start, start + 1, … for ever; `num_workers` processes assemble them ahead.

        Raises RuntimeError, as torch does, where one of these is killed.
        """
        numbers = range(start, 2**62)
        send_maps_as_places()
        # A generator of its own: else each loader takes a number from torch's, and a resumed run would drop out others.
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=numbers,
            num_workers=num_workers,
            in_order=True,
            generator=torch.Generator(),
            worker_init_fn=leave_signals_to_parent,
        )
        return handed_over(iter(loader))


def handed_over(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches; a worker that is killed just then leaves a connection without an end, which torch lets pass."""
    try:
        yield from batches
    except (EOFError, ConnectionError) as error:
        raise RuntimeError(f"DataLoader worker is gone while it hands over a batch ({type(error).__name__})") from error


def leave_signals_to_parent(worker: int) -> None:
    """Ctrl-C and SLURM signal all processes of a run; the training process decides, and its last step needs batches."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class ValidationBatches(Dataset):
    """Every sample once, in order, drawn as in epoch 0 and masked by a fixed seed: the same at every evaluation."""

    def __init__(self, samples: ASVDataset, batch_size: int, targets: Targets | None, hiding: LossConfig | None):
        self.samples, self.targets, self.hiding = samples, targets, hiding
        # Parts of one study and of about the same size, each of two samples or more, because UniFrac needs pairs.
        self.parts = []
        for rows in samples.by_study():
            count = max(1, min(-(-len(rows) // batch_size), len(rows) // 2))
            self.parts += np.array_split(rows, count)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, number: int) -> Batch:
        drawn = [self.samples[0, int(row)] for row in self.parts[number]]
        rng = np.random.default_rng((self.samples.draw.seed, MASKING, number))
        return collate_fn(drawn, self.targets, self.hiding, rng)
