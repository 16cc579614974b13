"""What the checks before a fine-tuning have to know of it: right answers, wrong ones, and what is not trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from aam.config import NUMERIC_TASKS, FinetuneConfig, OptimConfig
from aam.data.labelled import LabelledBatch
from aam.health.trial import Head
from aam.models.finetune_model import FinetuneModel, TargetOutput
from aam.models.target_head import output_sizes
from aam.training.finetune import rated_groups
from aam.training.muon import MuonAdamW
from aam.training.optim import optimizer_of
from aam.training.probes import SURE

UNASKED = frozenset({"encoder.sample_encoder.unknown", "encoder.asv_encoder.prior.weight"})
"""What only pretraining asks for: it stands for hidden counts, and for the frequencies of bases."""


@dataclass(frozen=True)
class TargetProbes:
    """Probes of a run of `aam train`; see `aam.training.probes.Probes`."""

    config: FinetuneConfig

    def optimizer(self, model: FinetuneModel, optim: OptimConfig) -> MuonAdamW:
        """All layers at full rate: three updates at a thousandth of it would not move a weight by its last bit."""
        groups = rated_groups(model, self.config, self.config.head.pretrained is not None)
        return optimizer_of([{**group, "scale": 1.0} for group in groups], model, optim)

    def seen(self, output: TargetOutput, batch: LabelledBatch) -> TargetOutput:
        return output

    def perfect(self, batch: LabelledBatch) -> TargetOutput:
        """What a head of one member would put out that knows the labels."""
        _, width = output_sizes(self.config)
        if self.config.target.task in NUMERIC_TASKS:
            answers = batch.numbers[..., None].expand(-1, -1, width)
        else:
            answers = SURE * F.one_hot(batch.classes.clamp_min(0), width).float()[:, None]
        return TargetOutput(answers[None], answers, answers)

    def shuffled(self, batch: LabelledBatch) -> LabelledBatch:
        """The batch with the labels of other samples."""
        order = torch.randperm(len(batch.classes), generator=torch.Generator().manual_seed(0))
        labels: dict[str, Any] = {name: getattr(batch, name)[order] for name in ("numbers", "known", "classes")}
        return dataclasses.replace(batch, **labels)

    def heads(self, output: TargetOutput, batch: LabelledBatch, first: LabelledBatch) -> Mapping[str, Head]:
        """None: with few samples and rare classes, what chance would score is too uncertain to compare with."""
        return {}

    def idle(self, model: Any, batches: Sequence[LabelledBatch]) -> frozenset[str]:
        """Parameters that are fixed on purpose, that no label reaches, or that are empty."""
        fixed = {id(parameter) for part in model.fixed for parameter in part.parameters()}
        return frozenset(
            name
            for name, parameter in model.named_parameters()
            if id(parameter) in fixed or parameter.numel() == 0 or name in UNASKED
        )
