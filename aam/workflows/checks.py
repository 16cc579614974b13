"""The work of `aam preflight` and `aam replay`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aam.config import PretrainConfig
from aam.config.convert import check_bounds
from aam.corpus.pretraining import open_corpus
from aam.errors import NonFiniteError
from aam.health.preflight import Preflight
from aam.health.trial import CheckResult
from aam.models.devices import resolve_device
from aam.observer import Observer
from aam.training.bundles import Bundle, Comparison, Outcome, compare_outcomes, open_bundle, runtime_versions
from aam.training.bundles import replay as replay_step
from aam.training.diagnosis import diagnose, full_text
from aam.training.preflight import full_preflight
from aam.turns import in_turn
from aam.workflows.notes import say_reads
from aam.workflows.opening import with_findings


@in_turn()
def preflight(config: PretrainConfig, seconds: float, observer: Observer) -> Preflight:
    """Run all checks, in about `seconds`, on an untrained model with the data of a pretraining."""
    check_bounds("seconds", seconds, {"above": 0.0})
    with observer.stage("reading the data"):
        corpus = open_corpus(config)
    config = with_findings(config, corpus)
    say_reads(corpus, observer, corpus.bases)
    with observer.stage("checking"):
        return full_preflight(config, corpus, seconds)


def refuse_failed(failed: Sequence[CheckResult], remedy: str = "") -> None:
    """Raise NonFiniteError (exit code 3) if `failed` is not empty; the message has the detail of the first check."""
    if failed:
        names = ", ".join(check.name for check in failed)
        raise NonFiniteError(f"preflight: {names}: {failed[0].detail}{remedy}")


@dataclass(frozen=True)
class Replay:
    """A repeated step: its `bundle`, its outcome now, and the comparison with the recorded quantities.

    `rows` is empty if the run recorded no outcome. `changed` are versions and hardware that differ from those of the
    run: name -> (here, in the run). `trace` is the report of the locator, empty without `locate`.
    """

    bundle: Bundle
    again: Outcome
    rows: tuple[Comparison, ...]
    changed: dict[str, tuple[str, str]]
    trace: str

    @property
    def is_identical(self) -> bool:
        """Whether all quantities equal the recorded ones bit for bit."""
        return all(row.same for row in self.rows)


@in_turn()
def replay(path: Path, device: str, locate: bool, observer: Observer) -> Replay:
    """Repeat the step of a bundle; with `locate` trace all operations to find the cause of non-finite values."""
    bundle = open_bundle(path, resolve_device(device))
    here = runtime_versions(bundle.learner.device)
    changed = {name: (here[name], there) for name, there in bundle.versions.items() if here[name] != there}
    with observer.stage(f"making step {bundle.attempt.number + 1} again"):
        report = full_text(diagnose(bundle.learner, bundle.attempt, bundle.names), bundle.names, {}) if locate else ""
        again = replay_step(bundle)
    rows = () if bundle.outcome is None else tuple(compare_outcomes(bundle.outcome, again))
    return Replay(bundle, again, rows, changed, report)
