"""The files of a run directory, read once for its pictures and its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from aam.checkpoint import fold_folders
from aam.config import FinetuneConfig, from_dict, is_clades
from aam.corpus.study_checks import Contribution
from aam.errors import CheckpointError, InputError
from aam.evaluation.metrics import MODEL_MINUS_BASELINE, PREDICTOR_LABELS
from aam.evaluation.target_metrics import metrics_of
from aam.health.ledger import FILE_NAME, Ledger
from aam.inference.predictions import IN_FOLD, OUT_OF_FOLD, TRUE, read_out_of_fold
from aam.io.files import read_json_file
from aam.io.frames import read_frame
from aam.io.ids import FEATURE_ID
from aam.records import NUMBER, Many, check_shape
from aam.training.members import check_members
from aam.training.run_files import FILES, MANIFEST, check_recorded, read_manifest

METRICS_FILE, SUMMARY_FILE, REPORT_FILE = "metrics.json", "summary.txt", "report.html"
"""Files that every finished run has."""
TEXTS = ("_skipped", "health")
"""Ends of the names of metrics that are text."""
MADE_AGAIN = "restore it, or make it again by --resume"
CURVES_FILE, UNIFRAC_FILE, PREDICTIONS_FILE = "curves.png", "unifrac.png", "predictions.png"
"""Pictures with a place of their own in the report; others follow the curves."""
ORDINATION_FILE = "ordination.tsv"
"""Principal components of the samples of a run on clades."""
BASELINES_FILE, DRIVERS_FILE = "baselines.json", "drivers.tsv"
"""Files that `aam baseline` and `aam explain` may have written beside a run."""


class ReportOptions(NamedTuple):
    """Options of `aam report`; None: use the setting of the run, if it has one."""

    metadata: Path | None = None
    color_by: str | None = None
    baseline: Path | None = None
    explain: Path | None = None
    taxonomy: Path | None = None


@dataclass(frozen=True)
class RunRecord:
    """The content of the files of a run; empty for a missing file."""

    folder: Path
    manifest: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    accounts: Sequence[tuple[str, str, int, int]] = ()
    """Rows of the ledgers: stage, item, number entered, number lost."""
    losses: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Ids that were lost, by stage and reason."""

    @classmethod
    def read(cls, folder: Path) -> RunRecord:
        """Read manifest, metrics and ledgers; raises an InputError for a file that is damaged."""
        manifest = read_manifest(folder) if (folder / MANIFEST).is_file() else {}
        return cls(folder, manifest, read_metrics(folder), *read_accounts(folder))

    def doubts(self) -> list[str]:
        """Files that are readable, but not as the run wrote them: logs, ledgers, lists of samples."""
        found = []
        for name in self.manifest.get(FILES, {}):
            try:
                check_recorded(self.folder, name, "restore it; what is shown of it may be wrong")
            except CheckpointError as error:
                found.append(str(error))
        try:
            check_members(self.folder)
        except CheckpointError as error:
            found.append(str(error))
        return found

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def finetuned(self) -> bool:
        """Whether the run is one of `aam train`."""
        return "target" in self.manifest.get("config", {})

    @property
    def on_clades(self) -> bool:
        """Whether the run is one of `aam train --learner clades`, which has no steps."""
        return self.finetuned and is_clades(self.config)

    @cached_property
    def config(self) -> FinetuneConfig:
        """The configuration of a run of `aam train`."""
        return from_dict(FinetuneConfig, self.manifest["config"])

    @cached_property
    def contributions(self) -> list[Contribution]:
        """What each of several studies contributed to a run of `aam train`."""
        try:
            return [Contribution(**record) for record in self.manifest.get("studies", [])]
        except TypeError as error:
            raise CheckpointError(f"{self.folder / MANIFEST}: studies: {error}; restore the file") from error

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """The out-of-fold predictions of a run of `aam train`; raises CheckpointError if they cannot be read."""
        return read_predictions(self.folder, self.config)

    def fold_rows(self) -> list[dict[str, Any]]:
        """A row for each fold: its name, number of samples and metrics; no metrics if there are several targets."""
        if not (self.folder / OUT_OF_FOLD).is_file():
            return []
        rows, names = [], self.config.target.target
        for fold, table in self.predictions.groupby(IN_FOLD, sort=False):
            row: dict[str, Any] = {"fold": fold, "samples": len(table)}
            if len(names) == 1:
                predicted, true = table[names[0]].to_numpy(), table[f"{names[0]}{TRUE}"].to_numpy()
                row |= {key: metric(predicted, true) for key, metric in metrics_of(self.config.target.task).items()}
            rows.append(row)
        return rows if len(rows) > 1 else []


