"""Saves a trained model as a folder to pass on: weights, configuration, checksums and model card, without its run.

    config.json           configuration and the SHA-256 of the files beside it; no paths of this machine
    model.safetensors     weights
    known_asvs.npy        hashes of the ASVs of training
    scales.json           units of Faith PD, and the lines of the baselines
    studies.json, state.json   of a model on clades: the studies of training, and the checksum of the reference
    calibration.json      of a model of `aam train`
    fold-…/               of a cross-validated run, these files for each of its models
    reference/            the reference of the model, if it has one
    card.md, card.json    the model card

States of the optimiser, sample ids and logs stay behind.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from aam.atomic import follow_umask, replace_file, write_record
from aam.checkpoint import find_checkpoint, fold_folders
from aam.config import RunnableConfig, group_classes, is_clades, option_fields, to_dict
from aam.encoders import REFERENCE
from aam.errors import ConfigError
from aam.evaluation.calibration import CALIBRATION
from aam.inference.known_asvs import KNOWN
from aam.inference.scales import SCALES
from aam.io.files import digest, refuse_inside, refuse_unwritable
from aam.learners.transfer import STUDIES
from aam.models.storage import in_half_size
from aam.report.model_card import CARD, NO_FACTS, PAGE, CardFacts, run_folder, write_card
from aam.stored import CHECKPOINT_FORMAT, CONFIG, KIND_OF, MODEL, STATE, Stored, read_stored

OWN_FILES = (CONFIG, MODEL, KNOWN, SCALES, STUDIES, STATE, CALIBRATION, PAGE, CARD)
"""Files of a saved model, the one first without which it is none."""
SUFFIXES = (".json", ".md", ".safetensors", ".tsv", ".xz")
"""What is copied of a reference, and fetched from a hub: files that hold data and cannot hold code."""


def save_pretrained(model: Path, folder: Path, facts: CardFacts = NO_FACTS, bf16: bool = False, name: str = "") -> Path:
    """Save the model of a run, of a checkpoint or of a saved model as a folder to pass on, and return the folder.

    `facts` are what the card says beside what the run knows. With `bf16` the matrices take half the space;
    models compute with them in single precision all the same. `name` is what the page of the card tells users to
    give as --model. A model that was saved in the folder before is replaced; raises ConfigError for a folder that holds
    anything else, and CheckpointError for a model that is damaged.
    """
    found = dict(members(model, folder))
    for stored in found.values():
        stored.tensors(MODEL)  # damaged weights are refused before anything is replaced
    prepare_folder(model, folder)
    for place, stored in found.items():
        save_member(stored, place, bf16)
    if (calibration := run_folder(model) / CALIBRATION).is_file():
        copy_file(calibration, folder / CALIBRATION)
    copy_reference(model / REFERENCE, folder / REFERENCE)
    write_card(model, facts, folder, name)
    return folder


def members(model: Path, folder: Path) -> Iterator[tuple[Path, Stored]]:
    """Where each checkpoint of a model is saved (a cross-validated run has several), and the checkpoint."""
    for fold in fold_folders(model):
        yield folder / fold.name, read_stored(find_checkpoint(fold))
    if not fold_folders(model):
        yield folder, read_stored(find_checkpoint(model))


def prepare_folder(model: Path, folder: Path) -> None:
    """Make the folder, and remove a model that was saved there before; its reference stays.

    Raises ConfigError for a folder that holds files and no saved model, or the model itself.
    """
    refuse_unwritable(folder, "folder", ConfigError)
    if folder.exists() and folder.samefile(model):
        raise ConfigError(f"{folder}: the model itself, expected another folder to save it in; give a new one")
    folds = fold_folders(folder)
    own = {*OWN_FILES, REFERENCE, *(fold.name for fold in folds)}
    if folder.exists() and (others := sorted({path.name for path in folder.iterdir()} - own)):
        raise ConfigError(f"{folder}: holds {others[0]}, expected an earlier saved model or nothing; give a new folder")
    refuse_inside(folder.parent, "folder")
    for place in (folder, *folds):
        for file in OWN_FILES:
            (place / file).unlink(missing_ok=True)
        if place != folder and not any(place.iterdir()):
            place.rmdir()
    folder.mkdir(parents=True, exist_ok=True)


def save_member(stored: Stored, folder: Path, bf16: bool) -> None:
    """Save the weights and what else is needed to apply a checkpoint; its configuration is written last."""
    folder.mkdir(exist_ok=True)
    weights, on_clades = stored.tensors(MODEL), is_clades(stored.config)
    with replace_file(folder / MODEL) as partial:
        save_file(in_half_size(weights) if bf16 and not on_clades else weights, partial)
        follow_umask(partial)
    wanted = (KNOWN, SCALES, *((STUDIES, STATE) if on_clades else ()))
    others = [file for file in wanted if (stored.folder / file).is_file()]
    for file in others:
        copy_file(stored.folder / file, folder / file)
    digests = {file: digest(folder / file) for file in (MODEL, *others)}
    about: dict[str, Any] = {"format": CHECKPOINT_FORMAT, "kind": KIND_OF[type(stored.config)], "sha256": digests}
    write_record(folder / CONFIG, about | to_dict(without_folders(stored.config)))


def without_folders(config: RunnableConfig) -> RunnableConfig:
    """The configuration with the names alone of files and folders: where they lie is private."""
    parts = {}
    for part, group in group_classes(type(config)).items():
        values = {name: getattr(getattr(config, part), name) for name in option_fields(group)}
        names = {name: name_alone(value) for name, value in values.items()}
        parts[part] = dataclasses.replace(getattr(config, part), **names)
    return dataclasses.replace(config, **parts)


def name_alone(value: Any) -> Any:
    """A path, or several, without the folders; other values as they are."""
    if isinstance(value, tuple):
        return tuple(map(name_alone, value))
    return Path(value.name) if isinstance(value, Path) else value


def copy_reference(source: Path, target: Path) -> None:
    """Copy the data files of a reference, if there is one; its cache is made anew where it is opened."""
    for path in sorted(source.iterdir()) if source.is_dir() else ():
        if path.is_file() and path.suffix in SUFFIXES:
            target.mkdir(exist_ok=True)
            copy_file(path, target / path.name)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file whole or not at all."""
    with replace_file(target) as partial:
        shutil.copyfile(source, partial)
