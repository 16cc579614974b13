"""Builds the learner of a fine-tuning, which the loop and step of pretraining train."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import Tensor

from aam.config import NUMERIC_TASKS, FinetuneConfig, ModelConfig
from aam.corpus.batches import LabelledBatches
from aam.health.groups import parameter_groups
from aam.io.table import carriers_of
from aam.models.finetune_model import FinetuneModel, TargetInputs
from aam.training.objective import TargetObjective, balanced_weights, model_inputs
from aam.training.optim import loss_scaler, optimizer_for_groups
from aam.training.step import Learner

FEATURE_BATCHES = 8
"""Training batches on which the features of the head are measured."""
MAX_IDENTITIES = 4096
"""Most ASVs that a head tells apart by identity; more would be columns of noise."""


@dataclass(frozen=True)
class Start:
    """Start of an encoder: weights (None: untrained), and embeddings [A, D] of the ASVs if these are not trained."""

    weights: dict[str, Tensor] | None
    embedded: Tensor | None


def find_commonest_asvs(counts: csr_array, most: int) -> NDArray[np.int64]:
    """Columns of the most prevalent ASVs (at most `most`) of training samples, counts [N, A], in table order."""
    carriers = carriers_of(counts)
    return np.sort(np.argsort(-carriers, kind="stable")[:most])


def count_identities(counts: csr_array, prevalence: float) -> int:
    """Count ASVs with at least this prevalence, and in two samples or more; counts [N, A]; at most `MAX_IDENTITIES`."""
    carriers = carriers_of(counts)
    return 0 if prevalence >= 1 else min(MAX_IDENTITIES, int((carriers >= max(2, prevalence * counts.shape[0])).sum()))


TargetLearner = Learner[FinetuneModel, TargetObjective]


def build_target_learner(
    config: FinetuneConfig, batches: LabelledBatches, start: Start, device: torch.device
) -> TargetLearner:
    """Build a model from `start`, standardise the features of its head, and build its optimiser.

    A resumed run reads the feature scales from its checkpoint instead."""
    torch.manual_seed(config.run.seed)
    model = FinetuneModel(config)
    if start.weights is not None:
        model.encoder.load_state_dict(start.weights)
    elif not config.run.resume:
        model.encoder.initialise_from(model_inputs(batches[0]))
    model.to(device)
    tokens = batches.samples.tokens
    model.learn_identities(tokens[find_commonest_asvs(batches.samples.counts, config.schema.identities)])
    model.open_table(tokens, start.embedded)
    if not config.run.resume:
        standardise_head(model, batches, device)
    optimizer = optimizer_for_groups(groups_with_rates(model, config, start.weights is not None), model, config.optim)
    scaler = loss_scaler(config.optim, device)
    return Learner(model, optimizer, scaler, config.optim, build_objective(config, batches, device), device)


def build_objective(config: FinetuneConfig, batches: LabelledBatches, device: torch.device) -> TargetObjective:
    """Build the objective, with class weights from these training samples."""
    weights = None
    if config.target.task not in NUMERIC_TASKS and config.target.class_weights == "balanced":
        weights = balanced_weights(torch.from_numpy(batches.labels.classes), len(config.schema.classes)).to(device)
    return TargetObjective(config.target, weights)


@torch.no_grad()
def standardise_head(model: FinetuneModel, batches: LabelledBatches, device: torch.device) -> None:
    """Centre and scale the head's features by some batches of the training samples."""
    model.eval()
    some = [batches[number].to(device) for number in range(min(FEATURE_BATCHES, max(1, batches.per_epoch)))]
    model.head.standardise_features(torch.cat([model.features(TargetInputs(**batch.seen())) for batch in some]))
    model.train()


def groups_with_rates(model: FinetuneModel, config: FinetuneConfig, pretrained: bool) -> list[dict[str, Any]]:
    """Groups for the optimiser, each with the `scale` of its learning rate: 1 for the head, less for encoder layers.

    Layer-wise rates after Howard and Ruder 2018 (ULMFiT); an encoder from scratch learns as fast as the head.
    """
    split: dict[tuple[str, float], dict[str, Any]] = {}
    for group in parameter_groups(model, config.optim.weight_decay):
        for name, parameter in zip(group["names"], group["params"], strict=True):
            depth = layers_below_head(name, config.model) if pretrained else None
            scale = 1.0 if depth is None else config.optim.encoder_rate * config.optim.layer_decay**depth
            start = {**group, "params": [], "names": [], "scale": scale}
            into = split.setdefault((group["name"], scale), start)
            into["params"].append(parameter)
            into["names"].append(name)
    return list(split.values())


def layers_below_head(name: str, model: ModelConfig) -> int | None:
    """Transformer blocks between a parameter and the head, 0 for the last block; None for the head itself."""
    if not name.startswith("encoder."):
        return None
    sizes = {"sample_encoder": (0, model.sample_layers), "asv_encoder": (model.sample_layers, model.asv_layers)}
    above, layers = sizes.get(name.split(".")[1], (0, 0))
    block = re.search(r"transformer\.blocks\.(\d+)\.", name)
    if block:
        return above + layers - 1 - int(block[1])
    on_top = re.search(r"\.(pooling|transformer\.norm)\.", name) or layers == 0
    return above + (0 if on_top else layers)
