"""What the preflight checks need from each kind of run: perfect and shuffled targets, and untrained parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from aam import vocab
from aam.config import NUMERIC_TASKS, FinetuneConfig, LossConfig, OptimConfig
from aam.corpus.batches import LabelledBatch
from aam.corpus.dataset import Batch
from aam.health.trial import Head
from aam.models.chunked_encoder import log_frequencies
from aam.models.finetune_model import FinetuneModel, TargetOutput
from aam.models.pretrain_model import PretrainModel, PretrainOutput
from aam.models.sample_encoder import log_abundance
from aam.models.target_head import output_sizes
from aam.training.finetune import groups_with_rates
from aam.training.losses import log_faith_pd
from aam.training.optim import MuonAdamW, build_optimizer, optimizer_for_groups

SURE = 20.0
"""Logit of a right answer."""
BASE_TOKENS = frozenset((vocab.A, vocab.C, vocab.G, vocab.T))
PRETRAINING_ONLY = frozenset({"encoder.sample_encoder.unknown", "encoder.asv_encoder.prior.weight"})
"""Parameters of the encoder that only pretraining uses: the state of hidden counts, the frequencies of bases."""


class Probes(Protocol):
    """What the preflight checks need from one kind of run; batches, models and outputs are those of that kind."""

    def optimizer(self, model: Any, optim: OptimConfig) -> MuonAdamW:
        """A fresh optimiser of a model."""

    def zero_padding(self, output: Any, batch: Any) -> Any:
        """The output with zeros at slots that are padding, which no loss reads."""

    def perfect_output(self, batch: Any) -> Any:
        """The output of a perfect model, built from the targets of the batch."""

    def shuffle_targets(self, batch: Any) -> Any:
        """The batch with the targets of other samples."""

    def heads(self, output: Any, batch: Any, first: Any) -> Mapping[str, Head]:
        """Heads whose initial loss must be that of chance, given the frequencies of the `first` batch."""

    def untrained_parameters(self, model: Any, batches: Sequence[Any]) -> frozenset[str]:
        """Names of parameters that these batches do not train, on purpose."""


@dataclass(frozen=True)
class PretrainProbes:
    """Probes of a pretraining with these weights of the losses."""

    loss: LossConfig

    def optimizer(self, model: PretrainModel, optim: OptimConfig) -> MuonAdamW:
        return build_optimizer(model, optim)

    def zero_padding(self, output: PretrainOutput, batch: Batch) -> PretrainOutput:
        """The output with zeros at slots that are padding, which no loss reads."""
        valid = batch.valid.to(output.hidden_abundance.device)
        known = {
            name: torch.where(valid, getattr(output, name), 0.0) for name in ("hidden_abundance", "slot_abundance")
        }
        return dataclasses.replace(output, **known)

    def perfect_output(self, batch: Batch) -> PretrainOutput:
        """The output of a perfect model, built from the targets of the batch."""
        amounts = log_abundance(batch.abundance)
        members = torch.zeros(len(batch.sample_ids), len(batch.asvs), device=amounts.device)
        members.scatter_add_(1, batch.index, batch.valid.float())
        hidden_in_tips = batch.reference_masked_bases
        return PretrainOutput(
            nucleotides=sure_logits(batch.masked_bases),
            unifrac=batch.unifrac,
            euclidean=batch.unifrac,
            patristic=batch.patristic,
            membership=SURE * (2 * (members > 0).float() - 1),
            hidden_abundance=amounts,
            slot_abundance=amounts,
            faith_pd=torch.zeros(len(members)) if batch.faith_pd is None else log_faith_pd(batch.faith_pd),
            asvs=members,
            samples=members,
            reference_nucleotides=None if hidden_in_tips is None else sure_logits(hidden_in_tips),
            reference_patristic=batch.reference_patristic,
        )

    def shuffle_targets(self, batch: Batch) -> Batch:
        """The batch with the targets of other samples, ASVs and bases."""
        random = torch.Generator().manual_seed(0)

        def permute(values: Tensor | None) -> Tensor | None:
            """Permute the rows and, of a square matrix, also the columns."""
            if values is None:
                return None
            order = torch.randperm(len(values), generator=random)
            return values[order][:, order] if values.dim() == 2 else values[order]

        changed: dict[str, Any] = {
            name: permute(getattr(batch, name))
            for name in (
                *("unifrac", "faith_pd", "patristic", "masked_bases"),
                *("reference_patristic", "reference_masked_bases"),
            )
        }
        return dataclasses.replace(batch, **changed)

    def heads(self, output: PretrainOutput, batch: Batch, first: Batch) -> Mapping[str, Head]:
        """The nucleotide head, which starts from the frequency of each base at its position."""
        if len(batch.masked_bases) == 0:
            return {}
        prior = log_frequencies(first.tokens)[batch.masked_at[:, 1]]
        return {"nucleotides": Head(output.nucleotides.detach().cpu(), batch.masked_bases, BASE_TOKENS, prior)}

    def untrained_parameters(self, model: PretrainModel, batches: Sequence[Batch]) -> frozenset[str]:
        """Parameters that no loss term reaches: the weight of the term is 0, or the batches have no target for it."""
        first, loss = batches[0], self.loss
        hidden, uncounted = (any(bool(getattr(b, n).any()) for b in batches) for n in ("hidden", "uncounted"))
        distances = first.patristic is not None and loss.patristic_weight > 0
        tips = first.reference_patristic is not None and loss.reference_patristic_weight > 0
        bases = first.reference_masked_bases is not None and loss.reference_nucleotide_weight > 0
        bases |= loss.nucleotide_weight > 0 and len(first.masked_bases) > 0
        scaled = tips or (distances and (first.reference_patristic is None or loss.same_scale))
        unifrac = first.unifrac is not None
        used = {
            "asv_encoder.nucleotide_head": bases,
            "asv_encoder.prior": bases,
            "latent_tree": distances or tips or (unifrac and loss.unifrac_weight > 0),
            "latent_tree.log_scale": scaled,
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


def sure_logits(bases: Tensor) -> Tensor:
    """Logits [T, 6] that are sure of these bases [T]."""
    return SURE * F.one_hot(bases, vocab.OUTPUT_SIZE).float()


def fill_padding(batch: Batch) -> Batch:
    """The batch with other values in all padding of its samples."""
    counts = torch.where(batch.valid, batch.counts, 1e3)
    index = torch.where(batch.valid, batch.index, len(batch.asvs) - 1)
    return dataclasses.replace(batch, counts=counts, index=index)


@dataclass(frozen=True)
class TargetProbes:
    """Probes of a run of `aam train`; see `aam.training.probes.Probes`."""

    config: FinetuneConfig

    def optimizer(self, model: FinetuneModel, optim: OptimConfig) -> MuonAdamW:
        """All layers at full learning rate: updates at a thousandth of it could be too small to change a weight."""
        groups = groups_with_rates(model, self.config, self.config.head.pretrained is not None)
        return optimizer_for_groups([{**group, "scale": 1.0} for group in groups], model, optim)

    def zero_padding(self, output: TargetOutput, batch: LabelledBatch) -> TargetOutput:
        return output

    def perfect_output(self, batch: LabelledBatch) -> TargetOutput:
        """The output of a head of one member that knows the labels."""
        _, width = output_sizes(self.config)
        if self.config.target.task in NUMERIC_TASKS:
            answers = batch.numbers[..., None].expand(-1, -1, width)
        else:
            answers = SURE * F.one_hot(batch.classes.clamp_min(0), width).float()[:, None]
        return TargetOutput(answers[None], answers, answers)

    def shuffle_targets(self, batch: LabelledBatch) -> LabelledBatch:
        """The batch with the labels of other samples."""
        order = torch.randperm(len(batch.classes), generator=torch.Generator().manual_seed(0))
        labels: dict[str, Any] = {name: getattr(batch, name)[order] for name in ("numbers", "known", "classes")}
        return dataclasses.replace(batch, **labels)

    def heads(self, output: TargetOutput, batch: LabelledBatch, first: LabelledBatch) -> Mapping[str, Head]:
        """No heads: with few samples and rare classes the loss of chance is too uncertain."""
        return {}

    def untrained_parameters(self, model: Any, batches: Sequence[LabelledBatch]) -> frozenset[str]:
        """Parameters that are frozen, that labels do not reach, or that are empty."""
        fixed = {id(parameter) for part in model.fixed for parameter in part.parameters()}
        return frozenset(
            name
            for name, parameter in model.named_parameters()
            if id(parameter) in fixed or parameter.numel() == 0 or name in PRETRAINING_ONLY
        )
