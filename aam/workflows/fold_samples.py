"""The samples of a fold: drawn as batches, predicted by a model, and scored under it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from aam.config import FinetuneConfig
from aam.corpus.batches import LabelledBatches
from aam.corpus.dataset import ASVDataset, build_draw
from aam.corpus.label_schema import encode_labels
from aam.corpus.split import Fold
from aam.corpus.study import Study
from aam.inference.predictions import average, decode, predict_draws, score_points
from aam.models.finetune_model import FinetuneModel
from aam.training.finetune import TargetLearner
from aam.workflows.fold_results import true_targets


def fold_batches(config: FinetuneConfig, study: Study, inner: Fold) -> LabelledBatches:
    """The training batches of a fold, without the rows that choose the checkpoint."""
    labels = encode_labels(study.labels.rows(inner.train), config.schema)
    return LabelledBatches(draw_rows(config, study, inner.train), config.optim.batch_size, labels)


def draw_rows(config: FinetuneConfig, study: Study, rows: NDArray[np.int64]) -> ASVDataset:
    """Samples of a study, rows [n], drawn with the settings of the run."""
    return study.samples(rows, build_draw(config.data, study.depth, config.run.seed))


def predict_rows(
    model: FinetuneModel, config: FinetuneConfig, study: Study, rows: NDArray[np.int64], draws: int
) -> NDArray[np.float64]:
    """Raw outputs [R, n, O, Q] of some samples of a study."""
    labels = encode_labels(study.labels.rows(rows), config.schema)
    return predict_draws(model, draw_rows(config, study, rows), labels, draws)


def score_rows(
    learner: TargetLearner, config: FinetuneConfig, study: Study, rows: NDArray[np.int64]
) -> dict[str, float]:
    """Loss and main metrics of some samples under the current model, for the log and the choice of the checkpoint."""
    labels = encode_labels(study.labels.rows(rows), config.schema)
    raw = predict_draws(learner.model, draw_rows(config, study, rows), labels, 1)
    found = average([decode(raw, config)], config)
    batch = [torch.from_numpy(values).to(learner.device) for values in (labels.numbers, labels.known, labels.classes)]
    losses = learner.objective.score(torch.from_numpy(raw[0]).float().to(learner.device), *batch)
    return {"loss": losses.total.item()} | score_points(found, true_targets(config, study).iloc[rows], config)