def read_metrics(run: Path) -> dict[str, Any]:
    """The metrics of a run, empty if it has none yet; raises CheckpointError for a file that has changed."""
    check_recorded(run, METRICS_FILE, MADE_AGAIN)
    metrics = read_mapping(run / METRICS_FILE)
    numbers = {name: value for name, value in metrics.items() if not name.endswith(TEXTS)}
    try:
        check_shape(numbers, Many((*NUMBER, bool, type(None)), named=True))
    except ValueError as error:
        raise CheckpointError(f"{run / METRICS_FILE}: {error}; {MADE_AGAIN}") from error
    return metrics


def read_predictions(run: Path, config: FinetuneConfig) -> pd.DataFrame:
    """The out-of-fold predictions of a run; raises CheckpointError if they cannot be read or have changed."""
    check_recorded(run, OUT_OF_FOLD, MADE_AGAIN)
    return read_out_of_fold(run, config)


def read_mapping(path: Path) -> dict[str, Any]:
    """A JSON file of a run, empty if there is none; raises CheckpointError for one that is damaged."""
    if not path.is_file():
        return {}
    found = read_json_file(path, lambda value: value, CheckpointError, "the report needs it whole")
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: found a {type(found).__name__}, expected names with values; restore the file")
    return found


def read_accounts(run: Path) -> tuple[list[tuple[str, str, int, int]], dict[str, list[str]]]:
    """`accounts` and `losses` of a `RunRecord` from the ledgers of a run or of its folds."""
    accounts: list[tuple[str, str, int, int]] = []
    losses: dict[str, list[str]] = {}
    for folder in fold_folders(run) or [run]:
        if not (folder / FILE_NAME).is_file():
            continue
        ledger, fold = Ledger.read(folder / FILE_NAME), "" if folder == run else f"{folder.name}, "
        for row in ledger.accounts():
            stage = row.stage if row.stage == "table" else fold + row.stage
            account = (stage, row.item, row.entered, row.quarantined)
            if account not in accounts:  # all folds begin with the same table
                accounts.append(account)
        for loss in ledger.losses:
            stage = loss.stage if loss.stage == "table" else fold + loss.stage
            ids = losses.setdefault(f"{stage}: {loss.reason}", [])
            ids += [] if loss.id in ids else [loss.id]
    return accounts, losses


def read_baselines(run: Path, given: Path | None) -> dict[str, Any]:
    """Read the result of `aam baseline` from the given file or from the run; empty if there is none."""
    path = given or run / BASELINES_FILE
    found = read_mapping(path)
    if given is None and not path.is_file():
        return {}
    if not found or not all(isinstance(of, dict) and set(of) & set(PREDICTOR_LABELS) for of in found.values()):
        raise CheckpointError(f"--baseline {path}: not what `aam baseline` writes; give its {BASELINES_FILE}")
    return {
        target: {name: rename_difference_key(of) for name, of in predictors.items()}
        for target, predictors in found.items()
    }


def rename_difference_key(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics of a baseline with the differences under `MODEL_MINUS_BASELINE`; version 0.1.0 has another key."""
    return {MODEL_MINUS_BASELINE if key == "model_less_this" else key: value for key, value in metrics.items()}


def read_drivers(path: Path) -> pd.DataFrame:
    """The table of `aam explain`, all columns text; raises InputError for a file of another kind."""
    try:
        frame = read_frame(path, dtype=str)
    except (OSError, ValueError) as error:
        raise InputError(f"--explain {path}: not readable ({error}); give the table of `aam explain`") from error
    if frame.columns[0] != FEATURE_ID:
        found = f"the first column is {frame.columns[0]!r}, expected {FEATURE_ID!r}"
        raise InputError(f"--explain {path}: {found}; give the table of `aam explain`")
    return frame
