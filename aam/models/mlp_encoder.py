"""One-hot MLP: ASV encoder without a transformer."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from aam import vocab
from aam.config import ModelConfig
from aam.models.attention_pooling import standardise
from aam.models.chunked_encoder import ChunkedEncoder, Cost, Encoded, log_frequencies


class Layers(nn.Sequential):
    """The layers of an MLP; optimisers recognise its matrices by this class."""


class MLPEncoder(ChunkedEncoder):
    """One-hot MLP over aligned positions: a fast baseline for the transformer."""

    HIDDEN = 256

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.max_bp, self.positions = config.max_bp, 1
        self.layers = Layers(
            nn.Linear(config.max_bp * vocab.VOCAB_SIZE, self.HIDDEN),
            nn.GELU(),
            nn.Linear(self.HIDDEN, self.HIDDEN),
            nn.GELU(),
            nn.Linear(self.HIDDEN, config.dim),
        )
        self.nucleotide_head = nn.Linear(config.dim, config.max_bp * vocab.OUTPUT_SIZE)

    @torch.no_grad()
    def initialise_from(self, tokens: Tensor) -> None:
        standardise(cast(nn.Linear, self.layers[-1]), self.encode(tokens).embeddings)
        self.nucleotide_head.weight *= 0.1
        usual = log_frequencies(tokens[:, 1:]).flatten()
        self.nucleotide_head.bias[: len(usual)] = usual

    def encode(self, tokens: Tensor, full: bool = False) -> Encoded:
        bases = nn.functional.pad(tokens[:, 1:].long(), (0, self.max_bp - (tokens.shape[1] - 1)), value=vocab.PAD)
        onehot = nn.functional.one_hot(bases, vocab.VOCAB_SIZE).to(self.nucleotide_head.weight.dtype)
        onehot = onehot * (bases != vocab.PAD)[..., None]
        embeddings = self.layers(onehot.flatten(1))
        return Encoded(embeddings[:, None], embeddings)

    def cost(self, length: int) -> Cost:
        return Cost(1, 2 * self.max_bp * vocab.VOCAB_SIZE + 4 * self.HIDDEN)

    def logits_at(self, encoded: Encoded, at: Tensor) -> Tensor:
        logits = self.nucleotide_head(encoded.embeddings).view(-1, self.max_bp, vocab.OUTPUT_SIZE)
        return logits[at[:, 0], (at[:, 1] - 1).clamp_min(0)]

    def consensus_logits(self) -> Tensor:
        return self.nucleotide_head.bias.view(self.max_bp, vocab.OUTPUT_SIZE)
