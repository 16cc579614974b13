"""The model of `aam train`: the encoders of pretraining with a target head on top."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aam.config import FinetuneConfig
from aam.models.pretrain_model import PretrainModel
from aam.models.target_head import SampleView, TargetHead, sample_features


@dataclass(frozen=True)
class TargetInputs:
    """Tensors of one batch that the model may see; `columns` [U] are the ASVs' places in the table."""

    columns: Tensor
    tokens: Tensor
    index: Tensor
    valid: Tensor
    abundance: Tensor
    numeric: Tensor
    categories: Tensor


@dataclass(frozen=True)
class TargetOutput:
    """`prediction` [B, O, Q] as the head gives it, and the embeddings `asvs` [U, D], `samples` [B, D] behind it."""

    prediction: Tensor
    asvs: Tensor
    samples: Tensor


class FinetuneModel(nn.Module):
    """An encoder, frozen, partly frozen or free, and a head.

    With a frozen ASV encoder, `embedded` [A, D] may hold the embeddings of a table's ASVs, made once; it is no part of
    the weights, and whoever sets it answers for its belonging to the table that the batches come from.
    """

    def __init__(self, config: FinetuneConfig):
        super().__init__()
        self.encoder = PretrainModel(config.model)
        self.head = TargetHead(config)
        self.embedded: Tensor | None = None
        self.fixed = frozen_parts(self.encoder, config)
        for part in self.fixed:
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> FinetuneModel:
        """As usual, but frozen parts stay in evaluation mode: their dropout is no regularisation of anything."""
        super().train(mode)
        for part in self.fixed:
            part.eval()
        return self

    def forward(self, inputs: TargetInputs) -> TargetOutput:
        view = self.view(inputs)
        return TargetOutput(self.head(view, self.encoder.latent_tree), view.asvs, view.samples)

    def view(self, inputs: TargetInputs) -> SampleView:
        """What the head reads of these inputs."""
        asvs = self.encoder.asv_encoder.embed(inputs.tokens) if self.embedded is None else self.embedded[inputs.columns]
        encoded = self.encoder.encode_samples(asvs, inputs.index, inputs.valid, inputs.abundance)
        return SampleView(
            asvs, encoded.embeddings, inputs.index, inputs.valid, inputs.abundance, inputs.numeric, inputs.categories
        )

    @torch.no_grad()
    def features(self, inputs: TargetInputs) -> Tensor:
        """Unscaled features of the head [B, F], for its calibration."""
        return sample_features(self.view(inputs), self.encoder.latent_tree)


def frozen_parts(encoder: PretrainModel, config: FinetuneConfig) -> list[nn.Module]:
    """The modules that do not learn; those that no label reaches (the heads of pretraining) are always among them."""
    idle = [encoder.euclidean, encoder.hidden_asvs, encoder.scalars, encoder.asv_encoder.nucleotide_head]
    if config.head.freeze:
        return [encoder]
    parts = [part for part in idle if part is not None]
    return [*parts, encoder.asv_encoder] if config.head.freeze_asvs else parts
