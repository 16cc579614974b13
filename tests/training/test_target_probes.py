"""The checks before a fine-tuning: right answers score zero, wrong labels do not, and what is cut off is found."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from built_learner import Built, built

from aam.health.trial import Preflight
from aam.training.preflight import quick_preflight
from aam.training.probes import TargetProbes

TASKS: dict[str, dict[str, Any]] = {
    "regression": {},
    "asymmetric": {"loss": "asymmetric"},
    "quantiles": {"task": "quantiles"},
    "classification": {"task": "classification"},
    "ordinal": {"task": "ordinal"},
}


def looked_over(run: Built) -> Preflight:
    return quick_preflight(run.config, run.learner, run.batches, TargetProbes(run.config))


@pytest.mark.parametrize("options", TASKS.values(), ids=TASKS)
def test_right_answers_score_zero_and_wrong_labels_do_not(options: dict[str, Any]):
    run = built(**options)
    probes, batch = TargetProbes(run.config), run.batches[0]
    answers = probes.perfect_output(batch)
    assert run.learner.objective.losses(answers, batch).total.item() < 1e-4
    assert run.learner.objective.losses(answers, probes.shuffle_targets(batch)).total.item() > 0.1


def test_a_run_that_can_learn_passes_and_is_not_touched():
    run = built(epochs=1000)  # a twentieth of its time is enough for all checks, on a busy machine too
    learner = run.learner
    before = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
    found = looked_over(run)
    assert found.ok and sum(check.ok is True for check in found.checks) >= 10, str(found)
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.model.state_dict().items())
    assert learner.optimizer.state_dict()["state"] == {}


def test_a_head_that_nothing_trains_is_found():
    run = built(task="ordinal")
    run.learner.model.head.top.requires_grad_(False)
    found = looked_over(run)
    assert found.failed[0].name == "trainable" and "head.top" in found.failed[0].detail
