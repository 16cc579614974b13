"""The manifest of a run, checks of its output directory, and options of a resumed run.

What the manifest records of the other files of a run stands in `aam.training.run_files`.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import aam
from aam.atomic import write_record, write_text
from aam.checkpoint import FOLD, fold_folders
from aam.config import (
    FinetuneConfig,
    PretrainConfig,
    RanksConfig,
    RunConfig,
    RunnableConfig,
    RunnableT,
    TargetSchema,
    from_dict,
    group_classes,
    option_fields,
    option_flag,
    to_dict,
    with_options,
)
from aam.config.health import HealthConfig
from aam.config.switches import read_switches
from aam.corpus.pretraining import Corpus
from aam.corpus.split import Fold
from aam.corpus.study import Study
from aam.errors import CheckpointError, ConfigError, Interrupted
from aam.folders import BEST, LAST, PREVIOUS
from aam.io.files import digest, lock_folder, refuse_inside, refuse_unwritable
from aam.observer import Observer
from aam.stopping import Stopped
from aam.stored import read_stored
from aam.training.run_files import FILES, MANIFEST, forget_files, read_manifest, recorded, remember_files
from aam.training.state import GROWING

ADAPTED = "adapted"
"""Folder of the adapted encoder in that of a fold."""
TRAIN_IDS, VALIDATION_IDS = "samples_train.txt", "samples_validation.txt"
PACKAGES = ("torch", "numpy", "scipy", "pandas", "biom-format", "scikit-bio", "safetensors")
MAY_CHANGE = {
    "output_dir",
    "resume",
    "epochs",
    "max_steps",
    "max_minutes",
    "patience",
    "eval_every",
    "device",
    "num_workers",
    "max_memory",
    "dry_run",
    "preflight",
    *option_fields(RanksConfig),
    *option_fields(HealthConfig),
}
"""What may differ in a resumed run without making it another one."""
FOUND_BEFORE = (("max_bp", "auto"), ("trim", "auto"), ("precision", "auto"))
"""Options that a resumed run does not look for again: it recorded what it had found."""


def check_output_directory(folder: Path, resume: bool) -> None:
    """Raise for an output directory that holds another run or cannot be written to, or, with --resume, holds no run."""
    refuse_unwritable(folder, "--output-dir", CheckpointError)
    refuse_inside(folder, "--output-dir")
    for above in folder.absolute().parents:
        if (above / MANIFEST).is_file() and has_checkpoint(above):
            raise CheckpointError(f"--output-dir {folder} is in the run {above}; give a folder outside of it")
    if has_begun(folder) and not resume:
        raise CheckpointError(
            f"--output-dir {folder} holds another run; go on with it by --resume, or give another folder"
        )
    if resume and not has_begun(folder):
        raise CheckpointError(f"--resume: {folder} holds no run to go on with; check the path, or leave --resume out")


@contextmanager
def reserve_output_directory(folder: Path, resume: bool) -> Iterator[None]:
    """Lock an output directory for this process until the block ends."""
    with lock_folder(folder, "--output-dir", CheckpointError):
        check_output_directory(folder, resume)  # another run may have come and gone since this was asked first
        try:
            yield
        except Stopped as stopped:
            if not has_begun(folder):
                raise
            raise Interrupted(f"interrupted by {stopped.name}; go on with --resume ({folder})") from stopped


def has_begun(folder: Path) -> bool:
    """Whether a run has begun here; without a checkpoint, `--resume` starts it from the beginning."""
    return (folder / MANIFEST).exists() or has_checkpoint(folder)


def has_checkpoint(folder: Path, folds: bool = True) -> bool:
    """Whether the folder has a checkpoint of a run, or with `folds` of one of its folds, to resume from."""
    parts = [folder, *(folder.glob(f"{FOLD}*") if folds else ())]
    names = (LAST, PREVIOUS, BEST, f"{LAST}.old", f"{LAST}.partial")
    return any((part / name).exists() for part in parts for name in names)


def base_record(config: RunnableConfig, files: dict[str, Path]) -> dict[str, Any]:
    """Manifest entries of every run: command, configuration, versions and data."""
    return {
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seed": config.run.seed,
        "config": to_dict(config),
        "switches": read_switches(os.environ, config.health).record(),
        "versions": {"aam": aam.__version__, "python": platform.python_version(), **installed_versions()},
        "data": {name: {"path": str(path), "sha256": digest(path)} for name, path in files.items()},
    }


@dataclass
class Manifest:
    """The manifest of a run that is going on; `content` is what this process has written or read."""

    folder: Path
    content: dict[str, Any]

    @classmethod
    def begin(cls, config: RunnableConfig, files: dict[str, Path], more: dict[str, Any]) -> Manifest:
        """Write the manifest of a run with further entries; a resumed run keeps its first manifest."""
        folder = config.run.output_dir
        folder.mkdir(parents=True, exist_ok=True)
        if not (config.run.resume and (folder / MANIFEST).exists()):
            own = cls(folder, base_record(config, files) | more)
            write_record(folder / MANIFEST, own.content)
            return own
        refuse_changed(folder, files)
        own = cls(folder, read_manifest(folder))
        forget_files(folder, [name for name in own.content.get(FILES, {}) if Path(name).name in GROWING])
        return own

    def add_health(self, health: dict[str, Any], observer: Observer, fold: str = "") -> None:
        """Add interventions and lost samples, and what the logs hold; a resumed run calls this again."""
        try:
            content = read_manifest(self.folder)
        except CheckpointError as error:
            observer.warn(f"{error}; it is written again")
            content = self.content
        known = content.get("health", {}) | {fold: health} if fold else health
        self.content = content | {"health": known}
        write_record(self.folder / MANIFEST, self.content)
        parts = [self.folder, *fold_folders(self.folder)]
        remember_files(self.folder, [str((part / name).relative_to(self.folder)) for part in parts for name in GROWING])


def refuse_changed(folder: Path, files: dict[str, Path]) -> None:
    """Raise CheckpointError if an input file has changed since the run in `folder` began."""
    before = read_manifest_part(folder, "data")
    for name, path in files.items():
        if name in before and digest(path) != before[name]["sha256"]:
            raise CheckpointError(
                f"--resume: {option_flag(name)} {path} has changed since the run in {folder} began; restore it, or "
                "start another run"
            )


def begun_config(folder: Path) -> FinetuneConfig:
    """The configuration of a run of `aam train` that goes on: that of its manifest or, without one, of its folds."""
    if (folder / MANIFEST).exists():
        return read_config(FinetuneConfig, folder)
    stored = read_stored((fold_folders(folder) or [folder])[0] / LAST).config
    if not isinstance(stored, FinetuneConfig):
        raise ConfigError(f"--resume: the run in {folder} is one of `aam pretrain`; use that command")
    run = dataclasses.replace(stored.run, output_dir=folder)
    return dataclasses.replace(stored, run=run, schema=TargetSchema())


def read_config(kind: type[RunnableT], folder: Path) -> RunnableT:
    """The configuration that a run's manifest records; raises CheckpointError for a run of another command."""
    stored = read_manifest_part(folder, "config")
    of_training, wanted = "target" in stored, kind is FinetuneConfig
    if of_training != wanted:
        commands = {True: "`aam train`", False: "`aam pretrain`"}
        raise CheckpointError(f"{folder}: a run of {commands[of_training]}, expected one of {commands[wanted]}")
    try:
        return from_dict(kind, stored)
    except ConfigError as error:
        raise CheckpointError(f"{folder / MANIFEST}: config: {error}; restore the file, or update aam") from error


