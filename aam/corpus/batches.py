"""Batches of samples: shuffled for training, ordered for validation, with labels, and with samples removed."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass
from itertools import count
from multiprocessing.reduction import ForkingPickler
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from aam.config import LossConfig
from aam.corpus.dataset import ASVDataset, Batch, TargetSource, collate_fn
from aam.corpus.label_schema import EncodedLabels
from aam.corpus.reference_tips import ReferenceTips
from aam.corpus.workers import assemble_ahead
from aam.errors import ConfigError, EmptySampleError

SHUFFLE, MASKING, REFERENCE = 1, 2, 3
"""Streams of random numbers that one seed feeds."""
B = TypeVar("B", bound=Batch)
BATCH_FIELDS = {field.name for field in dataclasses.fields(Batch)}


def send_maps_by_reference() -> None:
    """Make `multiprocessing` send memory-mapped arrays as path and offset (`reduce_array`), not as content."""
    ForkingPickler.register(np.ndarray, reduce_array)


def find_map(array: NDArray) -> np.memmap | None:
    """The read-only memory map that an array is a view of; None for other arrays."""
    base: Any = array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    return base if isinstance(base, np.memmap) and base.mode == "r" else None


def reduce_array(array: NDArray) -> Any:
    """The function and arguments by which pickle rebuilds an array in another process."""
    whole = find_map(array)
    if whole is None or min(array.strides, default=0) < 0:
        return array.__reduce_ex__(4)
    start = whole.offset + array.ctypes.data - whole.ctypes.data
    return map_array, (str(whole.filename), start, array.dtype, array.shape, array.strides)


def map_array(path: str, start: int, dtype: np.dtype, shape: tuple[int, ...], strides: tuple[int, ...]) -> NDArray:
    """An array of the bytes of a file from `start` on, mapped and read-only."""
    return np.ndarray(shape, dtype, np.memmap(path, np.uint8, "r"), start, strides)


class TrainingBatches(Dataset):
    """Endless shuffled batches. An epoch has every sample once, except those that do not fill a last batch.

    All samples of a batch are of one study, because UniFrac between samples of different trees is not defined. With
    `reference`, each batch also has tips of it.
    """

    def __init__(
        self,
        samples: ASVDataset,
        batch_size: int,
        targets: TargetSource | None,
        hiding: LossConfig | None,
        reference: ReferenceTips | None = None,
    ):
        self.members = samples.by_study()
        smallest = min(len(rows) for rows in self.members)
        if batch_size > smallest:
            whose = "training samples" if len(self.members) == 1 else "training samples of the smallest study"
            raise ConfigError(
                f"batch size {batch_size} is larger than the {smallest} {whose}; use --batch-size {smallest} or less"
            )
        self.samples, self.batch_size, self.targets, self.hiding = samples, batch_size, targets, hiding
        self.reference = reference
        self.per_epoch = sum(len(rows) // batch_size for rows in self.members)
        self._orders: dict[int, np.ndarray] = {}

    def __getitem__(self, number: int) -> Batch:
        epoch, row_of_order = divmod(number, self.per_epoch)
        if epoch not in self._orders:
            self._orders = {epoch: self.order(epoch)}  # shuffling a million samples takes as long as a batch
        return self.assemble(epoch, self._orders[epoch][row_of_order], number)

    def richest(self) -> Batch:
        """A batch of the samples with the most ASVs, those of one study, as in epoch 0."""
        found = np.diff(self.samples.stored.indptr)
        found = found if self.samples.rows is None else found[self.samples.rows]
        most = [rows[np.argsort(found[rows], kind="stable")[-self.batch_size :]] for rows in self.members]
        return self.assemble(0, max(most, key=lambda rows: int(found[rows].sum())), 0)

    def assemble(self, epoch: int, rows: NDArray[np.int64], number: int) -> Batch:
        """The batch of these samples as drawn in an epoch; `number` tells what is hidden, and the reference tips."""
        drawn = [self.samples[epoch, int(row)] for row in rows]
        seed = self.samples.draw.seed
        rng = np.random.default_rng((seed, REFERENCE, number))
        if self.reference is not None and self.reference.windows is not None:
            drawn = self.reference.windows.cut(drawn, rng)
        batch = collate_fn(drawn, self.targets, self.hiding, np.random.default_rng((seed, MASKING, number)))
        return batch if self.reference is None else self.reference.add_to(batch, self.reference.train, self.hiding, rng)

    def order(self, epoch: int) -> np.ndarray:
        """Rows of the batches of an epoch, [batches, B]: each study shuffled and cut, then the batches shuffled."""
        rng, size = np.random.default_rng((self.samples.draw.seed, SHUFFLE, epoch)), self.batch_size
        cut = [rng.permutation(rows)[: len(rows) // size * size].reshape(-1, size) for rows in self.members]
        return cut[0] if len(cut) == 1 else rng.permutation(np.concatenate(cut))

    def stream(self, start: int, num_workers: int) -> Generator[Batch, None, None]:
        """Batches start, start + 1, … without end; `num_workers` processes assemble them ahead.

        Raises WorkerError if one of these processes cannot be started, is killed or stands still.
        """
        if num_workers == 0:
            return (self[number] for number in count(start))
        send_maps_by_reference()
        return assemble_ahead(self, start, num_workers)


class ValidationBatches(Dataset):
    """Every sample once, in order, drawn as in epoch 0 and masked by a fixed seed: the same in each evaluation.

    With `reference`, each batch also has held-out tips of it.
    """

    def __init__(
        self,
        samples: ASVDataset,
        batch_size: int,
        targets: TargetSource | None,
        hiding: LossConfig | None,
        reference: ReferenceTips | None = None,
    ):
        self.samples, self.targets, self.hiding, self.reference = samples, targets, hiding, reference
        # Parts of one study, of about equal size and at least two samples, because UniFrac needs pairs.
        self.parts = []
        for rows in samples.by_study():
            count = max(1, min(-(-len(rows) // batch_size), len(rows) // 2))
            self.parts += np.array_split(rows, count)

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, number: int) -> Batch:
        drawn = [self.samples[0, int(row)] for row in self.parts[number]]
        seed = self.samples.draw.seed
        batch = collate_fn(drawn, self.targets, self.hiding, np.random.default_rng((seed, MASKING, number)))
        if self.reference is None or not len(self.reference.held_out):
            return batch
        rng = np.random.default_rng((seed, REFERENCE, number))
        return self.reference.add_to(batch, self.reference.held_out, self.hiding, rng)


@dataclass(frozen=True)
class LabelledBatch(Batch):
    """A batch and, row by row of its samples, the fields of `EncodedLabels`."""

    numbers: Tensor = torch.empty(0)
    known: Tensor = torch.empty(0)
    classes: Tensor = torch.empty(0)
    numeric: Tensor = torch.empty(0)
    categories: Tensor = torch.empty(0)

    def seen(self) -> dict[str, Tensor]:
        """Input tensors of a model that predicts labels, by name."""
        asvs = {"columns": self.asvs, "tokens": self.tokens}
        slots = {"index": self.index, "valid": self.valid, "abundance": self.abundance}
        return asvs | slots | {"numeric": self.numeric, "categories": self.categories}


def add_labels(batch: Batch, labels: EncodedLabels, rows: np.ndarray) -> LabelledBatch:
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
        return cast(LabelledBatch, super().__getitem__(number))

    def assemble(self, epoch: int, rows: NDArray[np.int64], number: int) -> LabelledBatch:
        batch = super().assemble(epoch, rows, number)
        return add_labels(batch, self.labels, np.array([self.row_of[sample] for sample in batch.sample_ids]))


def split_labelled(samples: ASVDataset, labels: EncodedLabels, epoch: int, size: int) -> Iterator[LabelledBatch]:
    """Yield every sample once, in order, in batches of at most `size` samples; drawn as in `epoch`."""
    for start in range(0, len(samples), size):
        rows = np.arange(start, min(start + size, len(samples)))
        yield add_labels(collate_fn([samples[epoch, int(row)] for row in rows]), labels, rows)


def drop_samples(batch: B, ids: Collection[str]) -> B:
    """Remove samples from a batch, and the ASVs that only they carry; returns the batch itself if it has none of them.

    Hidden slots of the other samples stay hidden. Raises `EmptySampleError` if no sample is left.
    """
    rows = torch.tensor([row for row, sample in enumerate(batch.sample_ids) if sample not in ids], dtype=torch.int64)
    if len(rows) == len(batch.sample_ids):
        return batch
    if len(rows) == 0:
        raise EmptySampleError(", ".join(batch.sample_ids), len(batch.asvs), 0.0)
    used = torch.zeros(len(batch.asvs), dtype=torch.bool)
    used[batch.index[rows][batch.valid[rows]]] = True
    place = used.cumsum(0) - 1  # of each ASV among those that stay
    changed: dict[str, Tensor] = {
        name: getattr(batch, name)[rows] for name in ("valid", "counts", "hidden", "uncounted")
    }
    changed["index"] = torch.where(changed["valid"], place[batch.index[rows]], 0)
    changed |= {"asvs": batch.asvs[used], "tokens": batch.tokens[used], **keep_masked(batch, used, place)}
    if batch.unifrac is not None:
        changed["unifrac"] = batch.unifrac[rows][:, rows]
    if batch.faith_pd is not None:
        changed["faith_pd"] = batch.faith_pd[rows]
    if batch.patristic is not None and batch.patristic_rows is not None:
        kept = used[batch.patristic_rows]
        changed["patristic_rows"] = place[batch.patristic_rows[kept]]
        changed["patristic"] = batch.patristic[kept][:, kept]
    labels = {f.name: getattr(batch, f.name)[rows] for f in dataclasses.fields(batch) if f.name not in BATCH_FIELDS}
    fields: dict[str, Any] = {"sample_ids": [batch.sample_ids[row] for row in rows.tolist()], **changed, **labels}
    return dataclasses.replace(batch, **fields)


def split_batch(batch: B, parts: int) -> list[B]:
    """The batch in so many parts of about equal size, or in single samples if it has fewer."""
    groups = np.array_split(np.array(batch.sample_ids, dtype=object), min(parts, len(batch.sample_ids)))
    return [drop_samples(batch, set(batch.sample_ids).difference(group)) for group in groups]


def keep_masked(batch: Batch, used: Tensor, place: Tensor) -> dict[str, Tensor]:
    """The fields of masked ASVs without those that are not `used` [U]; `place` [U] is the new number of each."""
    kept = used[batch.masked_rows]
    asked = kept[batch.masked_at[:, 0]]
    at = batch.masked_at[asked]
    return {
        "masked_rows": place[batch.masked_rows[kept]],
        "masked_tokens": batch.masked_tokens[kept],
        "masked_at": torch.stack([(kept.cumsum(0) - 1)[at[:, 0]], at[:, 1]], dim=1),
        "masked_bases": batch.masked_bases[asked],
    }
