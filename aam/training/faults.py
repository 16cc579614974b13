"""Handling of faults in a run: find the cause, record it, then stop, skip the step or return to a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aam.atomic import write_text
from aam.config import RunnableConfig
from aam.corpus.batches import TrainingBatches, drop_samples
from aam.corpus.dataset import Batch
from aam.corpus.samples import OF_ASVS, drop_absent
from aam.errors import NonFiniteError
from aam.folders import LAST
from aam.health.bundle import save_bundle
from aam.health.ledger import FILE_NAME, Item, Ledger
from aam.io.table import STORED_ZEROS, Table
from aam.text import counted
from aam.training.bundles import BUNDLE, AsvNames, bundle_contents, outcome_of
from aam.training.diagnosis import FAULT_REPORT, Diagnosis, brief_text, diagnose, full_text, headline
from aam.training.guard import SKIPPED, StepGuard, Tripped
from aam.training.state import TrainState, restore
from aam.training.step import Learner

TABLE_STAGE = "table"
"""Stage of the ledger: what the feature table held."""
LISTED = 2_000_000
"""Most samples, or ASVs, that the ledger lists one by one; larger corpora have the manifest of `aam prepare`."""
FAULTS = "faults"
"""Folder of a run with one folder for each fault."""
TRAINING_STAGE = "training"
"""Stage of the ledger that a sample leaves when it is quarantined for a fault."""
TAKEN_BACK = "rollback"


def open_ledger(config: RunnableConfig) -> Ledger:
    """Open the ledger in the output directory of a run: a new one or, with `resume`, the existing one."""
    folder = config.run.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    if not config.run.resume:
        (folder / FILE_NAME).unlink(missing_ok=True)
    return Ledger(folder / FILE_NAME, config.health.quarantine_budget)


def enter_table(ledger: Ledger, table: Table, dropped: Mapping[str, Sequence[str]]) -> None:
    """Enter the samples and ASVs of a table into the ledger, used ones and those `dropped` (reason -> ids).

    They were dropped by options (depth, --max-missing, the ids of a matrix), so they do not count towards the budget.
    """
    if len(table.asv_ids) <= LISTED and set(dropped) - {*OF_ASVS, STORED_ZEROS}:
        table = drop_absent(table)
        dropped = {**dropped, **table.dropped}
    items: list[tuple[Item, Sequence[str]]] = [("sample", table.sample_ids), ("asv", table.asv_ids)]
    for item, kept in items:
        if len(kept) > LISTED:
            continue
        lost = {
            reason: ids
            for reason, ids in dropped.items()
            if reason != STORED_ZEROS and (reason in OF_ASVS) == (item == "asv")
        }
        everyone = dict.fromkeys([*kept, *(name for ids in lost.values() for name in ids)])
        ledger.enter(TABLE_STAGE, item, everyone)
        for reason, ids in lost.items():
            ledger.quarantine(TABLE_STAGE, item, ids, reason, planned=True)
        ledger.close(TABLE_STAGE, item, kept)


@dataclass(frozen=True)
class Drawn:
    """Micro-batches of one step, and the numbers of all batches that it took from the stream."""

    batches: list[Batch]
    numbers: list[int]


class RunHealth:
    """Records the faults of a run (guard, interventions, ledger) and handles them.

    `table` (None: no table) and the ids `dropped` from it by reason give names for messages and entries for the ledger.
    """

    def __init__(
        self,
        config: RunnableConfig,
        learner: Learner,
        batches: TrainingBatches,
        table: Table | None,
        dropped: Mapping[str, Sequence[str]],
    ):
        self.config, self.learner, self.table, self.dropped = config, learner, table, dropped
        self.samples, self.per_epoch = batches.samples.sample_ids, batches.per_epoch
        self.ledger = Ledger(budget=config.health.quarantine_budget)  # in memory until the run starts
        self.names = AsvNames() if table is None else AsvNames(table.asv_ids, table.sequences)
        self.folder = config.run.output_dir / FAULTS
        self.guard = StepGuard(config, learner, self.names)
        self.interventions = self.guard.interventions
        self.policy = "skip" if config.health.skip_step_on_nan else config.health.on_fault
        self.skipped: set[int] = set()  # numbers of batches that are left out
        self._numbers: dict[int, list[int]] = {}  # step -> batches drawn for it, as far back as a fault can lie
        self.unsaved = False  # something happened that the last checkpoint does not know
        self._quarantined: list[str] = []  # as the checkpoint has it
        self._lost: set[str] = set()  # as the ledger has it, which may be long

    def open(self) -> None:
        """Begin the ledger: samples and ASVs of the table, those dropped, and the samples that enter training."""
        self.ledger = open_ledger(self.config)
        if self.table is not None:
            enter_table(self.ledger, self.table, self.dropped)
        self.ledger.enter(TRAINING_STAGE, "sample", self.samples)
        self.ledger.quarantine(TRAINING_STAGE, "sample", self._quarantined, "quarantined before the run was resumed")
        self._lost = self.ledger.lost("sample", TRAINING_STAGE)
        fresh = not (self.config.run.output_dir / LAST).exists()
        self.unsaved = fresh and self.policy == "rollback"  # there must be something to go back to

    def draw(self, stream: Iterator[Batch], state: TrainState) -> Drawn:
        """The micro-batches of the next step without quarantined samples; the next of `stream` is `state.batches`."""
        drawn = Drawn([], [])
        self._numbers[state.step] = drawn.numbers
        self._numbers.pop(state.step - self.config.health.watch_every, None)
        while len(drawn.batches) < self.config.optim.accumulate:
            number, batch = state.batches + len(drawn.numbers), next(stream)
            drawn.numbers.append(number)
            if number not in self.skipped and not self._lost.issuperset(batch.sample_ids):
                drawn.batches.append(drop_samples(batch, self._lost))
            elif len(drawn.numbers) > 2 * self.per_epoch + self.config.optim.accumulate:
                raise NonFiniteError("every batch is quarantined, nothing is left to train on; see `aam ledger show`")
        return drawn

    def recover(self, trip: Tripped, state: TrainState) -> bool:
        """Diagnose and record a step that was not finite; return whether the run went back to its last checkpoint.

        Raises `NonFiniteError` if the run must stop: by the policy, because skipping cannot help, or because a
        budget is exceeded.
        """
        numbers = self._numbers[trip.attempt.number]
        with self.learner.ranks.apart(self.learner) as alone:
            fault = diagnose(alone, trip.attempt, self.names)
            folder = self._write(alone, fault, trip, numbers)
        text = (folder / FAULT_REPORT).read_text(encoding="utf-8") if self.config.health.nan_debug else None
        print(text or brief_text(fault, self.names, folder), file=sys.stderr, flush=True)
        hopeless = self.policy == "skip" and fault.verdict.cause == "parameter"
        if self.policy == "stop" or hopeless:
            why = "; skipping cannot help, the weights were bad before" if hopeless else ""
            raise NonFiniteError(f"{headline(fault)}{why}; nothing was updated, see {folder / FAULT_REPORT}")
        if self.learner.scaler.is_enabled() and trip.result is not None:
            self.learner.scaler.update()  # else the next step may not unscale
        self._quarantine(fault, numbers)
        self.interventions.add(SKIPPED if self.policy == "skip" else TAKEN_BACK)
        self.unsaved = True
        self.check(state)
        if self.policy == "skip":
            return False
        last = restore(self.learner, self.config.run.output_dir / LAST)
        vars(state).update(vars(last) | {"seconds": state.seconds, "done": False})
        return True

    def check_unread(self, state: TrainState) -> bool:
        """Check the steps that were not read yet, so that no checkpoint holds an undetected fault; as `recover`."""
        try:
            self.guard.flush(self.learner)
        except Tripped as trip:
            return self.recover(trip, state)
        return False

    def check(self, state: TrainState) -> None:
        """Raise `NonFiniteError` if quarantined samples or interventions exceed the budgets of the whole run."""
        self.ledger.check()
        if self.interventions.total:
            self.interventions.check(max(state.step, state.horizon))

    def counts(self) -> dict[str, float]:
        """Numbers of interventions, spikes and quarantined samples so far."""
        quarantined = len(self.ledger.lost("sample", TRAINING_STAGE))
        return {"interventions": self.interventions.total, "spikes": self.guard.spikes, "quarantined": quarantined}

    def readings(self) -> dict[str, float]:
        """The counts, and the ratios of update to weight since the last call, for the log."""
        found, ratios = self.counts(), sorted(self.guard.ratios.values())
        if ratios:
            found |= {"update_ratio": ratios[len(ratios) // 2], "update_ratio_max": ratios[-1]}
            self.guard.ratios = {}
        return found

    def new_spikes(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Spikes since the last call: step, and value, mean and deviations."""
        spikes, self.guard.new_spikes = self.guard.new_spikes, []
        for spike in spikes:
            yield spike.step + 1, {spike.name: spike.value, "mean": spike.mean, "sigmas": spike.sigmas}

    def close(self) -> None:
        """Account for every sample that entered training; raises `LedgerError` if the account does not add up."""
        entered = self.ledger.entered(TRAINING_STAGE, "sample")
        self.ledger.close(TRAINING_STAGE, "sample", entered - self.ledger.lost("sample", TRAINING_STAGE))

    def line(self, steps: int) -> str:
        """One line for the end of a run."""
        lost, total = (
            len(self.ledger.lost("sample", TRAINING_STAGE)),
            len(self.ledger.entered(TRAINING_STAGE, "sample")),
        )
        samples = f"{counted(total, 'samples')} = {total - lost:,} kept + {lost:,} quarantined"
        return f"{self.interventions.line(steps)}; {counted(self.guard.spikes, 'spikes')}; {samples}"

    def record(self, steps: int) -> dict[str, Any]:
        """Interventions, spikes, steps and accounts, for the manifest."""
        return {
            "interventions": self.interventions.state_dict(),
            "spikes": self.guard.spikes,
            "steps": steps,
            "ledger": self.ledger.state_dict(),
        }

    def rewind(self, state: TrainState) -> bool:
        """Take back what a step that was cut off has drawn; False if it may have changed more than that."""
        return self.guard.rewind(state.step)

    def state_dict(self) -> dict[str, Any]:
        """Records of faults for the checkpoint, so that a resumed run keeps them."""
        self.unsaved = False
        return {
            "interventions": self.interventions.state_dict(),
            "skipped": sorted(self.skipped),
            "quarantined": sorted(self.ledger.lost("sample", TRAINING_STAGE)),
            "reach": self.guard.reach,
            "spikes": self.guard.spikes,
            "scaled": self.guard.scaled,
            "parts": self.learner.parts,
            "kept": self.learner.kept,
            "planned_for": self.learner.planned_for,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore from a checkpoint; its quarantined samples stay quarantined even if the ledger was lost."""
        self.interventions.load_state_dict(state["interventions"])
        self.skipped = set(state["skipped"])
        self.guard.reach, self.guard.spikes = state["reach"], state["spikes"]
        self.guard.scaled = state["scaled"]
        self.learner.parts = state.get("parts", 1)  # checkpoints of earlier versions have none of these
        self.learner.kept, self.learner.planned_for = state.get("kept", 1.0), state.get("planned_for")
        self._quarantined = state["quarantined"]

    def _write(self, learner: Learner, fault: Diagnosis, trip: Tripped, numbers: list[int]) -> Path:
        """Write report and bundle of a fault into their own folder."""
        folder = self.folder / f"step-{fault.attempt.number + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        record = bundle_contents(self.config, learner, fault.attempt, self.names)
        if trip.result is not None:
            record["outcome"] = vars(outcome_of(learner, trip.result, updated=False))
        save_bundle(folder / BUNDLE, record)
        facts = {
            "epoch": f"{numbers[-1] // self.per_epoch + 1}",
            "batches": ", ".join(map(str, numbers)),
            "seen": trip.what,
            "noticed": f"{trip.late} updates later" if trip.late else "before the update",
            "updates so far": f"no weight can have moved further than {self.guard.reach:.3g}, weight decay aside",
            "policy": self.policy,
            "reproduce": f"aam replay {folder / BUNDLE}",
        }
        write_text(folder / FAULT_REPORT, full_text(fault, self.names, facts))
        return folder

    def _quarantine(self, fault: Diagnosis, numbers: list[int]) -> None:
        """Quarantine the samples at fault; if they are unknown, record the whole step as left out."""
        first = fault.report.producer
        facts: dict[str, Any] = {"step": fault.attempt.number + 1, "cause": fault.verdict.cause}
        if first is not None:
            facts |= {"module": first.module, "op": first.op, "phase": first.phase, "nan": first.nan}
        if fault.samples and len(fault.samples) < len(fault.batch.sample_ids):
            self.ledger.quarantine(TRAINING_STAGE, "sample", fault.samples, headline(fault).partition(": ")[2], **facts)
            self._lost.update(fault.samples)
            return
        stage = f"step {fault.attempt.number + 1}"
        ids = [sample for batch in fault.attempt.microbatches for sample in batch.sample_ids]
        self.ledger.enter(stage, "sample", dict.fromkeys(ids))
        self.ledger.quarantine(stage, "sample", ids, "its batch was left out", **facts)
        if self.policy == "rollback":
            self.skipped.update(numbers)
