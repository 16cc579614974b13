"""Builds a pretraining from its configuration: batches, model with heads at the mean of their targets, optimiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from aam.config import PretrainConfig
from aam.corpus.batches import TrainingBatches
from aam.corpus.dataset import Batch, build_draw
from aam.corpus.pretraining import Corpus
from aam.models.devices import resolve_device
from aam.models.pretrain_model import PretrainModel, PretrainOutput
from aam.models.sample_encoder import log_abundance
from aam.training.loop import TrainingRun
from aam.training.losses import TargetScale, above_diagonal, distance_roots, log_faith_pd
from aam.training.objective import PretrainObjective, model_inputs
from aam.training.optim import build_optimizer, loss_scaler
from aam.training.step import Learner

SCALE_BATCHES = 8
"""Batches on which the variances of the targets are measured."""
Weights = Mapping[str, Tensor]
"""Tensors of a model by name, as `state_dict` gives them."""


@torch.no_grad()
def start_heads_at_target_means(model: PretrainModel, batch: Batch, learned: Weights | None = None) -> None:
    """Standardise ASV and sample embeddings, then set scales and biases of the heads to the means of one batch.

    `learned`: weights whose ASV encoder and latent tree the model takes as they are. Uses training mode, because with
    an untrained encoder dropout noise exceeds the differences between samples.
    """
    inputs = model_inputs(batch)
    model.train().initialise_from(inputs)
    if learned is not None:
        model.take_asvs(learned)
        model.initialise_samples(inputs)
    output = model(inputs)
    if batch.unifrac is not None:
        start_unifrac_at_mean(model, batch, output, learned is None)
        output = model(inputs)
    true, found = batch.patristic, output.patristic
    if batch.reference_patristic is not None:  # the latent tree then has the units of the reference
        true, found = batch.reference_patristic, output.reference_patristic
    if learned is None and model.latent_tree is not None and true is not None and found is not None:
        model.latent_tree.log_scale.add_(log_ratio(above_diagonal(true), above_diagonal(found)))
    if batch.faith_pd is not None:
        model.scalars.pd.bias.add_(log_faith_pd(batch.faith_pd).mean() - output.faith_pd.mean())
    amount = log_abundance(batch.abundance)[batch.valid].mean()
    model.scalars.amount.bias.add_(amount - output.slot_abundance[batch.valid].mean())
    model.hidden_asvs.amount.bias.add_(amount - output.hidden_abundance[batch.valid].mean())


def start_unifrac_at_mean(model: PretrainModel, batch: Batch, output: PretrainOutput, tree: bool) -> None:
    """Set the UniFrac heads that are on, the latent `tree` or not, to the mean of the distances of the batch."""
    assert batch.unifrac is not None
    true = above_diagonal(batch.unifrac)
    mean, largest = true.mean().item(), true.max().item()
    if model.euclidean is not None:
        model.euclidean.start_at_mean(output.samples, mean, largest)
    if tree and model.latent_tree is not None and model.latent_tree.metric != "weighted":
        model.latent_tree.start_at_mean(output.asvs, batch.index, batch.valid, batch.abundance, mean)


def log_ratio(wanted: Tensor, found: Tensor) -> Tensor:
    """log(mean wanted / mean found) [], of any shapes; 0 if either mean is not positive."""
    ratio = wanted.mean() / found.mean()
    return ratio.log() if bool(ratio > 0) and bool(torch.isfinite(ratio)) else torch.zeros(())


def training_batches(config: PretrainConfig, corpus: Corpus) -> TrainingBatches:
    samples = corpus.samples(corpus.sides.train, build_draw(config.data, corpus.depth, config.run.seed))
    return TrainingBatches(samples, config.optim.batch_size, corpus.targets, config.loss, corpus.reference)


def measure_scale(batches: TrainingBatches) -> TargetScale:
    """Variances of the targets over the first training batches; 1 if a target is missing or constant."""
    some = [batches[number] for number in range(min(SCALE_BATCHES, batches.per_epoch))]
    pairs = {
        name: [above_diagonal(getattr(b, name)) for b in some if getattr(b, name) is not None]
        for name in ("unifrac", "patristic")
    }
    pairs["faith_pd"] = [log_faith_pd(b.faith_pd) for b in some if b.faith_pd is not None]
    pairs["abundance"] = [log_abundance(b.abundance)[b.valid] for b in some]
    pairs["reference"] = [distance_roots(b.reference_patristic) for b in some if b.reference_patristic is not None]
    return TargetScale(**{name: variance(values) for name, values in pairs.items()})


def variance(values: list[Tensor]) -> float:
    """Variance of all values [n]; 1 for fewer than two values or a constant."""
    joined = torch.cat(values).double() if values else torch.ones(1)
    found = float(joined.var()) if joined.numel() > 1 else 0.0
    return found if found > 0 else 1.0


PretrainLearner = Learner[PretrainModel, PretrainObjective]


def build_learner(
    config: PretrainConfig, batches: TrainingBatches, device: torch.device, weights: Weights | None = None
) -> PretrainLearner:
    """A model with these weights, or a fresh one with its heads at the mean of their targets, and its optimiser.

    A resumed run reads the weights from its checkpoint instead. The result depends only on configuration, data and
    weights.
    """
    torch.manual_seed(config.run.seed)
    model = PretrainModel(config.model)
    if weights is not None and not config.start.restart_samples:
        model.load_state_dict(weights)
    elif not config.run.resume:
        start_heads_at_target_means(model, batches[0], weights)
    model.to(device)
    if config.start.freeze_asvs and (weights is not None or config.run.resume):
        model.asv_encoder.freeze()
    optimizer = build_optimizer(model, config.optim)
    scaler = loss_scaler(config.optim, device)
    if config.optim.compile:
        model.asv_encoder.compile_encoding()
    objective = PretrainObjective(config.loss, measure_scale(batches))
    return Learner(model, optimizer, scaler, config.optim, objective, device)


def build_run(
    config: PretrainConfig,
    corpus: Corpus,
    evaluate: Callable[[Learner], dict[str, float]],
    selects: bool = True,
    weights: Weights | None = None,
) -> TrainingRun:
    """A pretraining with these weights or fresh ones; `evaluate` and `selects` as in `Run`."""
    batches = training_batches(config, corpus)
    learner = build_learner(config, batches, resolve_device(config.run.device), weights)
    return TrainingRun(config, learner, batches, evaluate, selects, corpus.table, corpus.dropped)
