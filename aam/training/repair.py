"""Before a run goes on: what is damaged is set aside, and the newest whole checkpoint takes the place of the last one.

Nothing is deleted. Everything that is read afterwards, also by other ranks, is `LAST`, which is whole.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from aam.checkpoint import Checkpoint, fold_folders, load_checkpoint, save_checkpoint
from aam.config import is_clades
from aam.errors import CheckpointError
from aam.folders import BEST, LAST, PREVIOUS, partial_folder_of, set_aside
from aam.observer import Observer
from aam.stored import CONFIG, MODEL, STATE, TRAINING, read_stored
from aam.training.manifest import ADAPTED, MANIFEST, has_checkpoint, read_manifest, reserve_output_directory
from aam.training.sinks import LOG
from aam.training.state import read_train_state

STAND_INS = (f"{LAST}.partial", PREVIOUS, f"{LAST}.old", BEST)
"""Folders that may hold the newest checkpoint if `LAST` does not; a crash between two renames leaves the others."""


def repair_run(run: Path, observer: Observer) -> None:
    """Make a run ready to go on, and say after which step it does.

    Raises CheckpointError if another process writes to it, or if none of its checkpoints is whole.
    """
    with reserve_output_directory(run, resume=True):
        parts = [folder for part in (run, *fold_folders(run)) for folder in (part / ADAPTED, part)]
        stored = [folder for folder in parts if has_checkpoint(folder, folds=False)]
        if not stored:
            log = f", although it has a {LOG}" if (run / LOG).exists() else ""
            observer.warn(f"{run} has no checkpoint{log}; the run begins again at step 0")
            return
        repair_manifest(run, observer)
        for folder in stored:
            repair_checkpoints(folder, observer)


def repair_manifest(run: Path, observer: Observer) -> None:
    """Set a damaged manifest aside; the run, whose checkpoints have its configuration, writes another one."""
    what = "is missing"
    if (run / MANIFEST).exists():
        try:
            read_manifest(run)
            return
        except CheckpointError as error:
            what = f"is damaged ({error.__cause__}); it is kept as {set_aside(run / MANIFEST).name}"
    observer.warn(
        f"{run / MANIFEST} {what}; written again, but whether the data have changed since the run began is not known"
    )


def repair_checkpoints(folder: Path, observer: Observer) -> None:
    """Put the newest whole checkpoint of a run or fold at `LAST`, and see that its best one is whole too."""
    try:
        if is_clades(read_stored(folder / BEST).config):  # these have no steps
            return
    except CheckpointError:
        pass
    try:
        checkpoint = load_checkpoint_here(folder / LAST)
    except CheckpointError as error:
        checkpoint = step_back(folder, error, observer)
    state = read_train_state(checkpoint, folder / LAST)
    if (best := state.best_step) > 0:
        try:
            read_stored(folder / BEST).verify_own()
        except CheckpointError as error:
            replace_best(folder, best, error, observer)
    observer.say(f"{folder} goes on after step {state.step} ({folder / LAST})")


def load_checkpoint_here(folder: Path) -> Checkpoint:
    """The checkpoint of this folder itself, whole and of a run; raises CheckpointError for any other."""
    if not folder.exists():
        raise CheckpointError(f"{folder} is missing")
    checkpoint = load_checkpoint(folder)
    read_train_state(checkpoint, folder)
    return checkpoint


def step_back(folder: Path, why: CheckpointError, observer: Observer) -> Checkpoint:
    """Put the newest whole checkpoint in the place of a damaged or missing `LAST`."""
    found: dict[str, Checkpoint] = {}
    for name in STAND_INS:
        try:
            found[name] = load_checkpoint_here(folder / name)
        except CheckpointError:
            continue
    if not found:
        raise CheckpointError(
            f"{why}; no other checkpoint in {folder} is whole: restore one, or begin anew in another --output-dir"
        )
    name = max(found, key=lambda name: found[name].state["train"]["step"])
    step = found[name].state["train"]["step"]
    kept = f"; it is kept as {set_aside(folder / LAST).name}" if (folder / LAST).exists() else ""
    observer.warn(f"{why}{kept}; {folder / name} of step {step} takes its place")
    if name == BEST:
        copy_checkpoint(folder / BEST, folder / LAST)
    else:
        (folder / name).rename(folder / LAST)
    return found[name]


def replace_best(folder: Path, step: int, why: CheckpointError, observer: Observer) -> None:
    """Make a damaged or missing `BEST` again from another checkpoint of its step, else let the run choose anew."""
    kept = f"; it is kept as {set_aside(folder / BEST).name}" if (folder / BEST).exists() else ""
    for name in (LAST, PREVIOUS):
        try:
            if load_checkpoint_here(folder / name).state["train"]["step"] != step:
                continue
        except CheckpointError:
            continue
        copy_checkpoint(folder / name, folder / BEST)
        observer.warn(f"{why}{kept}; {folder / name} is of the same step {step} and takes its place")
        return
    last = load_checkpoint_here(folder / LAST)
    train = last.state["train"] | {"best_step": 0, "best_loss": float("inf")}
    save_checkpoint(folder / LAST, dataclasses.replace(last, state=last.state | {"train": train}))
    observer.warn(f"{why}{kept}; the best one is chosen anew, from step {train['step']} on")


def copy_checkpoint(source: Path, target: Path) -> None:
    """Copy the files of a checkpoint that a run goes on from."""
    partial = partial_folder_of(target)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for name in (MODEL, TRAINING, STATE, CONFIG):
        shutil.copyfile(source / name, partial / name)
    partial.rename(target)
