"""Rows of tensors inside a fine-tuned model: those of its encoder as in pretraining, those of its head by sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial

import torch

from aam.data.dataset import Batch
from aam.health.describe import Place
from aam.models.finetune_model import FinetuneModel
from aam.training.places import RowNames, Rows

WITHIN = "encoder."


class TargetRowNames(RowNames):
    """The label of `locate` for a pass of a fine-tuned model; see `RowNames`.

    Its encoder sees distinct ASVs alone, none with masked bases. The head and the losses hold samples, and all of them
    once for each member of the head, one member after the other.
    """

    def __init__(self, batches: Sequence[Batch], asv_ids: Sequence[str] | Mapping[int, str], model: FinetuneModel):
        super().__init__(batches, asv_ids, model.encoder)
        self.members = len(model.head.top)

    def _passes(self, batch: Batch) -> list[Rows]:
        found, again = self._chunks(batch, torch.arange(len(batch.asvs)), batch.tokens)
        return [*found, *again]

    def _candidates(self, place: Place) -> list[Rows]:
        if place.module.startswith(WITHIN):
            return super()._candidates(dataclasses.replace(place, module=place.module.removeprefix(WITHIN)))
        if len(self.batches) > 1:
            return []
        batch = self.batches[0]
        samples, sample = len(batch.sample_ids), partial(self.sample, batch)
        found = [
            Rows(self.members * samples, lambda row: sample(row % samples)),
            self._named(batch, torch.arange(len(batch.asvs))),
        ]
        # As many members as samples: the first axis could be either.
        return found if self.members == samples else [*found, Rows(samples, sample)]
