"""UniFrac from ASV embeddings: learned branches replace those of the tree.

UniFrac is a sum over branches, and a branch belongs to a sample if any of its ASVs descends from it. Each ASV
embedding gives memberships p_k under K latent branches of length l_k and a private tip length t. A sample's presence on
a branch is the maximum over its ASVs (memberships are nested sets, so union is max and intersection is min); tips are
shared exactly where ASVs are. The same branches reproduce tip-to-tip distances,
c * (sum_k l_k |p_k(a) - p_k(b)| + t_a + t_b).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aam.config import Metric, ModelConfig
from aam.models.devices import to_single_precision
from aam.models.layers import take_rows

MIN_DIVISOR = 1e-12
"""Keeps quotients of two empty sums at zero; far below any branch length."""


TIP_RANGE = 6.0
"""Tip biases tried at the start: tips from 1/400 to 6 times the initial length of a latent branch, about."""


class Branches(NamedTuple):
    """`members` [U, K] in 0…1 and private `tips` [U] >= 0 of ASVs, with the `lengths` [K] of the latent branches."""

    members: Tensor
    tips: Tensor
    lengths: Tensor


class SampleBranches(NamedTuple):
    """Per sample: amount `x` [B, K] on latent branches and `tips` [B, U] on ASVs; presence, or relative abundance."""

    x: Tensor
    tips: Tensor


class LatentTree(nn.Module):
    """Head from ASV embeddings [U, D] to UniFrac [B, B], Faith PD [B] and patristic distances [U, U]."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.metric: Metric = config.unifrac_metric
        self.alpha = config.unifrac_alpha
        self.membership = nn.Linear(config.dim, config.branches)
        self.length = nn.Parameter(torch.zeros(config.branches))
        self.tip = nn.Linear(config.dim, 1)
        self.log_scale = nn.Parameter(torch.tensor(0.02).log())
        # Few branches per ASV at the start, with logits spread by about 3 over ASVs: both measured to matter.
        nn.init.normal_(self.membership.weight, std=3.0 / config.dim**0.5)
        nn.init.constant_(self.membership.bias, -3.0)
        nn.init.constant_(self.tip.bias, -1.0)

    def forward(self, embeddings: Tensor) -> Branches:
        """embeddings [U, D] -> their branches; always in single precision."""
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = to_single_precision(embeddings)
            members = torch.sigmoid(self.membership(embeddings))
            return Branches(members, F.softplus(self.tip(embeddings))[:, 0], F.softplus(self.length))

    def place_samples(self, branches: Branches, index: Tensor, valid: Tensor, abundance: Tensor) -> SampleBranches:
        """Compute the samples, given as slots (index, valid, relative abundance [B, S]), on the branches."""
        weight = valid.to(abundance.dtype) if self.metric == "unweighted" else torch.where(valid, abundance, 0.0)
        tips = weight.new_zeros(len(index), len(branches.tips)).scatter_add(1, index, weight)
        if self.metric == "unweighted":
            return SampleBranches(branch_presence(branches, index, valid), tips)
        return SampleBranches(tips @ branches.members, tips)

    def unifrac(self, branches: Branches, left: SampleBranches, right: SampleBranches) -> Tensor:
        """UniFrac of every left sample with every right one, [B, B']."""
        if self.metric == "unweighted":
            return unweighted_distances(branches, left, right)
        latent = weighted_terms(left.x, right.x, branches.lengths, self.metric, self.alpha)
        private = weighted_terms(left.tips, right.tips, branches.tips, self.metric, self.alpha)
        distance, total = latent[0] + private[0], latent[1] + private[1]
        return distance * self.log_scale.exp() if self.metric == "weighted" else distance / (total + MIN_DIVISOR)

    @torch.no_grad()
    def start_at_mean(self, embeddings: Tensor, index: Tensor, valid: Tensor, abundance: Tensor, mean: float) -> None:
        """Set the size of the private tips so that the mean UniFrac of these samples is `mean` (not for raw weighted).

        Mean UniFrac grows with the tips, which few samples share, so bisection finds the size.
        """
        low, high = -TIP_RANGE, TIP_RANGE
        while high - low > 0.01:
            self.tip.bias.fill_((low + high) / 2)
            branches = self(embeddings)
            placed = self.place_samples(branches, index, valid, abundance)
            pairs = self.unifrac(branches, placed, placed).triu(diagonal=1).sum() * 2 / (len(index) * (len(index) - 1))
            low, high = ((low + high) / 2, high) if float(pairs) < mean else (low, (low + high) / 2)

    def patristic(self, branches: Branches, others: Branches | None = None) -> Tensor:
        """Tree distances between ASVs and others, [U, U'], or among them, [U, U]; meaningless from an ASV to itself."""
        left = branches.members * branches.lengths
        apart = pairwise_l1(left) if others is None else torch.cdist(left, others.members * others.lengths, p=1)
        tips = branches.tips[:, None] + (others or branches).tips[None]
        return (apart + tips) * self.log_scale.exp()

    def pair_distances(self, branches: Branches, left: Tensor, right: Tensor) -> Tensor:
        """Tree distances [n] of single pairs of ASVs, given by number, [n] each."""
        apart = (branches.members[left] - branches.members[right]).abs() @ branches.lengths
        return (apart + branches.tips[left] + branches.tips[right]) * self.log_scale.exp()

    def faith_pd(self, branches: Branches, index: Tensor, valid: Tensor) -> Tensor:
        """Faith's phylogenetic diversity [B]: the length of all branches of a sample, in the tree's units."""
        tips = (branches.tips[index] * valid).sum(dim=1)
        return (branch_presence(branches, index, valid) @ branches.lengths + tips) * self.log_scale.exp()


