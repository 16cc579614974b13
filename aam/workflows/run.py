"""A run on disk, as a program uses it: its metrics, history, predictions, pictures and model."""

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
from aam.inference.predictions import read_out_of_fold
from aam.report.record import METRICS, REPORT, SUMMARY, read_mapping
from aam.training.manifest import read_config, run_of
from aam.training.sinks import read_log

if TYPE_CHECKING:
    from aam.checkpoint import Finetuned, Pretrained


@dataclass(frozen=True)
class Run:
    """A finished run of `aam pretrain` or `aam train`; files of its run directory are read when they are asked for.

    A run is also the path of its directory, and can be given wherever a model is. Raises CheckpointError where there is
    no run.
    """

    folder: Path

    def __post_init__(self) -> None:
        # Absolute, because files are read later, and a notebook may have changed its directory by then.
        object.__setattr__(self, "folder", run_of(path_of("folder", self.folder).absolute()))

    def __fspath__(self) -> str:
        return str(self.folder)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Run:
        """The run in a directory, or of a checkpoint in one."""
        return cls(path_of("folder", path))

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What metrics.json says: metrics of held-out samples, beside the baselines, and the cost of the run."""
        return read_mapping(self._finished(METRICS))

    @property
    def summary(self) -> str:
        """The text of summary.txt."""
        return self._finished(SUMMARY).read_text(encoding="utf-8")

    @cached_property
    def history(self) -> pd.DataFrame:
        """Readings of the training by row: `fold`, `kind` ("train" or "validation"), `step`, `time` and losses."""
        folders = fold_folders(self.folder) or [self.folder]
        logs = [pd.DataFrame(read_log(folder)).assign(fold=folder.name) for folder in folders]
        return pd.concat(logs, ignore_index=True)

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Predictions of samples that the model had never seen, by sample id; only `aam train` makes them."""
        return read_out_of_fold(self.folder, read_config(FinetuneConfig, self.folder))

    @property
    def figures(self) -> dict[str, Path]:
        """The pictures that were drawn, by name without ending."""
        return {path.stem: path for path in sorted(self.folder.glob("*.png"))}

    @property
    def report(self) -> Path:
        """The HTML page about the run."""
        return self.folder / REPORT

    def _finished(self, name: str) -> Path:
        """A file that a run writes at its end; raises CheckpointError where it is missing."""
        if not (self.folder / name).is_file():
            raise CheckpointError(f"{self.folder}: no {name} here, the run has not finished; go on with it by --resume")
        return self.folder / name

    def model(self) -> Pretrained | Finetuned:
        """The trained model with its configuration; of several folds that of the first."""
        return open_model(find_members(self.folder)[0])
