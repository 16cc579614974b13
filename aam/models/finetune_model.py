"""The model of `aam train`: the encoders of pretraining with a target head on top."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
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
    """`members` [M, B, O, Q] as the head gives them, and the embeddings `asvs` [U, D], `samples` [B, D] behind them."""

    members: Tensor
    asvs: Tensor
    samples: Tensor


class FinetuneModel(nn.Module):
    """An encoder, frozen, partly frozen or free, and a head; `open_table` tells it which table batches come from.

    With a frozen ASV encoder, `embedded` [A, D] may hold the embeddings of that table's ASVs, made once; it is no part
    of the weights. `known` [identities, L] are the tokens of the ASVs that the head knows as themselves.
    """

    def __init__(self, config: FinetuneConfig):
        super().__init__()
        self.encoder = PretrainModel(config.model)
        self.head = TargetHead(config)
        self.known: Tensor
        self.register_buffer("known", torch.zeros(config.schema.identities, 1 + config.model.max_bp, dtype=torch.uint8))
        self.identity: Tensor | None = None
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

    def open_table(self, tokens: NDArray[np.uint8], embedded: Tensor | None) -> None:
        """Expect batches of a table: its ASVs' tokens [A, L], and their embeddings [A, D] where these are at hand."""
        place = {strip_padding(row): number for number, row in enumerate(self.known.cpu().numpy())}
        found = np.array([place.get(strip_padding(row), -1) for row in tokens], np.int64)
        self.identity, self.embedded = torch.from_numpy(found).to(self.known.device), embedded

    @torch.no_grad()
    def learn_identities(self, tokens: NDArray[np.uint8]) -> None:
        """Know these ASVs, tokens [identities, L], as themselves from now on."""
        self.known.zero_()
        self.known[:, : tokens.shape[1]] = torch.from_numpy(tokens)

    def forward(self, inputs: TargetInputs) -> TargetOutput:
        view = self.view(inputs)
        return TargetOutput(self.head(view), view.asvs, view.samples)

    def view(self, inputs: TargetInputs) -> SampleView:
        """What the head reads of these inputs; raises RuntimeError where no table was opened."""
        if self.identity is None:
            raise RuntimeError("open_table was not called: the model does not know which ASVs the batch is made of")
        asvs = self.encoder.asv_encoder.embed(inputs.tokens) if self.embedded is None else self.embedded[inputs.columns]
        encoded = self.encoder.encode_samples(asvs, inputs.index, inputs.valid, inputs.abundance)
        identity, slots = self.identity[inputs.columns], (inputs.index, inputs.valid, inputs.abundance)
        return SampleView(asvs, encoded.embeddings, identity, *slots, inputs.numeric, inputs.categories)

    @torch.no_grad()
    def features(self, inputs: TargetInputs) -> Tensor:
        """Unscaled features of the head [B, F], for `TargetHead.standardise_features`."""
        return sample_features(self.view(inputs), self.head.known)


def strip_padding(tokens: NDArray[np.uint8]) -> bytes:
    """One ASV's tokens without the padding behind, so that tables of other lengths agree."""
    return tokens.tobytes().rstrip(b"\0")


def frozen_parts(encoder: PretrainModel, config: FinetuneConfig) -> list[nn.Module]:
    """The modules that do not learn; those that no label reaches (the heads of pretraining) are always among them."""
    if config.head.freeze:
        return [encoder]
    asvs = encoder.asv_encoder
    heads = [encoder.latent_tree, encoder.euclidean, encoder.hidden_asvs, encoder.scalars, asvs.nucleotide_head]
    parts: list[nn.Module] = [part for part in heads if part is not None]
    return [*parts, asvs] if config.head.freeze_asvs else parts