def pairwise_l1(points: Tensor) -> Tensor:
    """Sums of absolute differences between points [U, K], [U, U]; on CPUs a tenth of the time of `cdist`."""
    rows, columns = torch.triu_indices(len(points), len(points), offset=1, device=points.device)
    upper = points.new_zeros(len(points), len(points)).index_put((rows, columns), torch.pdist(points, p=1))
    return upper + upper.T


def branch_presence(branches: Branches, index: Tensor, valid: Tensor) -> Tensor:
    """Presence of samples on latent branches [B, K]: the largest membership of their ASVs."""
    return (take_rows(branches.members, index) * valid[..., None]).amax(dim=1)


def unweighted_distances(branches: Branches, left: SampleBranches, right: SampleBranches) -> Tensor:
    """Unshared branch length divided by total, [B, B']; the shared part of a branch is the smaller presence."""
    totals = [side.x @ branches.lengths + side.tips @ branches.tips for side in (left, right)]
    # min(a, b) = (a + b - |a - b|) / 2, so the shared length needs no [B, B', K] array.
    apart = torch.cdist(left.x * branches.lengths, right.x * branches.lengths, p=1)
    sums = (left.x @ branches.lengths)[:, None] + (right.x @ branches.lengths)[None]
    shared = (sums - apart) / 2 + (left.tips * branches.tips) @ right.tips.T
    union = totals[0][:, None] + totals[1][None] - shared
    return (union - shared) / (union + MIN_DIVISOR)


def weighted_terms(left: Tensor, right: Tensor, lengths: Tensor, metric: Metric, alpha: float) -> tuple[Tensor, Tensor]:
    """Distance and normaliser [B, B'] of weighted UniFrac over branches with masses left [B, N] and right [B', N].

    Generalized UniFrac weighs a branch by (a + b)^alpha |a - b| / (a + b) (Chen et al. 2012); alpha 1 is the
    normalised weighted form.
    """
    if metric != "generalized":
        apart = torch.cdist(left * lengths, right * lengths, p=1)
        return apart, (left @ lengths)[:, None] + (right @ lengths)[None]
    rows = [generalized_row(row, right, lengths, alpha) for row in left]
    return torch.stack([r[0] for r in rows]), torch.stack([r[1] for r in rows])


def generalized_row(row: Tensor, right: Tensor, lengths: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Distance and normaliser [B'] of one sample, masses [N], to samples `right` [B', N]; row by row to save memory."""
    total = row + right
    some = total > 0
    power = torch.where(some, total, 1.0) ** alpha * some
    return (lengths * power * (row - right).abs() / torch.where(some, total, 1.0)).sum(1), (lengths * power).sum(1)
