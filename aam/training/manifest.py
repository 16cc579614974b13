"""What a run was: command, resolved configuration, versions, data checksums, split and seed."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import aam
from aam.checkpoint import CONFIG, FOLD, LAST, write_json
from aam.config import PretrainConfig, RunnableConfig, flag, to_dict
from aam.corpus import Corpus
from aam.data.files import digest
from aam.errors import CheckpointError
from aam.health.switches import read_switches

MANIFEST = "manifest.json"
TRAIN_IDS, VALIDATION_IDS = "samples_train.txt", "samples_validation.txt"
PACKAGES = ("torch", "numpy", "scipy", "pandas", "biom-format", "scikit-bio", "safetensors")


def claim(folder: Path, resume: bool) -> None:
    """Refuse an output directory that holds another run, is a file, or, to resume, holds no checkpoint."""
    for path in (folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise CheckpointError(f"--output-dir {folder}: {path} is a file, expected a folder; give another path")
    started = (folder / MANIFEST).exists() or (folder / LAST / CONFIG).exists()
    if started and not resume:
        raise CheckpointError(
            f"--output-dir {folder} holds another run; go on with it by --resume, or give another folder"
        )
    if resume and not has_checkpoint(folder):
        raise CheckpointError(
            f"--resume: {folder} holds no checkpoint ({LAST}/), nothing to go on with; start without --resume, in "
            "another folder"
        )


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
    record = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
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


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration that a run's manifest records."""
    return read_part(folder, "config")


def read_part(folder: Path, name: str) -> dict[str, Any]:
    """One part of a run's manifest."""
    try:
        return json.loads((folder / MANIFEST).read_text(encoding="utf-8"))[name]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder / MANIFEST}: not readable ({error}); give the output directory of a run"
        ) from error


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
