"""A learner of the example's ages as `aam train` builds it, and its batches."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch

from aam.config import FinetuneConfig, from_options
from aam.corpus.batches import LabelledBatches
from aam.corpus.dataset import Draw
from aam.corpus.label_schema import encode_labels, fit_schema
from aam.corpus.study import Study, open_study
from aam.training.finetune import Start, build_target_learner
from aam.training.step import Learner


class Built(NamedTuple):
    config: FinetuneConfig
    learner: Learner
    batches: LabelledBatches
    study: Study


opened = cache(open_study)
"""A study is looked at and not changed, so each is read once."""


def built(**options: Any) -> Built:
    """Tiny, from scratch, on all samples with an age; options as on the command line."""
    size = {"preset": "tiny", "branches": 16, "patch": 25, "batch_size": 16, "device": "cpu", "max_minutes": 5.0}
    config = from_options(FinetuneConfig, {"example": True, "target": ("age_months",)} | size | options)
    study = opened(config.data, config.target)
    schema = fit_schema(study.labels, config.target, study.classes, study.depth)
    config = dataclasses.replace(config, schema=schema)
    rows, draw = np.arange(len(study.labels.sample_ids)), Draw(study.depth, 64, "abundance", 0)
    labels = encode_labels(study.labels, schema)
    batches = LabelledBatches(study.samples(rows, draw), config.optim.batch_size, labels)
    learner = build_target_learner(config, batches, Start(None, None), torch.device("cpu"))
    return Built(config, learner, batches, study)
