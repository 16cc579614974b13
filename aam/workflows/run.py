"""A finished run for use in Python: its metrics, history, predictions, pictures and model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from aam.checkpoint import find_members, fold_folders, open_model
from aam.config import FinetuneConfig, path_of
from aam.errors import CheckpointError
from aam.report.model_card import NO_FACTS, CardFacts
from aam.report.record import METRICS_FILE, REPORT_FILE, SUMMARY_FILE, RunRecord, read_metrics, read_predictions
from aam.training.manifest import find_run_folder, read_config
from aam.training.run_files import check_recorded, read_manifest
from aam.training.sinks import LOG, read_log

if TYPE_CHECKING:
    from aam.checkpoint import Finetuned, Pretrained


@dataclass(frozen=True)
class Run:
    """A finished run of `aam pretrain` or `aam train`; its files are read on access.

    A run is also the path of its directory, and can be given wherever a model is. Raises CheckpointError if there is no
    run.
    """

    folder: Path

    def __post_init__(self) -> None:
        # Absolute, because files are read later, and a notebook may have changed its directory by then.
        object.__setattr__(self, "folder", find_run_folder(path_of("folder", self.folder).absolute()))

    def __fspath__(self) -> str:
        return str(self.folder)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Run:
        """Open the run of a run directory or of a checkpoint in it."""
        return cls(path_of("folder", path))

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Content of metrics.json: metrics of held-out samples and baselines, time and memory of the run."""
        self._finished(METRICS_FILE)
        return read_metrics(self.folder)

    @property
    def summary(self) -> str:
        """The text of summary.txt."""
        return self._finished(SUMMARY_FILE).read_text(encoding="utf-8")

    @cached_property
    def history(self) -> pd.DataFrame:
        """Training log as rows: `fold`, `kind` ("train" or "validation"), `step`, `time` and losses; none on clades."""
        if RunRecord(self.folder, read_manifest(self.folder)).on_clades:
            return pd.DataFrame(columns=["fold", "kind", "step", "time"])
        folders = fold_folders(self.folder) or [self.folder]
        for folder in folders:
            check_recorded(self.folder, str((folder / LOG).relative_to(self.folder)), "restore it")
        logs = [pd.DataFrame(read_log(folder)).assign(fold=folder.name) for folder in folders]
        return pd.concat(logs, ignore_index=True)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Out-of-fold predictions by sample id; only runs of `aam train` have them."""
        return read_predictions(self.folder, read_config(FinetuneConfig, self.folder))

    @property
    def figures(self) -> dict[str, Path]:
        """The pictures that were drawn, by name without ending."""
        return {path.stem: path for path in sorted(self.folder.glob("*.png"))}

    @property
    def report(self) -> Path:
        """The HTML page about the run."""
        return self.folder / REPORT_FILE

    def _finished(self, name: str) -> Path:
        """A file that a run writes at its end; raises CheckpointError where it is missing."""
        if not (self.folder / name).is_file():
            raise CheckpointError(f"{self.folder}: no {name} here, the run has not finished; go on with it by --resume")
        return self.folder / name

    def save_pretrained(self, folder: str | os.PathLike[str], facts: CardFacts = NO_FACTS) -> Path:
        """Save the model with its card as a folder to pass on, without the run; see `aam.save_pretrained`."""
        from aam.workflows.save_pretrained import save_pretrained

        return save_pretrained(self.folder, path_of("folder", folder), facts)

    def push_to_hub(self, hub_id: str, facts: CardFacts = NO_FACTS, private: bool = False) -> str:
        """Upload the model with its card to a hub, and return its address there; see `aam.push_to_hub`."""
        from aam.workflows.hub import push_to_hub

        return push_to_hub(self.folder, hub_id, facts, private)

    def model(self) -> Pretrained | Finetuned:
        """The trained model with its configuration; for a cross-validated run those of the first fold."""
        return open_model(find_members(self.folder)[0])
