"""Batches and outputs changed on purpose, for preflight checks: right answers, wrong targets, junk in padding.

The checks know a run by its `Probes`: here those of pretraining, in `aam.training.target_probes` those of fine-tuning.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from aam import vocab
from aam.config import LossConfig, OptimConfig
from aam.data.dataset import Batch
from aam.health.trial import Head
from aam.models.chunked_encoder import log_frequencies
from aam.models.pretrain_model import PretrainModel, PretrainOutput
from aam.models.sample_encoder import log_abundance
from aam.training.losses import log_faith_pd
from aam.training.muon import MuonAdamW
from aam.training.optim import build_optimizer

SURE = 20.0
"""Logit of a right answer."""
BASES = frozenset((vocab.A, vocab.C, vocab.G, vocab.T))


class Probes(Protocol):
    """What the checks before a run have to know of its kind; batches, models and outputs are those of that kind."""

    def optimizer(self, model: Any, optim: OptimConfig) -> MuonAdamW:
        """A fresh optimiser of a model."""

    def seen(self, output: Any, batch: Any) -> Any:
        """The output without what nobody reads."""

    def perfect(self, batch: Any) -> Any:
        """What a model would put out that knows the answers."""

    def shuffled(self, batch: Any) -> Any:
        """The batch with the targets of others."""

    def heads(self, output: Any, batch: Any, first: Any) -> Mapping[str, Head]:
        """Heads that are to start at what chance scores, by the frequencies of the `first` batch."""

    def idle(self, model: Any, batches: Sequence[Any]) -> frozenset[str]:
        """Parameters that these batches do not train, on purpose."""


@dataclass(frozen=True)
class PretrainProbes:
    """Probes of a pretraining with these weights of the losses."""

    loss: LossConfig

    def optimizer(self, model: PretrainModel, optim: OptimConfig) -> MuonAdamW:
        return build_optimizer(model, optim)

    def seen(self, output: PretrainOutput, batch: Batch) -> PretrainOutput:
        """An output with zeros at slots that are padding, which nobody reads."""
        valid = batch.valid.to(output.hidden_abundance.device)
        known = {
            name: torch.where(valid, getattr(output, name), 0.0) for name in ("hidden_abundance", "slot_abundance")
        }
        return dataclasses.replace(output, **known)

    def perfect(self, batch: Batch) -> PretrainOutput:
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
            faith_pd=torch.zeros(len(members)) if batch.faith_pd is None else log_faith_pd(batch.faith_pd),
            asvs=members,
            samples=members,
        )

    def shuffled(self, batch: Batch) -> Batch:
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

    def heads(self, output: PretrainOutput, batch: Batch, first: Batch) -> Mapping[str, Head]:
        """The nucleotide head, which starts from the frequency of each base at its position."""
        if len(batch.masked_bases) == 0:
            return {}
        prior = log_frequencies(first.tokens)[batch.masked_at[:, 1]]
        return {"nucleotides": Head(output.nucleotides.detach().cpu(), batch.masked_bases, BASES, prior)}

    def idle(self, model: PretrainModel, batches: Sequence[Batch]) -> frozenset[str]:
        """Parameters that no loss term of these batches reaches, because of its weight or because nothing is asked."""
        first, loss = batches[0], self.loss
        hidden, uncounted = (any(bool(getattr(b, n).any()) for b in batches) for n in ("hidden", "uncounted"))
        distances = first.patristic is not None and loss.patristic_weight > 0
        unifrac = first.unifrac is not None
        used = {
            "asv_encoder.nucleotide_head": loss.nucleotide_weight > 0 and len(first.masked_bases) > 0,
            "asv_encoder.prior": loss.nucleotide_weight > 0 and len(first.masked_bases) > 0,
            "latent_tree": distances or (unifrac and loss.unifrac_weight > 0),
            "latent_tree.log_scale": distances,
            "euclidean": unifrac and loss.euclidean_weight > 0,
            "hidden_asvs.sample": hidden and loss.masked_asv_weight > 0,
            "hidden_asvs.asv": hidden and loss.masked_asv_weight > 0,
            "hidden_asvs.rare": hidden and loss.masked_asv_weight > 0,
            "hidden_asvs.amount": hidden and loss.count_weight > 0,
            "scalars.amount": uncounted and loss.count_weight > 0,
            "scalars.pd": first.faith_pd is not None and loss.faith_pd_weight > 0,
            "sample_encoder.unknown": uncounted,
        }
        off = [module for module, on in used.items() if not on]
        # "hidden_asvs.amount" stands for amount, amount_asv and amount_sample.
        return frozenset(name for name, _ in model.named_parameters() if any(name.startswith(module) for module in off))


def junk(batch: Batch) -> Batch:
    """The batch with other values in all padding of its samples."""
    counts = torch.where(batch.valid, batch.counts, 1e3)
    index = torch.where(batch.valid, batch.index, len(batch.asvs) - 1)
    return dataclasses.replace(batch, counts=counts, index=index)
