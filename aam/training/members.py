"""Whether the models in the directory of a run are those that the run has trained."""

from __future__ import annotations

from pathlib import Path

from aam.checkpoint import find_members, fold_folders
from aam.config import FinetuneConfig, PretrainConfig, option_flag
from aam.errors import CheckpointError
from aam.stored import read_stored
from aam.training.manifest import differing_options, read_config, value_text
from aam.training.run_files import MANIFEST, read_manifest


def check_members(run: Path) -> None:
    """Raise CheckpointError if a model in the directory of a run is of another run, by its options or its fold.

    Says nothing of other folders, and nothing where the manifest or a model is damaged: whoever reads it says so.
    """
    if not (run / MANIFEST).is_file():
        return
    try:
        record, members = read_manifest(run), [read_stored(member) for member in find_members(run)]
        of_training = "target" in record["config"]
        began = read_config(FinetuneConfig, run) if of_training else read_config(PretrainConfig, run)
    except (CheckpointError, KeyError):
        return
    folders, folds = fold_folders(run), record.get("folds", ())
    if len(folders) > len(folds):
        raise CheckpointError(
            f"{run}: {len(folders)} folders of folds, but the run has {len(folds)}; take {folders[-1].name} away, "
            "which is not of this run"
        )
    for member in members:
        other = "it is of another command" if type(member.config) is not type(began) else ""
        for name, before, found in () if other else differing_options(began, member.config):
            other = other or f"{option_flag(name)} is {value_text(found)}, but the run began with {value_text(before)}"
        if other:
            raise CheckpointError(f"{member.folder}: no model of the run in {run}: {other}; copy the whole run again")
