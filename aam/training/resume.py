"""Options of a run that goes on: those it began with, and new budgets."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

from aam.checkpoint import LAST, fold_folders, look_into
from aam.config import FinetuneConfig, PretrainConfig, RanksConfig, RunConfig, changed, flag, groups, options
from aam.config.health import HealthConfig
from aam.errors import ConfigError
from aam.training.manifest import has_checkpoint, read_config

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
    "dry_run",
    "preflight",
    *options(RanksConfig),
    *options(HealthConfig),
}
"""What may differ in a resumed run without making it another one."""

C = TypeVar("C", PretrainConfig, FinetuneConfig)


def resumed(given: dict[str, Any]) -> PretrainConfig:
    """The stored configuration with what was given now; raises ConfigError where that would make it another run.

    A run without a checkpoint is taken up from its start.
    """
    folder = Path(given.get("output_dir", RunConfig.output_dir))
    if fold_folders(folder) or not has_checkpoint(folder):  # of `aam train`, which is refused; or it begins again
        config = continued(read_config(PretrainConfig, folder), given, folder)
        return dataclasses.replace(config, run=dataclasses.replace(config.run, resume=False))
    stored = look_into(folder / LAST).config
    if not isinstance(stored, PretrainConfig):
        raise ConfigError(f"--resume: the run in {folder} is one of `aam train`; use that command")
    return continued(stored, given, folder)


def continued(stored: C, given: dict[str, Any], folder: Path) -> C:
    """A stored configuration of any command, with what was given now."""
    config = changed(stored, given)
    for part, group in groups(type(stored)).items():
        for name in options(group):
            before, now = (getattr(getattr(c, part), name) for c in (stored, config))
            if before != now and name not in MAY_CHANGE:
                raise ConfigError(
                    f"--resume: {flag(name)} is {now}, but the run in {folder} began with {before}; "
                    f"leave it out, or start another run"
                )
    return config
