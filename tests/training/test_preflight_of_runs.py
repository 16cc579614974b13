"""The checks before a run: what they find in a real one, and that they leave no trace in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from aam.corpus.pretraining import Corpus
from aam.health.trial import Preflight
from aam.training.loop import TrainingRun
from aam.training.preflight import copy_without_noise, quick_preflight
from aam.training.probes import PretrainProbes, fill_padding
from aam.training.run import training_batches
from aam.training.state import TrainState
from aam.training.step import score

NewRun = Callable[..., tuple[TrainingRun, TrainState]]


def looked_over(run: TrainingRun, example: Corpus) -> Preflight:
    batches = training_batches(run.config, example)
    return quick_preflight(run.config, run.learner, batches, PretrainProbes(run.config.loss))


def test_they_leave_no_trace(new_run: NewRun, example: Corpus):
    run, _ = new_run("run", max_minutes=5.0)
    before = {name: tensor.clone() for name, tensor in run.learner.model.state_dict().items()}
    random = torch.get_rng_state()
    found = looked_over(run, example)
    assert found.ok and sum(check.ok is True for check in found.checks) >= 10, str(found)
    assert torch.equal(torch.get_rng_state(), random) and run.learner.optimizer.state_dict()["state"] == {}
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.learner.model.state_dict().items())
    assert all(parameter.grad is None for parameter in run.learner.model.parameters())


def test_they_take_a_twentieth_of_the_run_at_most(new_run: NewRun, example: Corpus):
    run, _ = new_run("run", max_minutes=1e-5)
    found = looked_over(run, example)
    assert found.ok and [check.ok for check in found.checks].count(None) >= 8


def test_a_block_that_nothing_reaches_is_found(new_run: NewRun, example: Corpus):
    run, _ = new_run("run", max_minutes=5.0)
    run.learner.model.sample_encoder.pooling.requires_grad_(False)
    found = looked_over(run, example)
    assert [check.name for check in found.failed][0] == "trainable" and "sample_encoder.pooling" in str(found)


@pytest.mark.parametrize("options", [{}, {"unifrac_head": "euclidean"}, {"unifrac_metric": "weighted"}])
def test_right_answers_score_zero_and_wrong_targets_do_not(new_run: NewRun, example: Corpus, options: dict[str, str]):
    run, _ = new_run("run", **options)
    batch = training_batches(run.config, example)[0]
    objective, probes = run.learner.objective, PretrainProbes(run.config.loss)
    answers = probes.perfect_output(batch)
    assert objective.losses(answers, batch).total.item() < 1e-4
    assert objective.losses(answers, probes.shuffle_targets(batch)).total.item() > 0.3


def test_junk_lies_in_the_padding_alone(new_run: NewRun, example: Corpus):
    run, _ = new_run("run", token_limit=64)
    batch = training_batches(run.config, example)[0]
    other = fill_padding(batch)
    assert torch.equal(other.counts[batch.valid], batch.counts[batch.valid])
    assert not torch.equal(other.counts, batch.counts) and torch.equal(other.abundance, batch.abundance)


def test_without_dropout_training_repeats_itself(new_run: NewRun, example: Corpus):
    run, _ = new_run("run")
    batch = training_batches(run.config, example)[0]
    quiet = copy_without_noise(run.learner)
    totals = [score(learner, batch)[1].total.item() for learner in (quiet, quiet, run.learner, run.learner)]
    assert totals[0] == totals[1] and totals[2] != totals[3]


def test_the_head_starts_at_the_entropy_of_what_is_usual(new_run: NewRun, example: Corpus):
    run, _ = new_run("run")
    batches = training_batches(run.config, example)
    heads = PretrainProbes(run.config.loss).heads(score(run.learner, batches[0])[0], batches[0], batches[0])
    (head,) = heads.values()
    usual = torch.nn.functional.cross_entropy(head.prior, head.targets)
    found = torch.nn.functional.cross_entropy(head.logits.float(), head.targets)
    assert abs(found.item() - usual.item()) < 0.1
