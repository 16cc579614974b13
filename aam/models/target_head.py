"""Head of fine-tuning: from ASV and sample embeddings, abundances and covariates to labels.

Small studies have hundreds of samples, and a random forest on abundances is hard to beat there. The head therefore sees
a sample at several grains: its embedding, pools of its ASVs' embeddings, how much of it and whether any of it lies
under each latent branch (clades, as far as pretraining learned them), and its diversity. All are scaled on the training
samples; a linear path and a small network read them together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aam.config import FinetuneConfig
from aam.models.latent_tree import LatentTree, reach

RARE = 1e-4
"""Relative abundance of one read in 10,000: logarithms of masses bend there, so that absence is no cliff."""
DIVERSITIES = 3
FAR = 8.0
"""Standard deviations at which features end: a sample unlike any of training must not send the linear path anywhere."""


@dataclass(frozen=True)
class SampleView:
    """What the head reads of a batch: asvs [U, D], samples [B, D]; slots [B, S]; covariates [B, …]."""

    asvs: Tensor
    samples: Tensor
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
    """[B, O, Q]: targets on the learned scale, their quantiles, or log-odds of classes (ordinal: log-probabilities)."""

    def __init__(self, config: FinetuneConfig):
        super().__init__()
        self.task, head = config.target.task, config.head
        self.outputs, self.quantiles = output_sizes(config)
        branches = 0 if config.model.unifrac_head == "euclidean" else config.model.branches
        width = 5 * config.model.dim + 3 * branches + DIVERSITIES
        self.covariates = CovariateEncoder(config)
        self.register_buffer("center", torch.zeros(width))
        self.register_buffer("gain", torch.ones(width))
        self.drop = nn.Dropout(head.head_dropout)
        total, wanted = width + self.covariates.width, 1 if self.task == "ordinal" else self.outputs * self.quantiles
        self.linear = nn.Linear(total, wanted)
        self.hidden = nn.Linear(total, head.head_dim)
        self.top = nn.Linear(head.head_dim, wanted)
        self.steps = nn.Parameter(torch.zeros(max(self.quantiles - 1, 0) if self.task == "ordinal" else 0))
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.top.weight)

    def forward(self, view: SampleView, tree: LatentTree | None) -> Tensor:
        with torch.autocast(view.samples.device.type, enabled=False):
            features = ((sample_features(view, tree) - self.center) * self.gain).clamp(-FAR, FAR)
            states = self.drop(torch.cat([features, self.covariates(view.numeric, view.categories)], dim=1))
            raw = self.linear(states) + self.top(self.drop(F.gelu(self.hidden(states))))
            if self.task == "ordinal":
                return ordinal_log_probabilities(raw[:, 0], self.steps)[:, None]
            raw = raw.view(len(raw), self.outputs, self.quantiles)
            return rising(raw) if self.task == "quantiles" else raw

    @torch.no_grad()
    def calibrate(self, features: Tensor) -> None:
        """Scale by these training samples' features [N, F]; what never varies is left out."""
        spread = features.std(dim=0)
        self.center.copy_(features.mean(dim=0))
        self.gain.copy_(torch.where(spread > 1e-5, 1.0 / spread, 0.0))


class CovariateEncoder(nn.Module):
    """Covariates to [B, width]: numbers as they are, categories as embeddings whose first row stands for unknown."""

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
            pairs = numeric.view(len(numeric), -1, 2)
            hidden = torch.rand(pairs.shape[:2], device=numeric.device) < self.hide
            missing = torch.tensor([0.0, 1.0], device=numeric.device)
            numeric = torch.where(hidden[..., None], missing, pairs).flatten(1)
        return torch.cat(
            [numeric, *(table(column) for table, column in zip(self.tables, categories.T, strict=True))], 1
        )


def sample_features(view: SampleView, tree: LatentTree | None) -> Tensor:
    """What the head reads of samples [B, F], float32, unscaled."""
    asvs, abundance = view.asvs.float(), (view.abundance * view.valid).float()
    present = view.valid.float() / view.valid.sum(dim=1, keepdim=True).clamp_min(1)
    amount = torch.log1p(abundance / RARE)
    logged = amount / amount.sum(dim=1, keepdim=True).clamp_min(1e-6)
    weights = [spread_out(weight, view.index, len(asvs)) for weight in (abundance, logged, present)]
    slots = torch.where(view.valid[..., None], asvs[view.index], -math.inf)
    parts = [view.samples.float(), *(weight @ asvs for weight in weights), slots.amax(dim=1)]
    if tree is not None:
        branches = tree(asvs)
        mass, logs, _ = (weight @ branches.members for weight in weights)
        parts += [torch.log(mass + RARE), logs, reach(branches, view.index, view.valid)]
    return torch.cat([*parts, diversities(abundance, view.valid)], dim=1)


def spread_out(weight: Tensor, index: Tensor, asvs: int) -> Tensor:
    """Weights of slots [B, S] as weights of distinct ASVs [B, U]."""
    return weight.new_zeros(len(weight), asvs).scatter_add(1, index, weight)


def diversities(abundance: Tensor, valid: Tensor) -> Tensor:
    """Log richness, Shannon entropy (nats) and log of the largest abundance [B, 3]."""
    entropy = -torch.special.xlogy(abundance, abundance).sum(dim=1)
    return torch.stack([valid.sum(dim=1).float().log(), entropy, abundance.amax(dim=1).clamp_min(RARE).log()], dim=1)


def rising(raw: Tensor) -> Tensor:
    """Quantiles that cannot cross: the first as it is, each next one a positive step above; [B, O, Q]."""
    return torch.cat([raw[..., :1], raw[..., :1] + F.softplus(raw[..., 1:]).cumsum(dim=-1)], dim=-1)


def ordinal_log_probabilities(score: Tensor, steps: Tensor) -> Tensor:
    """Log-probabilities [B, C] of ordered classes from one score [B]: the proportional-odds model (McCullagh 1980).

    P(class > k) = sigmoid(score - threshold_k); thresholds rise: each lies a positive step above the one before.
    """
    rises = torch.cat([steps[:1], F.softplus(steps[1:] + 1.0)])
    thresholds = rises.cumsum(0)
    above = F.logsigmoid(score[:, None] - thresholds)
    below = F.logsigmoid(thresholds - score[:, None])
    # P(k) = sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)) for b > a, stable in logs
    gaps = torch.log(-torch.expm1(-(thresholds[1:] - thresholds[:-1]).clamp_min(1e-6)))
    between = above[:, :-1] + below[:, 1:] + gaps
    return torch.cat([below[:, :1], between, above[:, -1:]], dim=1)
