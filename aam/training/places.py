"""Names for the rows of tensors inside a model: the samples and ASVs that they belong to, for reports of faults."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from aam.corpus.dataset import Batch
from aam.health.operations import OUTSIDE
from aam.health.tracing import Place
from aam.models.finetune_model import FinetuneModel
from aam.models.layers import Block
from aam.models.pretrain_model import PretrainModel
from aam.models.sample_encoder import used_slots
from aam.text import name_few

MAX_NAMED_CARRIERS = 3
"""Samples named for an ASV that more of them carry."""
ASV_ENCODER, SAMPLE_ENCODER = "asv_encoder.", "sample_encoder."
WITHIN = "encoder."
AsvIds = Sequence[str] | Mapping[int, str]
"""Ids of ASVs, by column of the table."""


@dataclass(frozen=True)
class Meaning:
    """Meaning of a row name: sample ids and, for an ASV, its column in the table."""

    samples: tuple[str, ...]
    asv: int | None = None


@dataclass(frozen=True)
class Rows:
    """`count` named items, each with `each` consecutive rows of a tensor."""

    count: int
    name: Callable[[int], str]
    each: int = 1


class RowNames:
    """The label of `locate` for a pass over these batches, one after the other; `asv_ids` by column of the table.

    The ASV encoder computes the distinct ASVs of a batch in chunks, then those with masked bases. In the backward pass
    it repeats chunks without stored activations, masked ones first. The sample encoder does the same with samples. If
    the number of rows fits two kinds of items, the rows get no name rather than a wrong one. `meanings` has the
    meaning of each name that was used.
    """

    def __init__(self, batches: Sequence[Batch], asv_ids: AsvIds, model: PretrainModel):
        self.batches, self.asv_ids = batches, asv_ids
        self.meanings: dict[str, Meaning] = {}
        self.encoder, self.samples = model.asv_encoder, model.sample_encoder
        self.positions = model.asv_encoder.positions
        self.device = next(model.parameters()).device
        modules = list(model.named_modules())
        self.twice = {f"{path}.drop" for path, module in modules if isinstance(module, Block)}  # called twice a pass
        self.heads = {module.attention.heads for _, module in modules if isinstance(module, Block)}
        self.passes = [rows for batch in batches for rows in self._passes(batch)]
        self.sample_passes = [rows for batch in batches for rows in self._sample_passes(batch)]

    def __call__(self, place: Place) -> str | None:
        if not place.shape:
            return None
        fitting = [rows for rows in self._candidates(place) if rows.count * rows.each == place.shape[0]]
        return fitting[0].name(place.row // fitting[0].each) if len(fitting) == 1 else None

    def sample(self, batch: Batch, row: int) -> str:
        """Name of a sample of a batch."""
        return self._remember(f"sample {batch.sample_ids[row]}", Meaning((batch.sample_ids[row],)))

    def slot(self, batch: Batch, place: int) -> str:
        """Name of slot `place` of all [B * S]."""
        row, slot = divmod(place, batch.index.shape[1])
        if not batch.valid[row, slot]:
            return f"padding of {self.sample(batch, row)}"
        column = int(batch.asvs[batch.index[row, slot]])
        name = f"ASV {self.asv_ids[column]} of {self.sample(batch, row)}"
        return self._remember(name, Meaning((batch.sample_ids[row],), column))

    def asv(self, batch: Batch, distinct: int) -> str:
        """Name of a distinct ASV, with the samples that carry it; behind these, of a reference tip."""
        if distinct >= len(batch.asvs):
            assert batch.reference_tips is not None
            tip = int(batch.reference_tips[distinct - len(batch.asvs)])
            return self._remember(f"tip {tip} of the reference", Meaning(()))
        carriers = ((batch.index == distinct) & batch.valid).any(dim=1).nonzero().flatten().tolist()
        samples, column = [batch.sample_ids[row] for row in carriers], int(batch.asvs[distinct])
        name = f"ASV {self.asv_ids[column]} of {name_few(samples, MAX_NAMED_CARRIERS) or 'no sample'}"
        return self._remember(name, Meaning(tuple(samples), column))

    def _remember(self, name: str, meaning: Meaning) -> str:
        self.meanings[name] = meaning
        return name

    def _passes(self, batch: Batch) -> list[Rows]:
        """The rows of each pass through the ASV encoder, in order."""
        distinct, again = self._chunks(batch, *encoded_rows(batch))
        masked, masked_again = self._chunks(batch, *masked_rows(batch))
        return [*distinct, *masked, *masked_again, *again]

    def _chunks(self, batch: Batch, rows: Tensor, tokens: Tensor) -> tuple[list[Rows], list[Rows]]:
        """The chunks of tokens [n, L] of these distinct ASVs, and those that the backward pass encodes again."""
        plan = self.encoder.plan(tokens.to(self.device))
        found = [self._named(batch, rows[some.cpu()]) for some in plan.chunks]
        return found, found[plan.kept :] if torch.is_grad_enabled() else []

    def _sample_passes(self, batch: Batch) -> list[list[Rows]]:
        """Possible meanings of the rows of each pass through the sample encoder, in order."""
        valid = batch.valid & ~batch.hidden
        plan = self.samples.plan(valid.to(self.device))
        found = []
        for rows in plan.chunks:
            width = max(used_slots(valid[rows.cpu()].to(self.device)))
            sample, slot = partial(self._chunk_sample, batch, rows), partial(self._chunk_slot, batch, rows, width)
            heads = [Rows(len(rows), sample, each) for each in self.heads]
            found.append([Rows(len(rows), sample), Rows(len(rows) * width, slot), *heads])
        return found + (found[plan.kept :] if torch.is_grad_enabled() else [])

    def _chunk_sample(self, batch: Batch, rows: Tensor, row: int) -> str:
        return self.sample(batch, int(rows[row]))

    def _chunk_slot(self, batch: Batch, rows: Tensor, width: int, place: int) -> str:
        row, slot = divmod(place, width)
        return self.slot(batch, int(rows[row]) * batch.index.shape[1] + slot)

    def _named(self, batch: Batch, rows: Tensor) -> Rows:
        return Rows(len(rows), lambda row: self.asv(batch, int(rows[row])))

    def _candidates(self, place: Place) -> list[Rows]:
        """What the rows of tensors in this call of this module can be."""
        path = place.module
        number = place.call // 2 if path in self.twice else place.call
        if path.startswith(ASV_ENCODER) and path != f"{ASV_ENCODER}nucleotide_head":
            sizes = {1, self.positions, *self.heads}
            return [Rows(rows.count, rows.name, each) for rows in self.passes[number : number + 1] for each in sizes]
        if path.startswith(SAMPLE_ENCODER):
            return [rows for kinds in self.sample_passes[number : number + 1] for rows in kinds]
        uncounted = path == OUTSIDE and len(self.batches) > 1  # of the losses, say, nobody counts the calls
        if number >= len(self.batches) or uncounted:
            return []
        batch = self.batches[number]
        samples, slots = batch.index.shape
        sample, slot = partial(self.sample, batch), partial(self.slot, batch)
        found = [Rows(samples, sample), Rows(samples * slots, slot)]
        asked = batch.masked_rows[batch.masked_at[:, 0]]
        kinds = [torch.arange(len(batch.asvs)), asked]
        if batch.reference_masked_rows is not None and batch.reference_masked_at is not None:
            tips = encoded_rows(batch)[0][len(batch.asvs) :]
            asked_tips = tips[batch.reference_masked_rows[batch.reference_masked_at[:, 0]]]
            kinds += [tips, asked_tips, torch.cat([asked, asked_tips])]
        return [*found, *(self._named(batch, rows) for rows in kinds)]


def encoded_rows(batch: Batch) -> tuple[Tensor, Tensor]:
    """Numbers and tokens of what the ASV encoder reads of a batch: its distinct ASVs, then its reference tips."""
    if batch.reference_tokens is None:
        return torch.arange(len(batch.asvs)), batch.tokens
    tokens = torch.cat([batch.tokens, batch.reference_tokens])
    return torch.arange(len(tokens)), tokens


def masked_rows(batch: Batch) -> tuple[Tensor, Tensor]:
    """As `encoded_rows`, of those that it also reads with masked bases."""
    if batch.reference_masked_rows is None or batch.reference_masked_tokens is None:
        return batch.masked_rows, batch.masked_tokens
    rows = torch.cat([batch.masked_rows, len(batch.asvs) + batch.reference_masked_rows])
    return rows, torch.cat([batch.masked_tokens, batch.reference_masked_tokens])


class TargetRowNames(RowNames):
    """The label of `locate` for a pass of a fine-tuned model; see `RowNames`.

    Its encoder computes distinct ASVs only, without masked bases. Rows in the head and the losses are samples, repeated
    for each member of the head.
    """

    def __init__(self, batches: Sequence[Batch], asv_ids: AsvIds, model: FinetuneModel):
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
