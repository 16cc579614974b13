"""Start every head at the mean of its target, so that the first steps are not spent on offsets."""

from __future__ import annotations

import torch
from torch import Tensor

from aam.data.dataset import Batch
from aam.models.pretrain_model import PretrainModel, PretrainOutput
from aam.models.sample_encoder import log_abundance
from aam.training.losses import above_diagonal, log_faith_pd
from aam.training.objective import model_inputs


@torch.no_grad()
def calibrate(model: PretrainModel, batch: Batch) -> None:
    """Spread ASV and sample embeddings, then set scales and biases of the heads, all from one batch.

    In training mode: between samples of a fresh encoder there is more dropout noise than signal.
    """
    inputs = model_inputs(batch)
    model.train().calibrate(inputs)
    output = model(inputs)
    if batch.unifrac is not None:
        calibrate_unifrac(model, batch, above_diagonal(batch.unifrac), output)
        output = model(inputs)
    if model.latent_tree is not None and batch.patristic is not None and output.patristic is not None:
        model.latent_tree.log_scale.add_(log_ratio(above_diagonal(batch.patristic), above_diagonal(output.patristic)))
    if batch.faith_pd is not None:
        model.scalars.pd.bias.add_(log_faith_pd(batch.faith_pd).mean() - output.faith_pd.mean())
    amount = log_abundance(batch.abundance)[batch.valid].mean()
    model.scalars.amount.bias.add_(amount - output.slot_abundance[batch.valid].mean())
    model.hidden_asvs.amount.bias.add_(amount - output.hidden_abundance[batch.valid].mean())


def calibrate_unifrac(model: PretrainModel, batch: Batch, true: Tensor, output: PretrainOutput) -> None:
    """Set both UniFrac heads, where they are on, to the mean of the `true` distances [pairs] of the batch."""
    mean, largest = true.mean().item(), true.max().item()
    if model.euclidean is not None:
        model.euclidean.calibrate(output.samples, mean, largest)
    if model.latent_tree is not None and model.latent_tree.metric != "weighted":
        model.latent_tree.calibrate(output.asvs, batch.index, batch.valid, batch.abundance, mean)


def log_ratio(wanted: Tensor, found: Tensor) -> Tensor:
    """log(mean wanted / mean found) [], of any shapes; 0 where either mean is not positive."""
    ratio = wanted.mean() / found.mean()
    return ratio.log() if bool(ratio > 0) and bool(torch.isfinite(ratio)) else torch.zeros(())
