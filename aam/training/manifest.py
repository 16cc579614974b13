"""What a run was: command, resolved configuration, versions, data checksums, split and seed."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import aam
from aam.atomic import read_json, write_json
from aam.checkpoint import FOLD, LAST, refuse_inside
from aam.config import FinetuneConfig, PretrainConfig, RunnableConfig, flag, from_dict, to_dict
from aam.corpus import Corpus
from aam.data.files import digest
from aam.data.folders import alone, refuse_unwritable
from aam.errors import CheckpointError, ConfigError
from aam.health.switches import read_switches

MANIFEST = "manifest.json"
TRAIN_IDS, VALIDATION_IDS = "samples_train.txt", "samples_validation.txt"
C = TypeVar("C", bound=RunnableConfig)
PACKAGES = ("torch", "numpy", "scipy", "pandas", "biom-format", "scikit-bio", "safetensors")


def claim(folder: Path, resume: bool) -> None:
    """Refuse an output directory that holds another run, is or lies in what cannot be written to, or, to resume, holds
    no run."""
    refuse_unwritable(folder, "--output-dir", CheckpointError)
    refuse_inside(folder, "--output-dir")
    if has_begun(folder) and not resume:
        raise CheckpointError(
            f"--output-dir {folder} holds another run; go on with it by --resume, or give another folder"
        )
    if resume and not has_begun(folder):
        raise CheckpointError(f"--resume: {folder} holds no run to go on with; check the path, or leave --resume out")


@contextmanager
def held(folder: Path, resume: bool) -> Iterator[None]:
    """Have an output directory, claimed as by `claim`, for this process alone until the block ends."""
    with alone(folder, "--output-dir", CheckpointError):
        claim(folder, resume)  # another run may have come and gone since this was asked first
        yield


def has_begun(folder: Path) -> bool:
    """Whether a run has begun here, even if it has no checkpoint yet: then `--resume` takes it up from its start."""
    return (folder / MANIFEST).exists() or has_checkpoint(folder)


def has_checkpoint(folder: Path) -> bool:
    """Whether a run, or a fold of it, can go on from here."""
    parts = [folder, *folder.glob(f"{FOLD}*")]
    return any((part / name).exists() for part in parts for name in (LAST, f"{LAST}.old"))


def base_record(config: RunnableConfig, files: dict[str, Path]) -> dict[str, Any]:
    """What the manifest of any run says: command, configuration, versions and data."""
    return {
        "command": sys.argv,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "seed": config.run.seed,
        "config": to_dict(config),
        "switches": read_switches(os.environ, config.health).record(),
        "versions": {"aam": aam.__version__, "python": platform.python_version(), **versions()},
        "data": {name: {"path": str(path), "sha256": digest(path)} for name, path in files.items()},
    }


def write_record(config: RunnableConfig, files: dict[str, Path], more: dict[str, Any]) -> None:
    """Write the manifest of a run that has more to say than `base_record`; a resumed one keeps its own."""
    folder = config.run.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    if config.run.resume:
        refuse_changed(folder, files)
    else:
        write_json(folder / MANIFEST, base_record(config, files) | more)


def add_health(folder: Path, health: dict[str, Any], fold: str = "") -> None:
    """Note in the manifest what was done to keep a run alive, and who was lost; called again where the run goes on."""
    record = read_json(folder / MANIFEST)
    write_json(folder / MANIFEST, record | {"health": record.get("health", {}) | {fold: health} if fold else health})


def refuse_changed(folder: Path, files: dict[str, Path]) -> None:
    """Raise CheckpointError where an input file is no longer what the run in `folder` began with."""
    before = read_part(folder, "data")
    for name, path in files.items():
        if name in before and digest(path) != before[name]["sha256"]:
            raise CheckpointError(
                f"--resume: {flag(name)} {path} has changed since the run in {folder} began; restore it, or start "
                "another run"
            )


def read_config(kind: type[C], folder: Path) -> C:
    """The configuration that a run's manifest records; raises CheckpointError for a run of another command."""
    try:
        return from_dict(kind, read_part(folder, "config"))
    except ConfigError as error:
        command = "aam train" if kind is FinetuneConfig else "aam pretrain"
        raise CheckpointError(f"{folder}: not a run of `{command}` ({error}); give one") from error


def run_of(path: Path) -> Path:
    """The output directory of a run, given by itself, a checkpoint or a fold; else CheckpointError is raised."""
    places = (path, path.parent, path.parent.parent) if path.is_dir() else ()
    for folder in places:
        if (folder / MANIFEST).is_file():
            return folder
    raise CheckpointError(f"{path}: no {MANIFEST} here, expected the output directory of a run; check the path")


def read_part(folder: Path, name: str) -> Any:
    """One part of a run's manifest."""
    file = run_of(folder) / MANIFEST
    try:
        return read_json(file)[name]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file}: not readable ({error}); give the output directory of a run") from error


def write_manifest(config: PretrainConfig, corpus: Corpus, parameters: int) -> None:
    """Write the manifest and the two lists of sample ids, which --validation-samples takes."""
    more = {
        "rarefy_depth": corpus.depth,
        "samples": {"train": len(corpus.split.train), "validation": len(corpus.split.validation)},
        "dropped": {reason: len(ids) for reason, ids in corpus.dropped.items()},
        "asvs": len(corpus.tokens),
        "parameters": parameters,
    }
    write_record(config, corpus.files, more)
    for name, ids in ((TRAIN_IDS, corpus.split.train), (VALIDATION_IDS, corpus.split.validation)):
        (config.run.output_dir / name).write_text("\n".join(ids) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """Installed versions of the packages that results depend on."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}
