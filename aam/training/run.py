"""Put a run together from its configuration: model, optimiser, batches, sinks; save it and take it up again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aam.checkpoint import LAST, Checkpoint, load_checkpoint, save_checkpoint, tensor_error_text
from aam.config import PretrainConfig, RunnableConfig
from aam.corpus.batches import TrainingBatches
from aam.corpus.dataset import Batch, draw_of
from aam.corpus.pretraining import Corpus
from aam.errors import CheckpointError
from aam.io.table import Table
from aam.models.devices import resolve_device
from aam.models.pretrain_model import PretrainModel, PretrainOutput
from aam.models.sample_encoder import log_abundance
from aam.training.faults import Backing, RunHealth
from aam.training.loop import Run
from aam.training.losses import TargetScale, above_diagonal, log_faith_pd
from aam.training.objective import PretrainObjective, model_inputs
from aam.training.optim import build_optimizer, loss_scaler, set_moments, set_weights
from aam.training.state import Budget, TrainState
from aam.training.step import Learner

SCALE_BATCHES = 8
"""Batches on which the variances of the targets are measured."""
RANDOM_STATE = "random_state"
Weights = Mapping[str, Tensor]
"""Tensors of a model by name, as `state_dict` gives them."""


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


def training_batches(config: PretrainConfig, corpus: Corpus) -> TrainingBatches:
    samples = corpus.samples(corpus.sides.train, draw_of(config.data, corpus.depth, config.run.seed))
    return TrainingBatches(samples, config.optim.batch_size, corpus.targets, config.loss)


def measure_scale(batches: TrainingBatches) -> TargetScale:
    """Variances of the targets over the first training batches; 1 where a target is missing or constant."""
    some = [batches[number] for number in range(min(SCALE_BATCHES, batches.per_epoch))]
    pairs = {
        name: [above_diagonal(getattr(b, name)) for b in some if getattr(b, name) is not None]
        for name in ("unifrac", "patristic")
    }
    pairs["faith_pd"] = [log_faith_pd(b.faith_pd) for b in some if b.faith_pd is not None]
    pairs["abundance"] = [log_abundance(b.abundance)[b.valid] for b in some]
    return TargetScale(**{name: variance(values) for name, values in pairs.items()})


def variance(values: list[Tensor]) -> float:
    """Variance of all values [n] together; 1 where there are fewer than two, or all are alike."""
    joined = torch.cat(values).double() if values else torch.ones(1)
    found = float(joined.var()) if joined.numel() > 1 else 0.0
    return found if found > 0 else 1.0


PretrainLearner = Learner[PretrainModel, PretrainObjective]


def build_learner(
    config: PretrainConfig, batches: TrainingBatches, device: torch.device, weights: Weights | None = None
) -> PretrainLearner:
    """A model and its optimiser: with these weights, or fresh, its heads at the mean of their targets; where a run goes
    on, its checkpoint has them.

    A function of configuration, data and weights.
    """
    torch.manual_seed(config.run.seed)
    model = PretrainModel(config.model)
    if weights is not None:
        model.load_state_dict(weights)
    elif not config.run.resume:
        calibrate(model, batches[0])
    model.to(device)
    optimizer = build_optimizer(model, config.optim)
    scaler = loss_scaler(config.optim, device)
    if config.optim.compile:
        model.asv_encoder.compile_encoding()
    objective = PretrainObjective(config.loss, measure_scale(batches))
    return Learner(model, optimizer, scaler, config.optim, objective, device)


@dataclass(frozen=True)
class Seams:
    """What the caller plugs into a run: how held-out samples are scored, and whether scores choose.

    `table`, and what was `dropped` from it (reason -> ids), give names to reports and accounts to the ledger.
    """

    evaluate: Callable[[Learner], dict[str, float]]
    selects: bool = True
    table: Table | None = None
    dropped: Mapping[str, Sequence[str]] = field(default_factory=dict)


def build_run(
    config: PretrainConfig, corpus: Corpus, seams: Seams, weights: Weights | None = None
) -> tuple[Run, TrainState]:
    """A pretraining at its start, with these weights or fresh, or, with `resume`, where its last checkpoint left it."""
    batches = training_batches(config, corpus)
    learner = build_learner(config, batches, resolve_device(config.run.device), weights)
    return assemble(config, learner, batches, replace(seams, table=corpus.table, dropped=corpus.dropped))


def assemble(
    config: RunnableConfig, learner: Learner, batches: TrainingBatches, seams: Seams
) -> tuple[Run, TrainState]:
    """A run of any objective at its start, or, with `resume`, where its last checkpoint left it."""
    state = TrainState()
    last, samples = config.run.output_dir / LAST, batches.samples.sample_ids
    backing = Backing(seams.table, seams.dropped, samples, batches.per_epoch, lambda: restore(learner, last))
    health = RunHealth(config, learner, backing)
    if config.run.resume:
        state = restore(learner, last, health)
    steps_per_epoch = max(1, batches.per_epoch // config.optim.accumulate)
    budget = Budget.of(config.run, steps_per_epoch)
    state.done = budget.spent(state) or state.impatient(config.run.patience)

    def save(state: TrainState, name: str) -> Path:
        folder = config.run.output_dir / name
        save_checkpoint(folder, snapshot(config, learner, state, health))
        return folder

    def stream(start: int) -> Any:
        return batches.stream(start, config.run.num_workers)

    run = Run(config, learner, stream, budget, health, seams.evaluate, save, seams.selects)
    return run, state


def snapshot(config: RunnableConfig, learner: Learner, state: TrainState, health: RunHealth) -> Checkpoint:
    """Everything that the rest of the run depends on."""
    training = {RANDOM_STATE: torch.get_rng_state()}
    if learner.device.type == "cuda":
        training[f"{RANDOM_STATE}_cuda"] = torch.cuda.get_rng_state(learner.device)
    for index, tensors in learner.optimizer.state_dict()["state"].items():
        training |= {f"optimizer.{index}.{name}": tensor for name, tensor in tensors.items()}
    record = {"train": asdict(state), "scaler": learner.scaler.state_dict(), "health": health.state_dict()}
    return Checkpoint(config, learner.model.state_dict(), training, record)


def restore(learner: Learner, folder: Path, health: RunHealth | None = None) -> TrainState:
    """Set model, optimiser, scaler and random state as `snapshot` found them, and `health` where it is given."""
    checkpoint = load_checkpoint(folder)
    try:
        set_weights(learner.model, checkpoint.model)
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in checkpoint.training.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".")
                moments.setdefault(int(index), {})[name] = tensor
        set_moments(learner.optimizer, learner.optimizer.state_dict() | {"state": moments})
        learner.scaler.load_state_dict(checkpoint.state["scaler"])
        torch.set_rng_state(checkpoint.training[RANDOM_STATE].byte())
        if learner.device.type == "cuda":
            torch.cuda.set_rng_state(checkpoint.training[f"{RANDOM_STATE}_cuda"].byte(), learner.device)
        if health is not None:
            health.load_state_dict(checkpoint.state["health"])
        return TrainState(**checkpoint.state["train"])
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{folder}: the run cannot go on from here ({tensor_error_text(error)}); start anew in another --output-dir"
        ) from error
