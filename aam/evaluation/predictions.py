"""Predictions of fine-tuned models: several draws of each sample, averaged, in the target's units.

R repeats (draws times models), N samples, O targets, Q quantiles or classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax
from torch import Tensor

from aam.config import NUMERIC_TASKS, FinetuneConfig
from aam.data.dataset import ASVDataset
from aam.data.label_schema import EncodedLabels, unscaled
from aam.data.labelled import labelled_parts
from aam.evaluation.asvs import encode_asvs
from aam.evaluation.embed import SAMPLE_ROWS
from aam.models.finetune_model import FinetuneModel, TargetInputs
from aam.models.pretrain_model import PretrainModel


@dataclass(frozen=True)
class Predictions:
    """`values` [N, O, Q]: numbers or quantiles in target units, or log-probabilities of classes; `spread` [N, O].

    The spread is the standard deviation over repeats: of the number, the middle quantile, the likeliest class's
    probability.
    """

    values: NDArray[np.float64]
    spread: NDArray[np.float64]


def embed_asvs(model: PretrainModel, tokens: NDArray[np.uint8]) -> Tensor:
    """Embeddings [A, D] of all ASVs of a table, tokens [A, L], each encoded once; a head may be trained on them."""
    return encode_asvs(model, tokens, np.arange(len(tokens))).embeddings.clone()


def embed_carried(model: PretrainModel, samples: ASVDataset) -> Tensor:
    """Embeddings [A, D] of the ASVs of a table that any of these samples carries; 0 for the others."""
    carried = np.unique(samples.counts.indices).astype(np.int64)
    found = encode_asvs(model, samples.tokens, carried).embeddings
    embedded = found.new_zeros(len(samples.tokens), found.shape[1])
    embedded[torch.from_numpy(carried)] = found
    return embedded


def predict_draws(model: FinetuneModel, samples: ASVDataset, labels: EncodedLabels, draws: int) -> NDArray[np.float64]:
    """Raw outputs [R, N, O, Q] of the draws of epochs 0 … draws - 1; one draw where nothing is drawn at random.

    The ASVs that the samples carry are embedded once for all draws, unless the model brings embeddings along.
    """
    device, training = next(model.parameters()).device, model.training
    cutting = samples.draw.depth is not None or (
        samples.draw.token_limit is not None and samples.draw.selection != "abundance"
    )
    model.eval()
    before = model.embedded
    model.open_table(samples.tokens, embed_carried(model.encoder, samples) if before is None else before)
    try:
        with torch.inference_mode():
            raw = [
                torch.cat(
                    [
                        model(TargetInputs(**part.to(device).seen())).members.mean(dim=0)
                        for part in labelled_parts(samples, labels, draw, SAMPLE_ROWS)
                    ]
                )
                for draw in range(draws if cutting else 1)
            ]
    finally:
        model.embedded = before
        model.train(training)
    return torch.stack(raw).double().cpu().numpy()


def decode(raw: NDArray[np.float64], config: FinetuneConfig) -> NDArray[np.float64]:
    """Raw outputs of one model [R, N, O, Q] in target units, or as log-probabilities."""
    if config.target.task not in NUMERIC_TASKS:
        return log_softmax(raw, axis=-1)
    targets = [unscaled(raw[:, :, place], target) for place, target in enumerate(config.schema.numbers)]
    return np.stack(targets, axis=2)


def average(repeats: Sequence[NDArray[np.float64]], config: FinetuneConfig) -> Predictions:
    """Join decoded outputs [R, N, O, Q] of one or more models: means of numbers; of log-probabilities, normalised."""
    joined = np.concatenate(list(repeats))
    values = joined.mean(axis=0)
    if config.target.task in NUMERIC_TASKS:
        return Predictions(values, joined[..., joined.shape[-1] // 2].std(axis=0))
    likeliest = values.argmax(axis=-1)[None, ..., None]
    return Predictions(
        log_softmax(values, axis=-1), np.take_along_axis(np.exp(joined), likeliest, axis=-1)[..., 0].std(axis=0)
    )


def probabilities(values: NDArray[np.float64], temperature: float = 1.0) -> NDArray[np.float64]:
    """Log-probabilities [N, 1, C] at a temperature -> probabilities [N, C]."""
    return softmax(values[:, 0] / temperature, axis=-1)
