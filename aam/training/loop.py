"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from aam.config import RunnableConfig
from aam.corpus.batches import TrainingBatches
from aam.corpus.dataset import Batch
from aam.errors import Interrupted, NonFiniteError, OutOfMemoryError, WorkerError, lacks_memory
from aam.folders import BEST, LAST
from aam.io.table import Table
from aam.observer import Sink
from aam.stopping import Stopped, StopRequest
from aam.text import counted
from aam.training.faults import RunHealth
from aam.training.guard import Tripped
from aam.training.sinks import Meter
from aam.training.state import EVALUATION_SHARE, EVALUATIONS, Budget, TrainState, patience_of, restore, snapshot
from aam.training.step import Learner, step

EARLIEST = 5
"""Updates before the first evaluation of a run without `eval_every`: there is nothing to see yet."""
LOG_SECONDS = 2.0
"""Time between readings of the meter; each is a host read."""


@dataclass
class TrainingRun:
    """The parts of a run, except its state.

    `evaluate` scores held-out samples. Without `selects`, scores are only logged and the last model is the result.
    `table`, and the ids `dropped` from it by reason, give names for reports and entries for the ledger. Without
    `saves`, no checkpoint is written.
    """

    config: RunnableConfig
    learner: Learner
    batches: TrainingBatches
    evaluate: Callable[[Learner], dict[str, float]]
    selects: bool = True
    table: Table | None = None
    dropped: Mapping[str, Sequence[str]] = field(default_factory=dict)
    saves: bool = True
    sinks: list[Sink] = field(default_factory=list)
    meter: Meter = field(default_factory=Meter)
    clock: Callable[[], float] = time.perf_counter
    budget: Budget = field(init=False)
    _stream: Generator[Batch, None, None] | None = field(init=False, default=None)
    health: RunHealth = field(init=False)

    def __post_init__(self) -> None:
        self.budget = Budget.of(self.config.run, max(1, self.batches.per_epoch // self.config.optim.accumulate))
        self.health = RunHealth(self.config, self.learner, self.batches, self.table, self.dropped)

    def start_or_restore(self) -> TrainState:
        """The initial state of a run or, with `resume`, that of its last checkpoint."""
        state = TrainState()
        if self.config.run.resume:
            state = restore(self.learner, self.config.run.output_dir / LAST, self.health.load_state_dict)
        state.settle_end(patience_of(self.config.run))
        state.done = self.budget.spent(state)
        return state

    def stream(self, start: int) -> Iterator[Batch]:
        """The batches from number `start` on; ends the stream before, and its processes."""
        self.close_stream()
        self._stream = self.batches.stream(start, self.config.run.num_workers)
        return self._stream

    def close_stream(self) -> None:
        """End the processes that assemble batches."""
        if self._stream is not None:
            self._stream.close()

    def seconds(self) -> float:
        """The time, on the clock of the first rank."""
        return self.learner.ranks.broadcast_first([self.clock()])[0]

    def scores(self) -> dict[str, float]:
        """The scores of `evaluate` on the first rank."""
        with self.learner.ranks.whole(self.learner) as learner:
            values = self.evaluate(learner)
        return dict(zip(values, self.learner.ranks.broadcast_first(list(values.values())), strict=True))

    def save(self, state: TrainState, name: str) -> Path:
        """Write a checkpoint of this name; returns where it lies."""
        folder = self.config.run.output_dir / name
        if not self.saves:
            return folder
        return self.learner.ranks.save(folder, snapshot(self.config, self.learner, state, self.health.state_dict()))

    def write(self, kind: str, state: TrainState, values: dict[str, float], step: int | None = None) -> None:
        for sink in self.sinks:
            sink.write(kind, step or state.step, values, self.budget.share(state))

    def early_end(self, state: TrainState) -> str:
        """Why the run ended before its budget; empty if it did not."""
        if not 0 < state.ends <= state.step or self.budget.used_up(state):
            return ""
        flat = counted(state.stale_evaluations, "evaluations")
        return f"ended early, at step {state.step}: held-out loss flat for {flat}"

    def eval_due(self, state: TrainState) -> bool:
        """Whether to evaluate: at the end, and every `eval_every` steps or about `EVALUATIONS` times in the run.

        In a run of limited time these take no more than `EVALUATION_SHARE` of it.
        """
        every = self.config.run.eval_every
        if state.done or every is not None:
            return state.done or state.step % (every or 1) == 0
        if self.budget.seconds is not None and state.evaluation_seconds > EVALUATION_SHARE * state.seconds:
            return False
        return state.step >= EARLIEST and state.step % max(1, state.horizon // EVALUATIONS) == 0


def train(run: TrainingRun, state: TrainState, stop: StopRequest) -> None:
    """Train until a budget is spent, which a flat held-out loss cuts short, or `stop` is requested; updates `state`.

    Raises, after a checkpoint, Interrupted if a signal has stopped the run, WorkerError if a process of --num-workers
    is lost, and what lacks memory, in a step on one sample or in an evaluation.
    """
    run.health.open()
    try:
        if state.unscored:
            evaluate(run, state)
            run.save(state, LAST)
        take_steps(run, state, stop)
    except Stopped as cut:
        if run.learner.ranks.alone and run.health.rewind(state):
            save_and_end(run, state, cut.name)
        raise
    except (WorkerError, OutOfMemoryError, RuntimeError, MemoryError) as error:
        lost = isinstance(error, WorkerError | OutOfMemoryError) or lacks_memory(error)
        if lost and run.learner.ranks.alone and run.health.rewind(state):
            run.save(state, LAST)
        raise
    finally:
        run.close_stream()
    run.health.close()


def save_and_end(run: TrainingRun, state: TrainState, name: str) -> NoReturn:
    """Write a checkpoint and end the run for a signal of this name."""
    run.health.check_unread(state)
    folder = run.save(state, LAST)
    raise Interrupted(f"interrupted by {name} after step {state.step}; go on with --resume ({folder})")


def take_steps(run: TrainingRun, state: TrainState, stop: StopRequest) -> None:
    """The steps of `train`, from the state on."""
    stream = run.stream(state.batches)
    before = read = run.seconds()
    state.horizon = run.budget.horizon(state)
    if run.health.unsaved:
        run.save(state, LAST)
    if state.done and run.selects and state.step and not state.best_step:  # the best checkpoint was lost
        evaluate(run, state)
        run.save(state, LAST)
    while not state.done:
        drawn = run.health.draw(stream, state)
        try:
            run.meter.add(step(run.learner, drawn.batches, state.step, state.horizon, run.health.guard))
        except Tripped as trip:
            if run.health.recover(trip, state):
                stream = run.stream(state.batches)
                continue
        now = run.seconds()
        state.step, state.batches = state.step + 1, state.batches + len(drawn.numbers)
        run.health.guard.changing = False
        state.seconds, before = state.seconds + now - before, now
        state.done = run.budget.spent(state)
        if state.done or now - read > LOG_SECONDS:
            read = now
            state.horizon = run.budget.horizon(state)
            run.health.check(state)
            run.write("train", state, run.meter.read() | run.health.readings())
            for at, values in run.health.new_spikes():
                run.write("spike", state, values, at)
        due = run.eval_due(state)
        if due and run.health.check_unread(state):
            stream = run.stream(state.batches)
            continue
        if due:
            evaluate(run, state)
        if due or run.health.unsaved:
            run.save(state, LAST)
        if run.learner.ranks.any_rank(stop.requested) and not state.done:
            save_and_end(run, state, stop.name or "a signal to another process")


def evaluate(run: TrainingRun, state: TrainState) -> None:
    """Evaluate, keep the best checkpoint, set the end of a run of flat loss; cut off, it leaves all of that open."""
    before = replace(state, unscored=True)
    try:
        judge(run, state)
    except (Stopped, RuntimeError, MemoryError):
        vars(state).update(vars(before))
        raise
    state.unscored = False


def judge(run: TrainingRun, state: TrainState) -> None:
    """The work of `evaluate`."""
    start = run.seconds()
    with run.meter.pause():
        values = run.scores()
    state.evaluation_seconds += run.seconds() - start
    run.write("validation", state, values)
    if not run.selects:
        return
    if not math.isfinite(values["loss"]):
        terms = ", ".join(f"{name} {value:g}" for name, value in values.items() if not math.isfinite(value))
        raise NonFiniteError(f"held-out samples after step {state.step}: {terms}; the checkpoints before are kept")
    if values["loss"] < state.best_loss:
        state.best_loss, state.best_step = values["loss"], state.step
        run.save(state, BEST)
    if state.note_loss(values["loss"], patience_of(run.config.run)) and not state.done:
        state.horizon = run.budget.horizon(state)
        run.write("flat", state, {"evaluations": state.stale_evaluations, "ends": state.horizon})
