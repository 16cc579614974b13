"""Objectives: model inputs and losses of pretraining and of fine-tuning.

Losses of fine-tuning are errors of numbers, quantiles and classes, each a dimensionless scalar on the learned scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from aam.config import NUMERIC_TASKS, LossConfig, TargetConfig
from aam.corpus.batches import LabelledBatch
from aam.corpus.dataset import Batch
from aam.errors import ConfigError
from aam.models.finetune_model import FinetuneModel, TargetInputs, TargetOutput
from aam.models.pretrain_model import PretrainInputs, PretrainModel, PretrainOutput
from aam.training.losses import Losses, TargetScale, pretrain_losses
from aam.training.places import AsvIds, RowNames, TargetRowNames

DEFAULTS = {
    "regression": "huber",
    "quantiles": "pinball",
    "classification": "cross-entropy",
    "ordinal": "cross-entropy",
}
BEND = 0.2
"""Errors beyond this many deviations of the target grow linearly. On one infant study that is worth 3 % of the error
against a bend at 1, which is nearly a squared error: labels hold gross errors."""
ALLOWED = {
    "regression": ("huber", "mse", "mae", "asymmetric"),
    "quantiles": ("pinball",),
    "classification": ("cross-entropy",),
    "ordinal": ("cross-entropy",),
}


class Objective(Protocol):
    """Inputs and losses of a run; batches are on the model's device, outputs are dataclasses of tensors or None."""

    def inputs(self, batch: Any) -> Any:
        """Model inputs of a batch: the argument of `forward`."""

    def losses(self, output: Any, batch: Any) -> Losses:
        """Loss terms of an output; reads nothing from the device."""

    def targets(self, batch: Any) -> list[tuple[str, Tensor | None]]:
        """Targets by name; searched for bad values if a loss is not finite."""

    def row_names(self, batches: Sequence[Any], asv_ids: AsvIds, model: Any) -> RowNames:
        """Labels for the rows of tensors in a pass of these batches, for fault reports."""

    def extra_state(self, model: Any) -> dict[str, Any]:
        """Inputs of a step that are neither weights nor options, for a bundle."""


@dataclass(frozen=True)
class PretrainObjective:
    """Masked nucleotides, UniFrac, tree distances, hidden ASVs, counts and Faith PD."""

    weights: LossConfig
    scale: TargetScale

    def inputs(self, batch: Batch) -> PretrainInputs:
        return model_inputs(batch)

    def losses(self, output: PretrainOutput, batch: Batch) -> Losses:
        return pretrain_losses(output, batch, self.weights, self.scale)

    def targets(self, batch: Batch) -> list[tuple[str, Tensor | None]]:
        return [
            ("unifrac_true", batch.unifrac),
            ("faith_pd_true", batch.faith_pd),
            ("patristic_true", batch.patristic),
            ("reference_patristic_true", batch.reference_patristic),
        ]

    def row_names(self, batches: Sequence[Batch], asv_ids: AsvIds, model: PretrainModel) -> RowNames:
        return RowNames(batches, asv_ids, model)

    def extra_state(self, model: PretrainModel) -> dict[str, Any]:
        return {"scale": vars(self.scale)}


def model_inputs(batch: Batch) -> PretrainInputs:
    """Model inputs of a batch in pretraining."""
    return PretrainInputs(
        tokens=batch.tokens,
        index=batch.index,
        valid=batch.valid,
        abundance=batch.abundance,
        seen=~batch.hidden,
        counted=~batch.uncounted,
        masked_tokens=batch.masked_tokens,
        masked_at=batch.masked_at,
        patristic_rows=batch.patristic_rows,
        reference_tokens=batch.reference_tokens,
        reference_masked_tokens=batch.reference_masked_tokens,
        reference_masked_at=batch.reference_masked_at,
    )


def loss_name(config: TargetConfig) -> str:
    """Name of the loss of a task; raises ConfigError for a loss that does not suit the task."""
    name = DEFAULTS[config.task] if config.loss == "auto" else config.loss
    if name not in ALLOWED[config.task]:
        raise ConfigError(
            f"--loss {name} cannot score --task {config.task}; use {' or '.join(ALLOWED[config.task])}, or leave it out"
        )
    if any(low >= high for low, high in zip(config.quantiles, config.quantiles[1:], strict=False)):
        raise ConfigError(f"--quantiles {' '.join(map(str, config.quantiles))}: expected rising numbers")
    return name


