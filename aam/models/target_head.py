"""Head of fine-tuning: predicts labels from ASV and sample embeddings, abundances and covariates.

Small studies have hundreds of samples, and a random forest on abundances is hard to beat there. The head therefore
reads four blocks of features, each scaled to its share of the variance: abundances of frequent ASVs one by one (as the
forest reads them), pooled ASV embeddings (which describe related ASVs, also new ones), the sample embedding, and
diversities. Several small networks with strong dropout read all blocks; their outputs are averaged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aam.config import FinetuneConfig
from aam.models.layers import take_rows

RARE_ABUNDANCE = 1e-4
"""Relative abundance of one read in 10,000: logarithms of abundance bend there, so that absence is no cliff."""
MAX_DEVIATIONS = 8.0
"""Deviations at which features end: a sample unlike any of training must not send the linear path anywhere."""
DIVERSITIES = 3
VARIANCE_SHARES = {"identity": 0.5, "pools": 0.4, "sample": 0.05, "diversity": 0.05}
"""Part of the variance of all features that each block has."""


@dataclass(frozen=True)
class SampleView:
    """Inputs of the head for a batch: asvs [U, D], samples [B, D]; slots [B, S]; covariates [B, …].

    `identity` [U] is the number of an ASV among those that the head reads one by one, -1 for others.
    """

    asvs: Tensor
    samples: Tensor
    identity: Tensor
    index: Tensor
    valid: Tensor
    abundance: Tensor
    numeric: Tensor
    categories: Tensor


def output_sizes(config: FinetuneConfig) -> tuple[int, int]:
    """(O, Q) of the output [B, O, Q]: targets and their quantiles, or 1 and the classes."""
    task = config.target.task
    if task in ("classification", "ordinal"):
        return 1, len(config.schema.classes)
    return len(config.schema.numbers), len(config.target.quantiles) if task == "quantiles" else 1


class TargetHead(nn.Module):
    """[M, B, O, Q] of M members: targets on the learned scale, their quantiles, or log-odds of classes.

    Ordinal targets come as log-probabilities.
    """

    def __init__(self, config: FinetuneConfig):
        super().__init__()
        self.task, head = config.target.task, config.head
        self.outputs, self.quantiles = output_sizes(config)
        self.known = config.schema.identities
        dim = config.model.dim
        self.blocks = {"identity": self.known, "pools": 4 * dim, "sample": dim, "diversity": DIVERSITIES}
        width = sum(self.blocks.values())
        self.covariates = CovariateEncoder(config)
        self.center: Tensor
        self.gain: Tensor
        self.register_buffer("center", torch.zeros(width))
        self.register_buffer("gain", torch.ones(width))
        self.drop = nn.Dropout(head.head_dropout)
        total, wanted = width + self.covariates.width, 1 if self.task == "ordinal" else self.outputs * self.quantiles
        members, hidden = head.head_members, head.head_dim
        self.linear = nn.Parameter(torch.zeros(members, total, wanted))
        self.hidden = nn.Parameter(torch.randn(members, total, hidden) / math.sqrt(total))
        self.hidden_bias = nn.Parameter(torch.zeros(members, 1, hidden))
        self.top = nn.Parameter(0.3 * torch.randn(members, hidden, wanted) / math.sqrt(hidden))
        self.top_bias = nn.Parameter(torch.zeros(members, 1, wanted))
        self.steps = nn.Parameter(torch.zeros(max(self.quantiles - 1, 0) if self.task == "ordinal" else 0))

    def forward(self, view: SampleView) -> Tensor:
        with torch.autocast(view.samples.device.type, enabled=False):
            return self.read(sample_features(view, self.known), view.numeric, view.categories)

    def read(self, features: Tensor, numeric: Tensor, categories: Tensor) -> Tensor:
        """The output for unscaled features [B, F] in float32, and covariates [B, …]."""
        with torch.autocast(features.device.type, enabled=False):
            features = ((features - self.center) * self.gain).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)
            states = torch.cat([features, self.covariates(numeric, categories)], dim=1)
            states = self.drop(states.expand(len(self.top), -1, -1))  # each member misses others
            inner = self.drop(F.gelu(states @ self.hidden + self.hidden_bias))
            raw = states @ self.linear + inner @ self.top + self.top_bias
            if self.task == "ordinal":
                return ordinal_log_probabilities(raw, self.steps)[:, :, None]
            raw = raw.unflatten(-1, (self.outputs, self.quantiles))
            return rising_quantiles(raw) if self.task == "quantiles" else raw

    @torch.no_grad()
    def standardise_features(self, features: Tensor) -> None:
        """Centre and scale by these training samples' features [N, F]; each block gets its share of the variance.

        The abundances of all frequent ASVs share one scale, so that rare ones stay small; constant features become 0.
        """
        self.center.copy_(features.mean(dim=0))
        shares = sum(VARIANCE_SHARES[name] for name, size in self.blocks.items() if size)
        places = features.split(list(self.blocks.values()), dim=1)
        gains = []
        for (name, size), block in zip(self.blocks.items(), places, strict=True):
            if size == 0:
                continue
            spread = block.std(dim=0)
            joint = spread.square().mean().sqrt() if name == "identity" else spread
            scaled = torch.where(spread > 1e-5, 1.0 / joint.clamp_min(1e-5), 0.0)
            variance = (spread * scaled).square().sum().clamp_min(1e-6)
            gains.append(scaled * (features.shape[1] * VARIANCE_SHARES[name] / shares / variance).sqrt())
        self.gain.copy_(torch.cat(gains))


class CovariateEncoder(nn.Module):
    """Encode covariates as [B, width]: numbers unchanged, categories as embeddings whose first row means unknown."""

    def __init__(self, config: FinetuneConfig):
        super().__init__()
        covariates = config.schema.covariates
        size, self.hide = config.head.covariate_dim, config.head.covariate_dropout
        self.tables = nn.ModuleList(nn.Embedding(1 + len(c.categories), size) for c in covariates if c.categories)
        self.width = size * len(self.tables) + 2 * sum(not c.categories for c in covariates)

    def forward(self, numeric: Tensor, categories: Tensor) -> Tensor:
        """numeric [B, 2 X] (pairs of value and whether it is missing), categories [B, X]."""
        if self.training and self.hide > 0:
            categories = categories * (torch.rand(categories.shape, device=categories.device) >= self.hide)
            pairs = numeric.unflatten(1, (numeric.shape[1] // 2, 2))
            hidden = torch.rand(pairs.shape[:2], device=numeric.device) < self.hide
            missing = torch.tensor([0.0, 1.0], device=numeric.device)
            numeric = torch.where(hidden[..., None], missing, pairs).flatten(1)
        return torch.cat(
            [numeric, *(table(column) for table, column in zip(self.tables, categories.T, strict=True))], 1
        )


def sample_features(view: SampleView, known: int) -> Tensor:
    """Features of samples [B, F], float32, unscaled; blocks in the order of `TargetHead.blocks`."""
    amount, identity = log_amounts(view.abundance, view.valid), view.identity[view.index]
    amounts = amount.new_zeros(len(amount), known + 1).scatter_add(
        1, torch.where(identity < 0, known, identity), amount
    )
    slots = take_rows(view.asvs.float(), view.index)
    return torch.cat([amounts[:, :known], community_features(slots, view.samples, view.abundance, view.valid)], dim=1)


def log_amounts(abundance: Tensor, valid: Tensor) -> Tensor:
    """Abundance of each slot [B, S] on a scale that is 0 for absence and logarithmic above `RARE_ABUNDANCE`."""
    return torch.log1p((abundance * valid).float() / RARE_ABUNDANCE)


def community_features(slots: Tensor, samples: Tensor, abundance: Tensor, valid: Tensor) -> Tensor:
    """Pools of the ASVs in slots [B, S, D], sample embeddings [B, D] and diversity, side by side."""
    amount, share = log_amounts(abundance, valid), (abundance * valid).float()
    logged = amount / amount.sum(dim=1, keepdim=True).clamp_min(1e-6)
    present = valid.float() / valid.sum(dim=1, keepdim=True).clamp_min(1)
    # Padding may hold anything, NaN included, and 0 * NaN would poison the sums.
    inside = torch.where(valid[..., None], slots, 0.0)
    pools = torch.stack([share, logged, present], dim=1) @ inside
    largest = torch.where(valid[..., None], slots, -math.inf).amax(dim=1)
    return torch.cat([pools.flatten(1), largest, samples.float(), diversities(share, valid)], dim=1)


def diversities(abundance: Tensor, valid: Tensor) -> Tensor:
    """Log richness, Shannon entropy (nats) and log of the largest abundance [B, 3]."""
    entropy = -torch.special.xlogy(abundance, abundance).sum(dim=1)
    return torch.stack(
        [valid.sum(dim=1).float().log(), entropy, abundance.amax(dim=1).clamp_min(RARE_ABUNDANCE).log()], dim=1
    )


def rising_quantiles(raw: Tensor) -> Tensor:
    """Make quantiles [..., Q] rise: the first is unchanged, each later one is a positive step above its predecessor."""
    return torch.cat([raw[..., :1], raw[..., :1] + F.softplus(raw[..., 1:]).cumsum(dim=-1)], dim=-1)


def ordinal_log_probabilities(score: Tensor, steps: Tensor) -> Tensor:
    """Log-probabilities [..., C] of ordered classes from scores [..., 1]: the proportional-odds model (McCullagh 1980).

    P(class > k) = sigmoid(score - threshold_k); thresholds rise: each lies a positive step above the one before.
    """
    thresholds = torch.cat([steps[:1], F.softplus(steps[1:] + 1.0)]).cumsum(0)
    above = F.logsigmoid(score - thresholds)
    below = F.logsigmoid(thresholds - score)
    # P(k) = sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)) for b > a, stable in logs
    gaps = torch.log(-torch.expm1(-(thresholds[1:] - thresholds[:-1]).clamp_min(1e-6)))
    between = above[..., :-1] + below[..., 1:] + gaps
    return torch.cat([below[..., :1], between, above[..., -1:]], dim=-1)
