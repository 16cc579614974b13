"""Loss terms of pretraining, each a dimensionless scalar, and errors with the statistics of a bad tensor.

Regression losses are divided by the variance of their target (`TargetScale`), so each is the fraction of unexplained
variance, and a weight means the same on every study. The nucleotide term is a cross-entropy in nats.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from aam.config import LossConfig
from aam.corpus.dataset import Batch
from aam.health.guards import assert_finite
from aam.health.stats import format_stats
from aam.models.devices import to_single_precision
from aam.models.pretrain_model import PretrainOutput
from aam.models.sample_encoder import log_abundance

MIN_BRANCH_LENGTH = 1e-9
"""Branch length below which samples are told apart no longer."""
MIN_TIP_DISTANCE = 1e-6
"""Tree distance below which tips are told apart no longer: the slope of its root stays finite."""
NEAR_TIPS = 0.1
"""Tree distance, in substitutions per site, up to which tips are near, as 1 in 1,500 random pairs of Greengenes."""


def _format_tensor_stats(tensor: Tensor) -> str:
    """`min=…, max=… (integer tensor)`, or min, max, mean and how many NaN and Inf; never raises."""
    return format_stats(tensor)


def check_pair(name: str, pred: Tensor, true: Tensor, check: bool = True) -> None:
    """Raise ValueError if prediction and target differ in shape or, with `check`, if one is not finite."""
    check_shapes(f"{name}_pred", pred, pred.shape, f"{name}_true", true)
    if check:
        assert_finite(f"{name}_pred", pred)
        assert_finite(f"{name}_true", true)


def check_shapes(name: str, pred: Tensor, wanted: torch.Size, other: str, true: Tensor) -> None:
    """Raise ValueError, with statistics of both tensors, if `true` does not have the shape `wanted`."""
    if true.shape != wanted:
        raise ValueError(
            f"{name} has shape {tuple(pred.shape)} but {other} has {tuple(true.shape)}: "
            f"{_format_tensor_stats(pred)} against {_format_tensor_stats(true)}"
        )


def nucleotide_loss(nuc_pred: Tensor, nuc_true: Tensor, check: bool = True) -> Tensor:
    """Cross-entropy of masked bases: logits [T, 6] and tokens [T]; 0 if nothing was masked, never 0 / 0."""
    check_shapes("nuc_pred", nuc_pred, nuc_pred.shape[:-1], "nuc_true", nuc_true)
    if check:
        assert_finite("nuc_pred", nuc_pred)
    total = F.cross_entropy(to_single_precision(nuc_pred).flatten(0, -2), nuc_true.flatten(), reduction="sum")
    return total / max(nuc_true.numel(), 1)


def pair_loss(name: str, pred: Tensor, true: Tensor, variance: float, check: bool = True) -> Tensor:
    """Squared error over the variance of the target, mean of the pairs above the diagonal of [B, B].

    Beyond one standard deviation it grows linearly (Huber), so that a head with large errors does not dominate.
    """
    check_pair(name, pred, true, check)
    deviation = variance**0.5
    error = above_diagonal(to_single_precision(pred) - true) / deviation
    return 2 * F.huber_loss(error, torch.zeros_like(error), reduction="sum") / max(error.numel(), 1)  # no pairs: 0


def root_pair_loss(name: str, pred: Tensor, true: Tensor, variance: float, check: bool = True) -> Tensor:
    """Squared error of the square roots of distances, over the variance of the roots; pairs of [P, P], each once.

    The root of a tree distance is a Euclidean distance (de Vienne et al. 2011), and DEPP learns it (Jiang et al. 2022):
    an error of a short distance counts more than the same error of a long one. The mean error of near pairs, which are
    few, counts as much as that of all others.
    """
    check_pair(name, pred, true, check)
    errors = (distance_roots(to_single_precision(pred)) - distance_roots(true)).square()
    near = (above_diagonal(true) <= NEAR_TIPS).to(errors.dtype)
    kinds = torch.stack([near, 1 - near])
    counts = kinds.sum(dim=1)
    return (kinds @ errors / counts.clamp_min(1)).sum() / (counts > 0).sum().clamp_min(1) / variance


def distance_roots(distances: Tensor) -> Tensor:
    """Square roots of the distances above the diagonal of [P, P], each pair once."""
    return above_diagonal(distances).clamp_min(MIN_TIP_DISTANCE).sqrt()


def scale_to(pred: Tensor, true: Tensor) -> Tensor:
    """The factor [] that brings distances [Q, Q] closest to the true ones, in least squares; without a gradient.

    It makes the error smallest, so its own gradient is zero, and the loss does not depend on the units of a tree.
    """
    pred, true = above_diagonal(to_single_precision(pred.detach())), above_diagonal(true)
    return (pred * true).sum() / pred.square().sum().clamp_min(MIN_TIP_DISTANCE)


def above_diagonal(matrix: Tensor) -> Tensor:
    """The pairs of a square matrix [B, B], each once -> [B (B - 1) / 2]."""
    left, right = torch.triu_indices(len(matrix), len(matrix), offset=1, device=matrix.device)
    return matrix[left, right]


def scaled_mse(name: str, pred: Tensor, true: Tensor, variance: float, check: bool = True) -> Tensor:
    """Mean squared error over the variance of the target; any shape."""
    check_pair(name, pred, true, check)
    return F.mse_loss(to_single_precision(pred), true) / variance


def membership_loss(logits: Tensor, index: Tensor, valid: Tensor, hidden: Tensor, check: bool = True) -> Tensor:
    """Loss that separates hidden ASVs of a sample from ASVs that it lacks; logits [B, U], other arguments [B, S].

    Binary cross-entropy, in which hidden and absent ASVs have the same total weight; visible ones do not count.
    """
    check_shapes("membership_pred", logits, torch.Size([len(logits), index.shape[1]]), "membership_true", hidden)
    if check:
        assert_finite("membership_pred", logits)
    zeros = torch.zeros_like(logits, dtype=torch.float32)
    present = zeros.scatter_add(1, index, valid.float()) > 0
    wanted = zeros.scatter_add(1, index, (hidden & valid).float()) > 0
    scored = wanted | ~present
    weight = wanted / wanted.sum(1, keepdim=True).clamp_min(1) + ~present / (~present).sum(1, keepdim=True).clamp_min(1)
    logits = to_single_precision(logits)
    terms = F.binary_cross_entropy_with_logits(logits, wanted.to(logits.dtype), reduction="none")
    weight = weight * scored * wanted.any(1, keepdim=True)
    return (terms * weight).sum() / weight.sum().clamp_min(1.0)


def log_faith_pd(lengths: Tensor) -> Tensor:
    """Natural log of Faith PD [B]; with a floor, so that it is finite for branches of length 0."""
    return lengths.clamp_min(MIN_BRANCH_LENGTH).log()


@dataclass(frozen=True)
class TargetScale:
    """Variances by which regressions are divided; measured on the first training batches."""

    unifrac: float = 1.0
    patristic: float = 1.0
    faith_pd: float = 1.0
    abundance: float = 1.0
    reference: float = 1.0


@dataclass(frozen=True)
class Losses:
    """Loss terms [] of one batch, each unweighted, and the `total` [] that is differentiated."""

    terms: dict[str, Tensor]
    total: Tensor


def pretrain_losses(output: PretrainOutput, batch: Batch, weights: LossConfig, scale: TargetScale) -> Losses:
    """Loss terms of the output of a model; terms without prediction or target are left out.

    Reads nothing from the device: the step checks the total later, once.
    """
    terms = {"nucleotide": nucleotide_loss(output.nucleotides, batch.masked_bases, check=False)}
    if batch.unifrac is not None:
        for term, pred in (("unifrac", output.unifrac), ("euclidean", output.euclidean)):
            if pred is not None:
                terms[term] = pair_loss(term, pred, batch.unifrac, scale.unifrac, check=False)
    if batch.patristic is not None and output.patristic is not None:
        found = output.patristic
        if batch.reference_patristic is not None and not weights.same_scale:
            found = found * scale_to(found, batch.patristic)
        terms["patristic"] = pair_loss("patristic", found, batch.patristic, scale.patristic, check=False)
    if batch.faith_pd is not None:
        true = log_faith_pd(batch.faith_pd)
        terms["faith_pd"] = scaled_mse("faith_pd", output.faith_pd, true, scale.faith_pd, check=False)
    terms["masked_asv"] = membership_loss(output.membership, batch.index, batch.valid, batch.hidden, check=False)
    terms["count"] = count_loss(output, batch, scale.abundance)
    terms |= reference_terms(output, batch, scale.reference)
    weight = {name: getattr(weights, f"{name}_weight") for name in terms}
    none = output.faith_pd.new_zeros(())
    return Losses(terms, sum((weight[name] * term for name, term in terms.items()), none))


def reference_terms(output: PretrainOutput, batch: Batch, variance: float) -> dict[str, Tensor]:
    """Loss terms of the reference tips of a batch: their tree distances and masked bases; none without tips."""
    terms, between, bases = {}, output.reference_patristic, output.reference_nucleotides
    if batch.reference_patristic is not None and between is not None:
        name, true = "reference_patristic", batch.reference_patristic
        terms[name] = root_pair_loss(name, between, true, variance, check=False)
    if batch.reference_masked_bases is not None and bases is not None:
        terms["reference_nucleotide"] = nucleotide_loss(bases, batch.reference_masked_bases, check=False)
    return terms


def count_loss(output: PretrainOutput, batch: Batch, variance: float) -> Tensor:
    """Squared error of hidden log abundances: of hidden slots and of hidden counts, [B, S] each."""
    true = log_abundance(batch.abundance)
    check_pair("hidden_abundance", output.hidden_abundance, true, check=False)
    check_pair("slot_abundance", output.slot_abundance, true, check=False)
    pred = to_single_precision(torch.where(batch.hidden, output.hidden_abundance, output.slot_abundance))
    scored = (batch.hidden | batch.uncounted) & batch.valid
    error = torch.where(scored, pred - true, 0.0)
    return (error**2).sum() / scored.sum().clamp_min(1) / variance


def refuse_non_finite(named: Iterable[tuple[str, Tensor | None]]) -> None:
    """Raise for the first of these tensors that is not finite, in the order given."""
    for name, tensor in named:
        if tensor is not None:
            assert_finite(name, tensor)
