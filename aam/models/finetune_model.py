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
from aam.vocab import MASK, PAD


@dataclass(frozen=True)
class TargetInputs:
    """Input tensors of one batch; `columns` [U] are the column numbers of the ASVs in the table."""

    columns: Tensor
    tokens: Tensor
    index: Tensor
    valid: Tensor
    abundance: Tensor
    numeric: Tensor
    categories: Tensor


@dataclass(frozen=True)
class TargetOutput:
    """Output `members` [M, B, O, Q] of the head, and the embeddings `asvs` [U, D] and `samples` [B, D] that it read."""

    members: Tensor
    asvs: Tensor
    samples: Tensor


class FinetuneModel(nn.Module):
    """An encoder (frozen, partly frozen or trainable) and a head; `open_table` sets the table of the batches.

    With a frozen ASV encoder, `embedded` [A, D] may hold precomputed embeddings of the ASVs of that table; they are not
    saved with the weights. `known` [identities, L] are the tokens of ASVs whose abundances the head reads one by one.
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
        """As in torch, but frozen parts stay in evaluation mode: dropout in them regularises nothing."""
        super().train(mode)
        for part in self.fixed:
            part.eval()
        return self

    def open_table(self, tokens: NDArray[np.uint8], embedded: Tensor | None) -> None:
        """Set the table of the next batches: tokens [A, L] of its ASVs, and their embeddings [A, D] if available."""
        place = {strip_padding(row): number for number, row in enumerate(self.known.cpu().numpy())}
        found = np.array([place.get(strip_padding(row), -1) for row in tokens], np.int64)
        if MASK in tokens:
            found = np.where(found < 0, match_inside_masks(tokens, self.known.cpu().numpy()), found)
        self.identity, self.embedded = torch.from_numpy(found).to(self.known.device), embedded

    @torch.no_grad()
    def learn_identities(self, tokens: NDArray[np.uint8]) -> None:
        """Set the ASVs, tokens [identities, L], whose abundances the head reads one by one."""
        self.known.zero_()
        self.known[:, : tokens.shape[1]] = torch.from_numpy(tokens)

    def forward(self, inputs: TargetInputs) -> TargetOutput:
        view = self.view(inputs)
        return TargetOutput(self.head(view), view.asvs, view.samples)

    def view(self, inputs: TargetInputs) -> SampleView:
        """Compute the inputs of the head; raises RuntimeError if no table was opened."""
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
    """Tokens of one ASV without padding, so that tables with different L compare equal."""
    return tokens.tobytes().rstrip(b"\0")


def match_inside_masks(tokens: NDArray[np.uint8], known: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The number of the first known ASV, tokens [identities, K], that equals each of tokens [A, L] inside; else -1.

    Inside are the bases between the masks that ASVs begin or end with, where their reads miss a part of the window
    that the model has learned from. ASVs without such masks are not looked at.
    """
    found, places = np.full(len(tokens), -1, np.int64), dict[tuple[int, int], dict[bytes, int]]()
    for row, own in enumerate(tokens):
        bases = np.flatnonzero((own != MASK) & (own != PAD))[1:]  # without START
        if len(bases) == 0 or (bases[0] == 1 and MASK not in own[bases[-1] + 1 :]):
            continue
        part = int(bases[0]), int(bases[-1]) + 1
        if part not in places:
            inside = reversed(list(enumerate(known[:, slice(*part)])))  # of several equal ones the first stays
            places[part] = {ends.tobytes(): number for number, ends in inside}
        found[row] = places[part].get(own[slice(*part)].tobytes(), -1)
    return found


def frozen_parts(encoder: PretrainModel, config: FinetuneConfig) -> list[nn.Module]:
    """The modules that are not trained; always includes the heads of pretraining, which labels do not reach."""
    if config.head.freeze:
        return [encoder]
    asvs = encoder.asv_encoder
    heads = [encoder.latent_tree, encoder.euclidean, encoder.hidden_asvs, encoder.scalars, asvs.nucleotide_head]
    parts: list[nn.Module] = [part for part in heads if part is not None]
    return [*parts, asvs] if config.head.freeze_asvs else parts
