"""The guard of the steps of a run: one host read checks that a step is finite; a non-finite step updates nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from aam.config import RunnableConfig
from aam.corpus.dataset import Batch
from aam.errors import NonFiniteError, lacks_memory
from aam.health.bundle import random_state, restore_torch_state, save_bundle, torch_state
from aam.health.guards import HALVED_BATCH, Interventions, clamp_outputs, sanitize_gradients
from aam.health.monitor import NORM, Reading, Spike, Watch
from aam.health.tracing import Tracer
from aam.models.layers import Block
from aam.training.bundles import BUNDLE, AsvNames, Attempt, bundle_contents, copy_tensors, outcome_of
from aam.training.step import Guard, Learner, StepResult

BUNDLES = "bundles"
"""Folder of a run with the step that `bundle_step` names, recorded though nothing was wrong with it."""
CLAMP = 60000.0
"""Largest magnitude that a clamped block may put out: what half precision can still hold."""
SMALLEST_SCALE = 1.0
"""Gradients that overflow at this loss scale or below are a fault; above it the scale was too large."""
SKIPPED, HALVED = "skipped step", "halved loss scale"


class Tripped(NonFiniteError):
    """Raised for a non-finite step, which updated nothing; `late`: number of steps since then."""

    def __init__(self, attempt: Attempt, result: StepResult | None, what: str, late: int = 0):
        super().__init__(f"step {attempt.number + 1}: {what}; nothing was updated")
        self.attempt, self.result, self.what, self.late = attempt, result, what, late


class StepGuard(Guard):
    """Checks the steps of one run, counts faults and spikes, and records the step `bundle_step`."""

    def __init__(self, config: RunnableConfig, learner: Learner, names: AsvNames):
        self.config, self.names = config, names
        self.interventions = Interventions(config.health.intervention_budget)
        self.watch: Watch | None = None  # made at the first step, which knows the loss terms
        self.reach, self.spikes = 0.0, 0
        self.scaled = False  # a loss scale has been found that the gradients survive
        self.new_spikes: list[Spike] = []
        self.ratios: dict[str, float] = {}
        self._begun: tuple[int, Mapping[str, Any]] = (-1, {})  # the last step that has begun, and its random state
        self._unread: list[Attempt] = []
        self._reading: Reading | None = None
        self.changing = False  # weights or counts may be those of a step that the run has not counted yet
        self._recorded: dict[str, Any] | None = None  # what the step under way depends on, where it is to be recorded
        self._random = random_state()  # a step draws from torch's generators alone, so the others are read once
        if config.health.safe_clamp:
            blocks = [(name, module) for name, module in learner.model.named_modules() if isinstance(module, Block)]
            clamp_outputs(blocks, CLAMP, self.interventions)

    def begin(self, learner: Learner, microbatches: Sequence[Batch], number: int, horizon: int) -> None:
        self.changing = False
        self._attempt = Attempt(number, horizon, tuple(microbatches), self._random | torch_state())
        self._begun = (number, self._attempt.random)
        self._unread.append(self._attempt)
        if number + 1 == self.config.health.bundle_step:
            self._recorded = copy_tensors(bundle_contents(self.config, learner, self._attempt, self.names))

    @contextmanager
    def passes(self, learner: Learner) -> Iterator[None]:
        """Trace every operation (`debug_finite`) or detect anomalies (`anomaly_detect`), if configured."""
        health = self.config.health
        with (
            trace_operations(learner.model, health.debug_finite) as made,
            detect_anomalies(health.anomaly_detect) as found,
        ):
            yield
        if found or (health.debug_finite and learner.ranks.any_rank(bool(made))):  # all processes trip, or none
            self._unread.clear()
            raise Tripped(self._attempt, None, [*made, *found, "NaN made in another process"][0])

    def out_of_memory(self, learner: Learner, text: str) -> None:
        self._unread.pop()
        self.interventions.add(HALVED_BATCH)
        print(text, file=sys.stderr, flush=True)

    def rewind(self, number: int) -> bool:
        """Take back the random numbers of step `number` if it has begun; False if it may have changed more."""
        begun, random = self._begun
        if begun == number:
            restore_torch_state(random)
        return not self.changing

    def admit(self, learner: Learner, result: StepResult) -> Tensor:
        self.changing = True
        norm = self._sanitised(learner, result) if self.config.health.sanitize_grads else result.grad_norm
        if self.watch is None:
            self.watch = Watch(learner.model, result.names, self.config.health)
        reading = self.watch.record(self._attempt.number, result.terms, norm)
        self.reach += learner.optimizer.largest_move()
        if reading is not None and self.config.health.watch_every == 1:
            self._judge(learner, reading, result)
        self._reading = reading
        return norm

    @contextmanager
    def updating(self, learner: Learner, result: StepResult) -> Iterator[None]:
        """With `watch_every` > 1 the host reads late, so the device itself skips a non-finite update.

        The host then reads after the update, so that the update of a finite step is kept.
        """
        assert self.watch is not None  # the step was admitted
        late = self.config.health.watch_every > 1
        blind: Any = learner.optimizer if late and not learner.scaler.is_enabled() else None
        if blind is not None:
            blind.found_inf = (~torch.isfinite(result.terms[0] + result.grad_norm)).float()
        with self.watch.update(self._attempt.number):
            yield
        if blind is not None:
            del blind.found_inf
        if self._recorded is not None:
            folder = self.config.run.output_dir / BUNDLES / f"step-{self._attempt.number + 1}"
            outcome = vars(outcome_of(learner, result, updated=True))
            save_bundle(folder / BUNDLE, self._recorded | {"outcome": outcome})
            self._recorded = None
        if self._reading is not None and late:
            self._judge(learner, self._reading, None)

    def flush(self, learner: Learner) -> None:
        """Read the steps that were not read yet; raises `Tripped` for a non-finite step."""
        if self.watch is not None and self._unread:
            self._judge(learner, self.watch.read(), None)

    def _judge(self, learner: Learner, reading: Reading, result: StepResult | None) -> None:
        """Record spikes and ratios; raise `Tripped` for the first non-finite step since the last reading."""
        attempts, self._unread = self._unread, []
        self.new_spikes += reading.spikes
        self.spikes += len(reading.spikes)
        self.ratios = reading.ratios or self.ratios
        if reading.finite:
            self.scaled = True
            return
        faulty = list(dict.fromkeys(step for step, *_ in reading.bad))
        overflows = [step for step in faulty if self._scale_too_large(learner, reading, step)]
        self.interventions.add(HALVED, len(overflows) if self.scaled else 0)  # the search for a first scale is no fault
        bad = [step for step in faulty if step not in overflows]
        if not bad:
            return
        culprit = next(attempt for attempt in attempts if attempt.number == bad[0])
        self.interventions.add(SKIPPED, len(bad) - 1)  # `RunHealth.recover` counts the first
        late = sum(attempt.number > culprit.number for attempt in attempts)
        raise Tripped(culprit, None if late else result, str(reading).split(": ", 1)[1], late)

    def _scale_too_large(self, learner: Learner, reading: Reading, step: int) -> bool:
        """Whether only the scaled gradients overflowed; the loss scaler handles that."""
        terms = {name for at, name, _ in reading.bad if at == step}
        return learner.scaler.is_enabled() and terms == {NORM} and learner.scaler.get_scale() > SMALLEST_SCALE

    def _sanitised(self, learner: Learner, result: StepResult) -> Tensor:
        """The gradient norm once non-finite gradients are replaced by 0, each counted."""
        if bool(torch.isfinite(result.grad_norm)):
            return result.grad_norm
        sanitize_gradients(learner.model, self.interventions)
        return nn.utils.get_total_norm(p.grad for p in learner.model.parameters() if p.grad is not None)


@contextmanager
def trace_operations(model: nn.Module, wanted: bool) -> Iterator[list[str]]:
    """If `wanted`, trace every operation of the block; then the yielded list names those that produced NaN."""
    made: list[str] = []
    if not wanted:
        yield made
        return
    with Tracer(model) as tracer:
        yield made
    made += [f"NaN made by {event.op} in {event.module} ({event.phase})" for event in tracer.events if event.made_nan]


@contextmanager
def detect_anomalies(wanted: bool) -> Iterator[list[str]]:
    """If `wanted`, use torch's anomaly mode; then the yielded list holds the text of its error."""
    found: list[str] = []
    if not wanted:
        yield found
        return
    try:
        with torch.autograd.set_detect_anomaly(True):
            yield found
    except RuntimeError as error:
        if lacks_memory(error):
            raise
        found.append(" ".join(str(error).split()))
