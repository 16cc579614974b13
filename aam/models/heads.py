"""Heads on the sample embedding: Euclidean UniFrac, Faith PD, and hidden ASVs.

Embeddings have D entries of size about 1, so an update of all weights by the learning rate changes an output by D times
the rate. Small outputs (coordinates and logarithms) are therefore scaled down by D (Yang and Hu 2021); without this
they changed by several standard deviations per step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from aam.config import ModelConfig
from aam.models.devices import to_single_precision


class EuclideanUnifrac(nn.Module):
    """UniFrac as half a squared Euclidean distance, sample embeddings [B, D] -> [B, B'].

    Every UniFrac variant is a squared Euclidean distance exactly (PCoA of its root has no negative eigenvalue);
    a plain Euclidean distance cannot represent it. Point i is (a_i, r_i e_i): shared coordinates a_i, and a coordinate
    on an axis of its own that brings its squared length to a learned size s. So half the squared distance of two points
    is s - a_i . a_j. In that form the gradient does not vanish if all samples are alike, as they nearly are with an
    untrained encoder. With squared differences of free points, or of points on a sphere, training did not leave that
    state.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.project = nn.Linear(config.dim, config.dim)
        self.log_size = nn.Parameter(torch.zeros(()))

    def coordinates(self, samples: Tensor) -> Tensor:
        """Shared coordinates [B, D]; always in single precision."""
        with torch.autocast(samples.device.type, enabled=False):
            return self.project(to_single_precision(samples)) / samples.shape[-1]

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """UniFrac of every left sample with every right one; invalid for a sample with itself, where UniFrac is 0."""
        return self.log_size.exp() - left @ right.T

    @torch.no_grad()
    def start_at_mean(self, samples: Tensor, mean: float, largest: float) -> None:
        """Predict `mean` for all pairs of these samples [B, D]; `largest` is the largest distance to expect."""
        size = max(1.0, 1.5 * largest)
        self.log_size.fill_(math.log(size))
        dim = samples.shape[-1]
        length = ((size - mean) / dim) ** 0.5  # of each coordinate
        self.project.bias.add_(dim * (length - self.coordinates(samples).mean(0)))


class HiddenASVs(nn.Module):
    """Predicts from the visible part of a sample which ASVs are hidden, and hidden abundances.

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
        """Log relative abundance of hidden slots: samples [B, D], asvs [B, S, D] -> [B, S]."""
        return self.amount(nn.functional.gelu(self.amount_asv(asvs) + self.amount_sample(samples)[:, None]))[..., 0]


class SampleScalars(nn.Module):
    """Linear heads: log Faith PD from sample embeddings, log relative abundance from slot states."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.pd = nn.Linear(config.dim, 1)
        self.amount = nn.Linear(config.dim, 1)

    def faith_pd(self, samples: Tensor) -> Tensor:
        """Log Faith PD, samples [B, D] -> [B]."""
        return self.pd(samples / samples.shape[-1] ** 0.5)[:, 0]

    def abundance(self, states: Tensor) -> Tensor:
        """Log relative abundance, slot states [B, S, D] -> [B, S]."""
        return self.amount(states / states.shape[-1] ** 0.5)[..., 0]
