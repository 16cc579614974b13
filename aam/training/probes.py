"""Batches and outputs changed on purpose, for preflight checks: right answers, wrong targets, junk in padding."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from aam import vocab
from aam.data.dataset import Batch
from aam.models.pretrain_model import PretrainOutput
from aam.models.sample_encoder import log_abundance

SURE = 20.0
"""Logit of a right answer."""


def masked(output: PretrainOutput, batch: Batch) -> PretrainOutput:
    """An output with zeros at slots that are padding, which nobody reads."""
    valid = batch.valid.to(output.hidden_abundance.device)
    known = {name: torch.where(valid, getattr(output, name), 0.0) for name in ("hidden_abundance", "slot_abundance")}
    return dataclasses.replace(output, **known)


def perfect(batch: Batch) -> PretrainOutput:
    """What a model would put out that knows the answers."""
    amounts = log_abundance(batch.abundance)
    members = torch.zeros(len(batch.sample_ids), len(batch.asvs), device=amounts.device)
    members.scatter_add_(1, batch.index, batch.valid.float())
    return PretrainOutput(
        nucleotides=SURE * torch.nn.functional.one_hot(batch.masked_bases, vocab.OUTPUT_SIZE).float(),
        unifrac=batch.unifrac,
        euclidean=batch.unifrac,
        patristic=batch.patristic,
        membership=SURE * (2 * (members > 0).float() - 1),
        hidden_abundance=amounts,
        slot_abundance=amounts,
        faith_pd=torch.zeros(len(members)) if batch.faith_pd is None else batch.faith_pd.clamp_min(1e-9).log(),
        asvs=members,
        samples=members,
    )


def shuffled(batch: Batch) -> Batch:
    """The batch with the targets of other samples, ASVs and bases."""
    random = torch.Generator().manual_seed(0)

    def mixed(values: Tensor | None) -> Tensor | None:
        """Rows, and columns of a square, in another order."""
        if values is None:
            return None
        order = torch.randperm(len(values), generator=random)
        return values[order][:, order] if values.dim() == 2 else values[order]

    changed: dict[str, Any] = {
        name: mixed(getattr(batch, name)) for name in ("unifrac", "faith_pd", "patristic", "masked_bases")
    }
    return dataclasses.replace(batch, **changed)


def junk(batch: Batch) -> Batch:
    """The batch with other values in all padding of its samples."""
    counts = torch.where(batch.valid, batch.counts, 1e3)
    index = torch.where(batch.valid, batch.index, len(batch.asvs) - 1)
    return dataclasses.replace(batch, counts=counts, index=index)
