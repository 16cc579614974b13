"""The checks before a fine-tuning: right answers score zero, wrong labels do not, and what is cut off is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from aam.config import FinetuneConfig, from_options
from aam.data.dataset import Draw
from aam.data.label_schema import encode, fit_schema
from aam.data.labelled import LabelledBatches
from aam.health.preflight import Preflight
from aam.study import open_study
from aam.training.finetune import Start, build_target_learner
from aam.training.preflight import look_over
from aam.training.step import Learner
from aam.training.target_probes import TargetProbes

TASKS: dict[str, dict[str, Any]] = {
    "regression": {},
    "asymmetric": {"loss": "asymmetric"},
    "quantiles": {"task": "quantiles"},
    "classification": {"task": "classification"},
    "ordinal": {"task": "ordinal"},
}


def built(**options: Any) -> tuple[FinetuneConfig, Learner, LabelledBatches]:
    """A learner of the example's ages as `aam train` builds it."""
    size = {"preset": "tiny", "branches": 16, "patch": 25, "batch_size": 16, "device": "cpu", "max_minutes": 5.0}
    config = from_options(FinetuneConfig, {"example": True, "target": ("age_months",)} | size | options)
    study = open_study(config.data, config.target)
    rows = np.arange(len(study.labels.sample_ids))
    schema = fit_schema(study.labels, config.target, study.classes, study.depth)
    config = FinetuneConfig(**{**vars(config), "schema": schema})
    labels = encode(study.labels, schema)
    batches = LabelledBatches(study.samples(rows, Draw(study.depth, 64, "abundance", 0)), 16, labels)
    return config, build_target_learner(config, batches, Start(None, None), torch.device("cpu")), batches


def looked_over(config: FinetuneConfig, learner: Learner, batches: LabelledBatches) -> Preflight:
    return look_over(config, learner, batches, TargetProbes(config))


@pytest.mark.parametrize("options", TASKS.values(), ids=TASKS)
def test_right_answers_score_zero_and_wrong_labels_do_not(options: dict[str, Any]):
    config, learner, batches = built(**options)
    probes, batch = TargetProbes(config), batches[0]
    answers = probes.perfect(batch)
    assert learner.objective.losses(answers, batch).total.item() < 1e-4
    assert learner.objective.losses(answers, probes.shuffled(batch)).total.item() > 0.1


def test_a_run_that_can_learn_passes_and_is_not_touched():
    config, learner, batches = built()
    before = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
    found = looked_over(config, learner, batches)
    assert found.ok and sum(check.ok is True for check in found.checks) >= 10, str(found)
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.model.state_dict().items())
    assert learner.optimizer.state_dict()["state"] == {}


def test_a_head_that_nothing_trains_is_found():
    config, learner, batches = built(task="ordinal")
    learner.model.head.top.requires_grad_(False)
    found = looked_over(config, learner, batches)
    assert found.failed[0].name == "trainable" and "head.top" in found.failed[0].detail
