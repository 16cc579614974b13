"""Will this configuration learn from these data? The checks of `aam.health.preflight` on a run's own model."""

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
from aam.corpus.dataset import Batch, draw_of
from aam.corpus.pretraining import Corpus
from aam.health.bundle import random_state, restore_random_state
from aam.health.checks_start import START
from aam.health.checks_update import LEARNING, UPDATE
from aam.health.preflight import MODES, Preflight, preflight
from aam.health.trial import Check, Checks, Trial
from aam.models.devices import resolve_device
from aam.models.layers import Attention
from aam.training.optim import MODEST_SCALE, learning_rate, loss_scaler
from aam.training.probes import PretrainProbes, Probes, junk
from aam.training.run import build_learner, training_batches
from aam.training.state import Budget
from aam.training.step import Learner, score, step

MEMORISED_SAMPLES, SMALL_BATCH, BATCHES, SMALL_TOKEN_LIMIT = 4, 4, 8, 32
"""Samples learned by heart; of checks that train for a while: samples in a batch, batches, ASVs of a sample."""
FAST = 0.128
"""Learning rate of these checks, times the width of the model."""
HORIZON = 300
"""Updates of the schedule under which a check trains."""
TIME_SHARE, MOST_SECONDS = 0.05, 60.0
"""Part of a run that checks before it may take, and seconds they take at most."""
MIN_CHECKED_UPDATES = 100
"""Updates from which on the learning rates are checked: a shorter run is only a trial of whether it runs."""
QUICK = (*START, *UPDATE)
"""The first checks before every run."""


@dataclass
class Workshop:
    """Makes trials: each a fresh copy of a learner that was built once, with batches that were assembled once."""

    probes: Probes
    learner: Learner
    batches: Sequence[Batch]
    few: Batch | None = None
    held_out: Sequence[Batch] = ()
    rates: Sequence[float] = ()

    def trial(self) -> Trial:
        """A fresh trial."""
        learner = self.copy()
        done = 0

        def advance(batch: Batch) -> object:
            nonlocal done
            done += 1
            return step(learner, [batch], min(done, HORIZON) - 1, HORIZON)

        return Trial(
            model=learner.model,
            optimizer=learner.optimizer,
            batches=self.batches,
            predict=lambda batch: self.probes.scored_output(score(learner, batch)[0], batch),
            score=lambda output, batch: learner.objective.losses(output, batch.to(learner.device)).total,
            step=advance,
            few=self.few,
            held_out=self.held_out,
            heads=lambda output, batch: self.probes.heads(output, batch, self.batches[0]),
            perfect=lambda batch: self.probes.perfect(batch.to(learner.device)),
            shuffled=self.probes.shuffled,
            junk=junk,
            frozen=self.probes.frozen(learner.model, self.batches),
            rates=self.rates,
        )

    def copy(self) -> Learner:
        """The learner with weights, optimiser and loss scale of its own."""
        model = copy.deepcopy(self.learner.model)
        return dataclasses.replace(
            self.learner,
            model=model,
            optimizer=self.probes.optimizer(model, self.learner.optim),
            scaler=loss_scaler(self.learner.optim, self.learner.device, MODEST_SCALE),
        )


def without_noise(learner: Learner, rate: float | None = None) -> Learner:
    """A copy without dropout and in fp32, which would blur comparisons; on request with another learning rate."""
    model = copy.deepcopy(learner.model)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, Attention):
            module.dropout = 0.0
    optim = dataclasses.replace(learner.optim, precision="fp32", lr=rate or learner.optim.lr)
    return dataclasses.replace(learner, model=model, optim=optim)