def find_run_folder(path: Path) -> Path:
    """Output directory of a run, given as such or as a checkpoint or fold in it; else raises CheckpointError."""
    places = (path, path.parent, path.parent.parent) if path.is_dir() else ()
    for folder in places:
        if (folder / MANIFEST).is_file():
            return folder
    raise CheckpointError(f"{path}: no {MANIFEST} here, expected the output directory of a run; check the path")


def read_manifest_part(folder: Path, name: str) -> Any:
    """One part of a run's manifest."""
    run = find_run_folder(folder)
    record = read_manifest(run)
    if name not in record:
        raise CheckpointError(f"{run / MANIFEST}: {name!r} is missing; give the output directory of another run")
    return record[name]


def recorded_folds(run: Path, study: Study) -> list[Fold]:
    """The folds of a run of `aam train`: its test samples, and all other samples as training samples.

    Raises CheckpointError if a sample is no longer in the data.
    """
    place = {sample: row for row, sample in enumerate(study.labels.sample_ids)}
    folds = []
    for name, ids in read_manifest_part(run, "folds").items():
        if not set(ids) <= set(place):
            raise CheckpointError(f"{run}: sample {next(i for i in ids if i not in place)!r} is gone from the data")
        test = np.sort(np.array([place[sample] for sample in ids], np.int64))
        folds.append(Fold(name, np.setdiff1d(np.arange(len(place)), test), test))
    return folds