@dataclass(frozen=True)
class TargetObjective:
    """Prediction of labels; `class_weights` [C] multiply the losses of samples by class."""

    config: TargetConfig
    class_weights: Tensor | None

    def inputs(self, batch: LabelledBatch) -> TargetInputs:
        return TargetInputs(**batch.seen())

    def losses(self, output: TargetOutput, batch: LabelledBatch) -> Losses:
        members = output.members
        labels = [
            values.repeat(len(members), *(1,) * (values.dim() - 1))
            for values in (batch.numbers, batch.known, batch.classes)
        ]
        return self.score(members.flatten(0, 1).float(), *labels)

    def score(self, predicted: Tensor, numbers: Tensor, known: Tensor, classes: Tensor) -> Losses:
        """Loss of each target and their mean: predicted [N, O, Q], numbers and which are known [N, O], classes [N]."""
        if self.config.task not in NUMERIC_TASKS:
            terms = {self.config.target[0]: class_loss(predicted[:, 0], classes, self.class_weights)}
        else:
            errors = number_losses(predicted, numbers, self.config) * known
            means = errors.sum(dim=0) / known.sum(dim=0).clamp_min(1)
            terms = dict(zip(self.config.target, means, strict=True))
        return Losses(terms, torch.stack(list(terms.values())).mean())

    def targets(self, batch: LabelledBatch) -> list[tuple[str, Tensor | None]]:
        return [("target_true", batch.numbers), ("covariates", batch.numeric)]

    def row_names(self, batches: Sequence[LabelledBatch], asv_ids: AsvIds, model: FinetuneModel) -> RowNames:
        return TargetRowNames(batches, asv_ids, model)

    def extra_state(self, model: FinetuneModel) -> dict[str, Any]:
        return {"identity": model.identity, "embedded": model.embedded, "class_weights": self.class_weights}


def class_loss(logits: Tensor, classes: Tensor, weights: Tensor | None) -> Tensor:
    """Weighted cross-entropy of logits [B, C] in nats; ignores samples without a class (-1); 0 if none has one."""
    each = F.cross_entropy(logits, classes, reduction="none", ignore_index=-1)
    if weights is None:
        return each.sum() / (classes >= 0).sum().clamp_min(1)
    weight = torch.where(classes >= 0, weights[classes.clamp_min(0)], 0.0)
    return (each * weight).sum() / weight.sum().clamp_min(1e-6)


def number_losses(predicted: Tensor, true: Tensor, config: TargetConfig) -> Tensor:
    """Loss of each sample and target: predicted [B, T, Q], true [B, T] -> [B, T]."""
    name = loss_name(config)
    if name == "pinball":
        return pinball_loss(predicted, true, config.quantiles)
    error = predicted[..., 0] - true
    if name == "mse":
        return error.square()
    if name == "huber":
        return F.huber_loss(predicted[..., 0], true, reduction="none", delta=BEND) / BEND
    if name == "mae":
        return error.abs()
    return config.over_penalty * error.clamp_min(0) - config.under_penalty * error.clamp_max(0)


def pinball_loss(predicted: Tensor, true: Tensor, quantiles: tuple[float, ...]) -> Tensor:
    """Mean pinball loss over quantiles: predicted [B, T, Q], true [B, T] -> [B, T] (Koenker and Bassett 1978)."""
    level = torch.tensor(quantiles, device=predicted.device)
    short = true[..., None] - predicted
    return torch.maximum(level * short, (level - 1) * short).mean(dim=-1)


def balanced_weights(classes: Tensor, count: int) -> Tensor:
    """Class weights [C] that give each class of the training labels [N] the same total weight; 0 for empty classes."""
    members = torch.bincount(classes[classes >= 0], minlength=count).float()
    return torch.where(members > 0, members.sum() / (members.clamp_min(1) * (members > 0).sum()), 0.0)
