"""Sample encoder: the ASV embeddings of a sample and their abundances to one sample embedding, in any ASV order."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from aam.config import ModelConfig
from aam.models.attention_pooling import AttentionPooling
from aam.models.layers import Transformer

LOG_FLOOR = 1e-6
"""Smallest relative abundance told apart: less than one read in the deepest samples in use."""


class EncodedSamples(NamedTuple):
    """`states` [B, S, D] per ASV slot and `embeddings` [B, D]."""

    states: Tensor
    embeddings: Tensor


def log_abundance(abundance: Tensor) -> Tensor:
    """Natural log of relative abundances, floored; about -14 … 0."""
    return abundance.clamp_min(LOG_FLOOR).log()


class SampleEncoder(nn.Module):
    """Transformer over the ASVs of a sample; abundance enters as an embedding of its logarithm, position does not."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.abundance = nn.Sequential(nn.Linear(1, config.dim), nn.GELU(), nn.Linear(config.dim, config.dim))
        self.unknown = nn.Parameter(torch.zeros(config.dim))
        self.norm = nn.LayerNorm(config.dim)
        self.transformer = Transformer(config.dim, config.heads, config.sample_layers, config.ffn_ratio, config.dropout)
        self.pooling = AttentionPooling(config.dim, config.pool_queries)

    def forward(self, asvs: Tensor, abundance: Tensor, valid: Tensor, counted: Tensor | None = None) -> EncodedSamples:
        """asvs [B, S, D], relative abundance [B, S], valid [B, S]; the abundance is unknown where not `counted`."""
        # What stands in padding must not reach the layers below: 0 * NaN would poison the gradients of their weights.
        asvs, abundance = torch.where(valid[..., None], asvs, 0.0), torch.where(valid, abundance, 1.0)
        amount = self.abundance(log_abundance(abundance)[..., None] / 5.0)  # about unit size
        if counted is not None:
            amount = torch.where(counted[..., None], amount, self.unknown)
        states = self.transformer(self.norm(asvs) + amount, valid)
        return EncodedSamples(states, self.pooling(states, valid))

    def calibrate(self, asvs: Tensor, abundance: Tensor, valid: Tensor, counted: Tensor) -> None:
        """Spread the embeddings of a fresh encoder over these samples; arguments as in `forward`."""
        self.pooling.calibrate(self(asvs, abundance, valid, counted).states, valid)
