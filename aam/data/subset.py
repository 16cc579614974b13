"""A batch less some of its samples: as if they had never been drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any, TypeVar

import torch
from torch import Tensor

from aam.data.dataset import Batch
from aam.errors import EmptySampleError

B = TypeVar("B", bound=Batch)
OWN = {field.name for field in dataclasses.fields(Batch)}


def without_samples(batch: B, ids: Collection[str]) -> B:
    """The batch without these samples and without the ASVs that only they carry; unchanged where none of them is in it.

    What is hidden from the others stays hidden. Raises `EmptySampleError` where no sample is left.
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
    changed |= {"asvs": batch.asvs[used], "tokens": batch.tokens[used], **masked(batch, used, place)}
    if batch.unifrac is not None:
        changed["unifrac"] = batch.unifrac[rows][:, rows]
    if batch.faith_pd is not None:
        changed["faith_pd"] = batch.faith_pd[rows]
    if batch.patristic is not None and batch.patristic_rows is not None:
        kept = used[batch.patristic_rows]
        changed["patristic_rows"] = place[batch.patristic_rows[kept]]
        changed["patristic"] = batch.patristic[kept][:, kept]
    labels = {f.name: getattr(batch, f.name)[rows] for f in dataclasses.fields(batch) if f.name not in OWN}
    fields: dict[str, Any] = {"sample_ids": [batch.sample_ids[row] for row in rows.tolist()], **changed, **labels}
    return dataclasses.replace(batch, **fields)


def masked(batch: Batch, used: Tensor, place: Tensor) -> dict[str, Tensor]:
    """The fields of masked ASVs, less those that are not `used` [U]."""
    kept = used[batch.masked_rows]
    asked = kept[batch.masked_at[:, 0]]
    at = batch.masked_at[asked]
    return {
        "masked_rows": place[batch.masked_rows[kept]],
        "masked_tokens": batch.masked_tokens[kept],
        "masked_at": torch.stack([(kept.cumsum(0) - 1)[at[:, 0]], at[:, 1]], dim=1),
        "masked_bases": batch.masked_bases[asked],
    }