def write_manifest(config: PretrainConfig, corpus: Corpus, parameters: int) -> Manifest:
    """Write the manifest and the two lists of sample ids, which --validation-samples takes."""
    more = {
        "rarefy_depth": corpus.depth,
        "samples": {"train": len(corpus.split.train), "validation": len(corpus.split.validation)},
        "dropped": {reason: len(ids) for reason, ids in corpus.dropped.items()},
        "asvs": len(corpus.tokens),
        "parameters": parameters,
    }
    folder, manifest = config.run.output_dir, Manifest.begin(config, corpus.files, more)
    with recorded(folder, TRAIN_IDS, VALIDATION_IDS):
        for name, ids in ((TRAIN_IDS, corpus.split.train), (VALIDATION_IDS, corpus.split.validation)):
            write_text(folder / name, "\n".join(ids) + "\n")
    return manifest


def installed_versions() -> dict[str, str]:
    """Installed versions of the packages that results depend on."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def resume_config(given: dict[str, Any]) -> PretrainConfig:
    """The stored configuration with new options; raises ConfigError for options that a resumed run must not change.

    A run without a checkpoint starts from the beginning.
    """
    folder = Path(given.get("output_dir", RunConfig.output_dir))
    if fold_folders(folder) or not has_checkpoint(folder):  # of `aam train`, which is refused; or it begins again
        config = with_new_budgets(read_config(PretrainConfig, folder), given, folder)
        return dataclasses.replace(config, run=dataclasses.replace(config.run, resume=False))
    stored = read_stored(folder / LAST).config
    if not isinstance(stored, PretrainConfig):
        raise ConfigError(f"--resume: the run in {folder} is one of `aam train`; use that command")
    return with_new_budgets(stored, given, folder)


def with_new_budgets(stored: RunnableT, given: dict[str, Any], folder: Path) -> RunnableT:
    """The stored configuration of a run of any command, with the new options."""
    known = {name: value for name, value in given.items() if (name, value) not in FOUND_BEFORE}
    config = with_options(stored, known)
    for name, before, now in differing_options(stored, config):
        raise ConfigError(
            f"--resume: {option_flag(name)} is {value_text(now)}, but the run in {folder} began with "
            f"{value_text(before)}; leave it out, or start another run"
        )
    return config


def value_text(value: Any) -> str:
    """The value of an option for a message."""
    if value is None or value == ():
        return "not given"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def differing_options(one: RunnableConfig, other: RunnableConfig) -> Iterator[tuple[str, Any, Any]]:
    """Name and both values of each option by which two configurations are of two runs."""
    for part, group in group_classes(type(one)).items():
        for name in option_fields(group):
            values = [getattr(getattr(config, part), name) for config in (one, other)]
            if values[0] != values[1] and name not in MAY_CHANGE:
                yield name, *values
