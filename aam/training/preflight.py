"""The checks of `aam.health.preflight` on the model and data of a run."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from aam.config import PretrainConfig, RunnableConfig
from aam.corpus.batches import TrainingBatches
from aam.corpus.dataset import Batch, build_draw
from aam.corpus.pretraining import Corpus
from aam.health.bundle import random_state, restore_random_state
from aam.health.checks_start import MODE_CHECKS, START_CHECKS
from aam.health.checks_update import LEARNING_CHECKS, UPDATE_CHECKS
from aam.health.preflight import preflight
from aam.health.trial import CheckResult, Checks, Preflight, Trial
from aam.models.devices import resolve_device
from aam.models.layers import Attention
from aam.training.optim import MODEST_SCALE, learning_rate, loss_scaler
from aam.training.probes import PretrainProbes, Probes, fill_padding
from aam.training.run import build_learner, training_batches
from aam.training.state import Budget
from aam.training.step import Learner, score, step

OVERFIT_SAMPLES, TRIAL_SAMPLES, TRIAL_BATCHES, TRIAL_ASVS = 4, 4, 8, 32
"""Samples that the overfit check learns; of the checks after it: samples in a batch, batches, ASVs of a sample."""
TRIAL_RATE = 0.128
"""Learning rate of these checks, times the width of the model."""
TRIAL_STEPS = 300
"""Updates of the schedule under which a check trains."""
RUN_SHARE, MOST_SECONDS = 0.05, 60.0
"""Part of a run that checks before it may take, and seconds they take at most."""
SERIOUS = 100
"""Updates of a run that is meant to learn; shorter runs are not checked for too small learning rates."""


@dataclass
class TrialMaker:
    """Makes trials: each with a fresh copy of one learner, all with the same batches."""

    probes: Probes
    learner: Learner
    batches: Sequence[Batch]
    few: Batch | None = None
    held_out: Sequence[Batch] = ()
    rates: Sequence[float] = ()

    def make(self) -> Trial:
        """A fresh trial."""
        learner = self.copy_learner()
        done = 0

        def advance(batch: Batch) -> object:
            nonlocal done
            done += 1
            return step(learner, [batch], min(done, TRIAL_STEPS) - 1, TRIAL_STEPS)

        return Trial(
            model=learner.model,
            optimizer=learner.optimizer,
            batches=self.batches,
            predict=lambda batch: self.probes.zero_padding(score(learner, batch)[0], batch),
            score=lambda output, batch: learner.objective.losses(output, batch.to(learner.device)).total,
            step=advance,
            few=self.few,
            held_out=self.held_out,
            heads=lambda output, batch: self.probes.heads(output, batch, self.batches[0]),
            perfect=lambda batch: self.probes.perfect_output(batch.to(learner.device)),
            shuffled=self.probes.shuffle_targets,
            junk=fill_padding,
            frozen=self.probes.untrained_parameters(learner.model, self.batches),
            rates=self.rates,
        )

    def copy_learner(self) -> Learner:
        """Copy the learner, with its weights, optimiser and loss scale."""
        model = copy.deepcopy(self.learner.model)
        return dataclasses.replace(
            self.learner,
            model=model,
            optimizer=self.probes.optimizer(model, self.learner.optim),
            scaler=loss_scaler(self.learner.optim, self.learner.device, MODEST_SCALE),
        )


def copy_without_noise(learner: Learner, rate: float | None = None) -> Learner:
    """A copy in fp32 without dropout, so that its outputs are comparable; on request with another learning rate."""
    model = copy.deepcopy(learner.model)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, Attention):
            module.dropout = 0.0
    optim = dataclasses.replace(learner.optim, precision="fp32", lr=rate or learner.optim.lr)
    return dataclasses.replace(learner, model=model, optim=optim)


def full_preflight(config: PretrainConfig, corpus: Corpus, seconds: float) -> Preflight:
    """All checks on an untrained model of a run; checks that train for longer use small batches."""
    config = without_compile(config)
    batches = training_batches(config, corpus)
    learner = build_learner(config, batches, resolve_device(config.run.device))
    some, rates = [batches[number] for number in range(3)], planned_rates(config)
    maker = TrialMaker(PretrainProbes(config.loss), learner, some, rates=rates)
    small = small_trials(config, corpus, learner)
    return run_stages([*quick_stages(maker), (small, LEARNING_CHECKS[1:])], seconds)


def small_trials(config: PretrainConfig, corpus: Corpus, learner: Learner) -> TrialMaker:
    """Trials on a few samples with few ASVs, at a high learning rate for the width of the model."""
    short = dataclasses.replace(config.data, token_limit=min(TRIAL_ASVS, config.data.token_limit))
    own = dataclasses.replace(config, data=short)
    train, held_out = (batches_of_size(own, corpus, rows, TRIAL_SAMPLES) for rows in corpus.sides)
    return TrialMaker(
        PretrainProbes(own.loss),
        copy_without_noise(learner, max(config.optim.lr, TRIAL_RATE / config.model.dim)),
        [train[number] for number in range(TRIAL_BATCHES)],
        batches_of_size(own, corpus, corpus.sides.train, OVERFIT_SAMPLES)[0],
        [held_out[number] for number in range(min(TRIAL_BATCHES, held_out.per_epoch))],
    )


def quick_preflight(config: RunnableConfig, learner: Learner, batches: TrainingBatches, probes: Probes) -> Preflight:
    """The quick checks on a learner before its training, in at most 5 % of the training time.

    The learner must not be compiled, because compiled models cannot be copied.
    """
    state = random_state()
    try:
        rates = planned_rates(config)
        some = [batches[number] for number in range(3)]
        maker = TrialMaker(probes, learner, some, rates=rates if len(rates) >= SERIOUS else ())
        return run_stages(quick_stages(maker), time_limit(config, maker, batches.per_epoch))
    finally:
        restore_random_state(state)


def quick_stages(maker: TrialMaker) -> list[tuple[TrialMaker, Checks]]:
    """The checks before every run, each group with the trials it needs: modes are compared without dropout."""
    modes = dataclasses.replace(maker, learner=copy_without_noise(maker.learner))
    return [(maker, (*START_CHECKS, *UPDATE_CHECKS)), (modes, MODE_CHECKS), (maker, LEARNING_CHECKS[:1])]


def run_stages(stages: Sequence[tuple[TrialMaker, Checks]], seconds: float) -> Preflight:
    """Run the checks of each trial maker in turn; `seconds` is the time for all of them together."""
    ends = time.monotonic() + seconds
    done: list[CheckResult] = []
    for maker, checks in stages:
        done += preflight(maker.make, ends - time.monotonic(), checks).checks
    return Preflight(tuple(done))


def time_limit(config: RunnableConfig, maker: TrialMaker, per_epoch: int) -> float:
    """Seconds that checks before a run may take: a twentieth of the run, by its budget or by the pace of one step."""
    budget = Budget.of(config.run, max(1, per_epoch // config.optim.accumulate))
    bounds = [MOST_SECONDS] + ([] if budget.seconds is None else [RUN_SHARE * budget.seconds])
    if budget.steps is not None:
        trial, start = maker.make(), time.perf_counter()
        trial.step(maker.batches[0])
        bounds.append(RUN_SHARE * budget.steps * config.optim.accumulate * (time.perf_counter() - start))
    return min(bounds)


def without_compile(config: PretrainConfig) -> PretrainConfig:
    """The configuration without `torch.compile`, because compiled models cannot be copied."""
    return dataclasses.replace(config, optim=dataclasses.replace(config.optim, compile=False))


def batches_of_size(config: PretrainConfig, corpus: Corpus, rows: NDArray[np.int64], size: int) -> TrainingBatches:
    """Batches of `size` samples from these rows; smaller if a study has fewer samples."""
    samples = corpus.samples(rows, build_draw(config.data, corpus.depth, config.run.seed))
    size = min(size, *map(len, samples.by_study()))
    return TrainingBatches(samples, size, corpus.targets, config.loss, corpus.reference)


def planned_rates(config: RunnableConfig) -> list[float]:
    """Learning rates of the whole run; empty if only its time is limited."""
    steps = config.run.max_steps
    return [] if steps is None else [learning_rate(number, steps, config.optim) for number in range(steps)]
