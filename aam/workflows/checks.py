"""Checks of training: before a run that it can learn, and of one of its steps, made again to the last bit."""

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


def preflight(config: PretrainConfig, seconds: float, observer: Observer) -> Preflight:
    """Run all checks, in about so many seconds, on a fresh model with the data of a pretraining."""
    check_bounds("seconds", seconds, {"above": 0.0})
    with observer.stage("reading the data"):
        corpus = open_corpus(config)
    with observer.stage("checking"):
        return full_preflight(config, corpus, seconds)


def refuse_failed(failed: Sequence[CheckResult], remedy: str = "") -> None:
    """Raise NonFiniteError (exit code 3) for the first of these checks, each of which found a fault."""
    if failed:
        names = ", ".join(check.name for check in failed)
        raise NonFiniteError(f"preflight: {names}: {failed[0].detail}{remedy}")


@dataclass(frozen=True)
class Replay:
    """A step made again: its `bundle`, what it came to now, and each quantity beside the recorded one.

    `rows` is empty where the run recorded no outcome. `changed` are versions and hardware that differ from those of the
    run: name -> (here, in the run). `trace` is the report of the locator, empty unless it was asked for.
    """

    bundle: Bundle
    again: Outcome
    rows: tuple[Comparison, ...]
    changed: dict[str, tuple[str, str]]
    trace: str

    @property
    def is_identical(self) -> bool:
        """Whether nothing differs by a bit from what was recorded."""
        return all(row.same for row in self.rows)


def replay(path: Path, device: str, locate: bool, observer: Observer) -> Replay:
    """Make the step of a bundle again; with `locate` every operation is traced to the cause of what is not finite."""
    bundle = open_bundle(path, resolve_device(device))
    here = runtime_versions(bundle.learner.device)
    changed = {name: (here[name], there) for name, there in bundle.versions.items() if here[name] != there}
    with observer.stage(f"making step {bundle.attempt.number + 1} again"):
        report = full_text(diagnose(bundle.learner, bundle.attempt, bundle.names), bundle.names, {}) if locate else ""
        again = replay_step(bundle)
    rows = () if bundle.outcome is None else tuple(compare_outcomes(bundle.outcome, again))
    return Replay(bundle, again, rows, changed, report)
