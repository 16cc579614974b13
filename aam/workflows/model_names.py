"""Finds the model that was asked for: by a folder, by a name, or by an id of the hub.

A folder that holds a run or a checkpoint wins, then the name of a model that comes with the package, then that of a
folder among the user's models.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aam.checkpoint import find_checkpoint, find_members
from aam.config import from_some, suggest
from aam.config.apply import Inputs
from aam.config.fields import SHIPPED
from aam.config.reference import InsertionConfig
from aam.encoders import DEFAULT, REFERENCE, shipped_models
from aam.errors import CheckpointError, ConfigError
from aam.observer import Observer
from aam.placement.shipped import find_reference
from aam.placement.store import RECORD
from aam.text import name_few
from aam.training.members import check_members

VARIABLE = "AAM_MODELS"
"""Environment variable with the folder of the user's models."""
HUB_ID = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@[\w./-]+)?", re.ASCII)
"""OWNER/NAME of the hub, or OWNER/NAME@REVISION."""
NAMED = 8
"""Most names that a message lists."""


def user_models() -> Path:
    """The folder of the user's models, each a folder in it: that of `VARIABLE`, or by the XDG convention."""
    if named := os.environ.get(VARIABLE):
        return Path(named)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "aam" / "models"


def models_in(folder: Path) -> dict[str, Path]:
    """The runs and checkpoints that are folders of a folder, by name; empty if it cannot be listed."""
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return {}
    return {path.name: path for path in inside if holds_model(path)}


def holds_model(folder: Path) -> bool:
    """Whether a folder is a run directory with a checkpoint, or a checkpoint."""
    try:
        return bool(find_members(folder))
    except (CheckpointError, OSError):
        return False


def find_model(asked: Path, observer: Observer) -> Path:
    """The folder of a model; says so if it is one that comes with the package.

    Raises ConfigError, with the nearest name, if there is none. A path that holds no model is returned, so that the one
    who opens it says what is missing: OWNER/NAME too where a folder OWNER is.
    """
    name, shipped = str(asked), shipped_models()
    if name == SHIPPED:
        name = DEFAULT
    elif holds_model(asked):
        check_members(asked)
        return asked
    if name in shipped:
        observer.say(f"model: {name}, which comes with aam")
        return shipped[name]
    if name in (own := models_in(user_models())):
        return own[name]
    if asked.exists():
        return asked
    if (found := HUB_ID.fullmatch(name)) is not None and not Path(found["name"]).parent.is_dir():
        from aam.workflows.hub import download_model

        return download_model(name, observer)
    if len(asked.parts) != 1 or name == "..":
        return asked
    known = sorted({*shipped, *own})
    raise ConfigError(
        f"{name}: no checkpoint here, and no model of this name{suggest(name, [*known, SHIPPED])} (there are "
        f"{name_few(known, NAMED)}; `aam models` lists them)"
    )


def with_model(inputs: Inputs, observer: Observer) -> Inputs:
    """The same with the folder of the model."""
    return inputs._replace(model=find_model(inputs.model, observer))


def with_folders(options: Mapping[str, Any], observer: Observer) -> dict[str, Any]:
    """The options of a run with folders in place of the names of a model (`pretrained`) and of a `reference`."""
    found = dict(options)
    for name, find in (("pretrained", find_model), ("reference", find_reference)):
        if found.get(name) is not None:
            found[name] = find(Path(found[name]), observer).resolve()
    return found


def placing_of(model: Path | None, asked: Mapping[str, Any], observer: Observer) -> InsertionConfig:
    """The options of placement, with the reference of a model if one is given and no other reference.

    Raises ConfigError for both, and for a model without a reference.
    """
    if model is None:
        return from_some(InsertionConfig, dict(asked))
    if "reference" in asked:
        raise ConfigError("--model and --reference both name a reference; leave one of them out")
    reference = reference_of(find_model(model, observer))
    if reference is None:
        raise ConfigError(f"--model {model} has no {REFERENCE}/ to place on; give --reference FOLDER in its place")
    return from_some(InsertionConfig, {**asked, "reference": reference})


def reference_of(model: Path) -> Path | None:
    """The reference that lies in the folder of a model, if there is one."""
    places = [folder / REFERENCE for folder in (model, find_checkpoint(find_members(model)[0]))]
    return next((place for place in places if (place / RECORD).is_file()), None)
