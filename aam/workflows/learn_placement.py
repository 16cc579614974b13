"""The part of `aam reference` that learns how ASVs are placed on the reference, and writes it into its folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from aam.atomic import follow_umask, read_json, replace_file, write_json
from aam.evaluation.placement import figures_of
from aam.io.files import digest
from aam.observer import Observer
from aam.placement.calibrate import fit, simulate, try_out
from aam.placement.hold_out import FEWEST, HeldOut, hold_out
from aam.placement.learn import LearnConfig, Learning, make_lessons
from aam.placement.learned import LearnedPlacer, Shrink
from aam.placement.lessons import Lesson, make_lesson, usual_windows
from aam.placement.placer_file import round_as_stored, write_placer
from aam.placement.reference import Reference
from aam.placement.store import RECORD
from aam.placement.trust import fit_trust
from aam.placement.window import WELL_COVERED, Window, covering
from aam.turns import in_turn

TENSORS, STATE = "learning.safetensors", "learning.json"
"""What a learning that was stopped goes on from; removed at the end."""
STEPS_AT_ONCE = 250
"""Steps between two saved states."""
STUDIES = 2
"""Simulated studies on which lengths are fitted, each on one of the first usual windows."""


@in_turn()
def learn_placement(reference: Reference, folder: Path, steps: int | None, observer: Observer) -> LearnedPlacer | None:
    """Learn on a reference and write what was learned into its folder; None for a reference with too few tips.

    A learning that was stopped goes on where its last state was saved.
    """
    tips = len(reference.tree.tip_names)
    if tips < FEWEST:
        observer.say(f"{tips:,} tips are too few to learn from ({FEWEST:,} at least): ASVs go to the nearest tip")
        return None
    config = LearnConfig() if steps is None else LearnConfig(steps=steps)
    held = hold_out(reference, np.ones(tips, bool), config.seed)
    with observer.progress("neighbours of the tips") as progress:
        lessons, chance = make_lessons(reference, config, held, progress)
    learning = resume(Learning(reference, config), folder, observer)
    train(learning, lessons, chance, folder, observer)
    round_as_stored(learning.net)  # so that lengths and confidences are fitted to the weights that are used later
    learned = LearnedPlacer(learning.net.eval(), config.candidates)
    with observer.stage("fitting lengths on simulated studies"):
        learned = LearnedPlacer(learned.net, learned.candidates, fitted(reference, learned, held, config.seed))
    first, last, _ = usual_windows(reference, np.random.default_rng(config.seed))[0]
    with observer.stage("fitting confidences"):
        trust(reference, learned, held, first, last)
    with observer.stage("testing on tips held out"):
        figures = figures_of(reference, learned, held, first, last)
    learned = LearnedPlacer(learned.net, learned.candidates, learned.shrink, {**figures, "steps": config.steps})
    write_placer(folder, learned)
    for name in (TENSORS, STATE):
        (folder / name).unlink(missing_ok=True)
    observer.say(figures_text(figures))
    return learned


def train(
    learning: Learning, lessons: Sequence[Lesson], chance: NDArray[np.float64], folder: Path, observer: Observer
) -> None:
    """Take all steps that are left; the state is saved in between."""
    steps = learning.config.steps
    with observer.progress("learning to place") as progress:
        while learning.step < steps:
            progress(learning.step, steps)
            learning.go_on(lessons, chance, min(learning.step + STEPS_AT_ONCE, steps))
            save(learning, folder)
        progress(steps, steps)


def resume(learning: Learning, folder: Path, observer: Observer) -> Learning:
    """Go on from the state in the folder, if it is one of this reference and these settings."""
    try:
        state = read_json(folder / STATE)
        if state["settings"] == settings(learning, folder) and state["tensors"] == digest(folder / TENSORS):
            learning.restore(load_file(folder / TENSORS), state["step"])
            observer.say(f"goes on with the learning from step {learning.step:,}")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        pass
    return learning


def settings(learning: Learning, folder: Path) -> dict[str, object]:
    """What a state belongs to."""
    return {"reference": digest(folder / RECORD), **vars(learning.config)}


def save(learning: Learning, folder: Path) -> None:
    """Write the state of the learning; its record last."""
    with replace_file(folder / TENSORS) as partial:
        save_file({name: part.contiguous() for name, part in learning.tensors().items()}, partial)
        follow_umask(partial)
    record = {"settings": settings(learning, folder), "tensors": digest(folder / TENSORS), "step": learning.step}
    write_json(folder / STATE, record)


def fitted(reference: Reference, learned: LearnedPlacer, held: HeldOut, seed: int) -> Shrink:
    """The factors of lengths that fit simulated studies best."""
    rng, tips = np.random.default_rng(seed), len(reference.tree.tip_names)
    trials = []
    kept = ~held.gone(tips)
    kept[held.clusters.tips] = False
    for first, last, _ in usual_windows(reference, rng)[:STUDIES]:
        window = Window(reference, first, last, kept)
        usable = covering(reference.on(first, last), WELL_COVERED)
        trials.append(try_out(reference, window, learned, simulate(held.clusters, usable, rng)))
    return fit(trials)


def trust(reference: Reference, learned: LearnedPlacer, held: HeldOut, first: int, last: int) -> None:
    """Fit the confidences and expected errors of a network, in place, on the tips of the simulated studies."""
    tips = len(reference.tree.tip_names)
    window = Window(reference, first, last, ~held.gone(tips))
    asked = held.clusters.tips[window.group_of[held.clusters.tips] >= 0]
    fit_trust(learned.net, make_lesson(window, asked), learned.candidates, reference.taxa)


def figures_text(figures: dict[str, float | int]) -> str:
    """What held-out tips say, for the terminal."""
    parts = [
        f"{figures[f'{name}_asked']:,} {what}: error of the place {figures[f'{name}_error']:.4f} "
        f"(nearest tip {figures[f'{name}_nearest_error']:.4f})"
        for name, what in (("tips", "tips held out"), ("genera", "tips of genera held out"))
        if f"{name}_asked" in figures
    ]
    if "tips_genus" in figures:
        parts.append(f"genus right {figures['tips_genus']:.1%} (nearest tip {figures['tips_genus_nearest']:.1%})")
    return "; ".join(parts) or "too few tips are held out to tell how good the placement is"
