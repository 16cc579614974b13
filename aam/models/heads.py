"""Heads on the sample embedding: Euclidean UniFrac, Faith PD, and hidden ASVs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aam.config import ModelConfig


class EuclideanUnifrac(nn.Module):
    """UniFrac as a squared distance, sample embeddings [B, D] -> [B, B'].

    Every UniFrac variant is a squared Euclidean distance exactly (PCoA of its square root has no negative eigenvalue);
    as a plain distance it is not. Divided by D it begins near 1 for normalised vectors.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.project = nn.Linear(config.dim, config.dim)
        self.norm = nn.LayerNorm(config.dim, elementwise_affine=False)
        self.log_scale = nn.Parameter(torch.zeros(()))

    def coordinates(self, samples: Tensor) -> Tensor:
        """Points [B, D] whose squared distances are UniFrac."""
        with torch.autocast(samples.device.type, enabled=False):
            points = self.norm(self.project(samples.float()))
            return points * torch.exp(self.log_scale / 2) / points.shape[-1] ** 0.5

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Squared distances of points; through products, so no [B, B', D] array and no square root at zero."""
        squares = (left**2).sum(1)[:, None] + (right**2).sum(1)[None]
        return (squares - 2 * left @ right.T).clamp_min(0.0)


class HiddenASVs(nn.Module):
    """From what is visible of a sample: which ASVs were hidden, and how abundant the hidden and uncounted are.

    Scores are inner products of a projected sample embedding [B, D] with projected ASV embeddings [U, D].
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.sample = nn.Linear(config.dim, config.dim)
        self.asv = nn.Linear(config.dim, config.dim)
        self.rare = nn.Linear(config.dim, 1)
        self.amount = nn.Linear(config.dim, 1)
        self.amount_asv = nn.Linear(config.dim, config.dim)
        self.amount_sample = nn.Linear(config.dim, config.dim)

    def membership(self, samples: Tensor, asvs: Tensor) -> Tensor:
        """Logits [B, U] that an ASV belongs to a sample."""
        return self.sample(samples) @ self.asv(asvs).T / samples.shape[-1] ** 0.5 + self.rare(asvs).T

    def hidden_abundance(self, samples: Tensor, asvs: Tensor) -> Tensor:
        """Log relative abundance of slots nobody saw: samples [B, D], asvs [B, S, D] -> [B, S]."""
        return self.amount(nn.functional.gelu(self.amount_asv(asvs) + self.amount_sample(samples)[:, None]))[..., 0]


class SampleScalars(nn.Module):
    """Numbers read off single vectors: log Faith PD off samples [B, D], log abundance off slot states [B, S, D]."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.faith_pd = nn.Linear(config.dim, 1)
        self.abundance = nn.Linear(config.dim, 1)