def full_preflight(config: PretrainConfig, corpus: Corpus, seconds: float) -> Preflight:
    """All checks on a fresh model of a run; those that train for a while do so on small batches."""
    config = without_compilation(config)
    batches = training_batches(config, corpus)
    learner = build_learner(config, batches, resolve_device(config.run.device))
    full = Workshop(
        PretrainProbes(config.loss), learner, [batches[number] for number in range(3)], rates=planned_rates(config)
    )
    modes = dataclasses.replace(full, learner=without_noise(learner))
    small = learning_workshop(config, corpus, learner)
    return run_stages([(full, QUICK), (modes, MODES), (full, LEARNING[:1]), (small, LEARNING[1:])], seconds)


def learning_workshop(config: PretrainConfig, corpus: Corpus, learner: Learner) -> Workshop:
    """A few samples with a few ASVs, and the rate at which a model of this width learns them fast."""
    short = dataclasses.replace(config.data, token_limit=min(SMALL_TOKEN_LIMIT, config.data.token_limit))
    own = dataclasses.replace(config, data=short)
    train, held_out = (batches_of_size(own, corpus, rows, SMALL_BATCH) for rows in corpus.sides)
    return Workshop(
        PretrainProbes(own.loss),
        without_noise(learner, max(config.optim.lr, FAST / config.model.dim)),
        [train[number] for number in range(BATCHES)],
        batches_of_size(own, corpus, corpus.sides.train, MEMORISED_SAMPLES)[0],
        [held_out[number] for number in range(min(BATCHES, held_out.per_epoch))],
    )


def quick_preflight(config: RunnableConfig, learner: Learner, batches: TrainingBatches, probes: Probes) -> Preflight:
    """The quick checks on a learner before its training, in at most 5 % of the time of that training.

    The learner must not be compiled: such a model cannot be copied.
    """
    state = random_state()
    try:
        rates = planned_rates(config)
        some = [batches[number] for number in range(3)]
        shop = Workshop(probes, learner, some, rates=rates if len(rates) >= MIN_CHECKED_UPDATES else ())
        modes = dataclasses.replace(shop, learner=without_noise(learner))
        return run_stages(
            [(shop, QUICK), (modes, MODES), (shop, LEARNING[:1])], time_budget(config, shop, batches.per_epoch)
        )
    finally:
        restore_random_state(state)


def run_stages(stages: Sequence[tuple[Workshop, Checks]], seconds: float) -> Preflight:
    """The checks of each workshop, one after the other, in a time for all of them."""
    ends = time.monotonic() + seconds
    done: list[Check] = []
    for shop, checks in stages:
        done += preflight(shop.trial, ends - time.monotonic(), checks).checks
    return Preflight(tuple(done))


def time_budget(config: RunnableConfig, shop: Workshop, per_epoch: int) -> float:
    """Seconds that checks before a run may take: a twentieth of the run, by its budget or by the pace of one step."""
    budget = Budget.of(config.run, max(1, per_epoch // config.optim.accumulate))
    bounds = [MOST_SECONDS] + ([] if budget.seconds is None else [TIME_SHARE * budget.seconds])
    if budget.steps is not None:
        trial, start = shop.trial(), time.perf_counter()
        trial.step(shop.batches[0])
        bounds.append(TIME_SHARE * budget.steps * config.optim.accumulate * (time.perf_counter() - start))
    return min(bounds)


def without_compilation(config: PretrainConfig) -> PretrainConfig:
    """The same without compilation."""
    return dataclasses.replace(config, optim=dataclasses.replace(config.optim, compile=False))


def batches_of_size(config: PretrainConfig, corpus: Corpus, rows: NDArray[np.int64], size: int) -> TrainingBatches:
    """Batches of the samples `rows`: of `size` samples each, or fewer where a study has fewer."""
    samples = corpus.samples(rows, draw_of(config.data, corpus.depth, config.run.seed))
    return TrainingBatches(samples, min(size, *map(len, samples.by_study())), corpus.targets, config.loss)


def planned_rates(config: RunnableConfig) -> list[float]:
    """Learning rates of the whole run; empty where only its time is bounded."""
    steps = config.run.max_steps
    return [] if steps is None else [learning_rate(number, steps, config.optim) for number in range(steps)]
