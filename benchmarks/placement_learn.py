"""Learn the placer that `placement.py` tests, from the whole reference less all that any of its sections tests with.

    python benchmarks/placement_learn.py --tables TABLES --work FOLDER [--steps 6000]

The tables of section a, the families of d and the tips of f are neither asked nor candidates. Writes FOLDER/learned.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import numpy as np
from placement_data import V4, not_learned, whole_reference

from aam.gene.profile import NO_BASE
from aam.placement.calibrate import Study, simulate, try_out
from aam.placement.calibrate import fit as fit_shrink
from aam.placement.learn import LearnConfig, learn
from aam.placement.learned import LearnedPlacer
from aam.placement.placer_file import write_placer
from aam.placement.reference import Reference
from aam.placement.store import RECORD
from aam.placement.window import LEAST_COVERED, Window

TRIALS = (V4, (28, 290))
"""Columns of the simulated studies to which the factors of the lengths are fitted."""


def covering(study: Study, reference: Reference, first: int, last: int) -> Study:
    """The tips of a simulated study that have most of the columns, in the samples that have any of them."""
    there = (reference.on(first, last)[:, study.tips] != NO_BASE).mean(axis=0) >= LEAST_COVERED
    counts = study.counts[:, np.flatnonzero(there)]
    return Study(study.tips[there], counts[np.flatnonzero(counts.sum(axis=1) > 0)])


@click.command(help=__doc__)
@click.option("--tables", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--work", required=True, type=click.Path(path_type=Path))
@click.option("--steps", default=LearnConfig().steps, show_default=True)
@click.option("--lessons", default=LearnConfig().lessons, show_default=True)
def main(tables: Path, work: Path, steps: int, lessons: int) -> None:
    """Learn, fit the factors, write."""
    whole, gone, config = whole_reference(work), not_learned(tables, work), LearnConfig(steps=steps, lessons=lessons)
    study = simulate(whole, ~gone, np.random.default_rng(1))
    held = np.isin(np.arange(len(gone)), study.tips)
    click.echo(f"{gone.sum():,} of {len(gone):,} tips are not learned from, {held.sum():,} are for the factors")
    net, _ = learn(whole, config, held, gone, lambda done, total, text: click.echo(f"{done} of {total}: {text}"))
    learned, trials = LearnedPlacer(net, config.candidates), []
    for first, last in TRIALS:
        window = Window(whole, first, last, ~gone & ~held)
        trials.append(try_out(whole, window, learned, covering(study, whole, first, last)))
    learned = LearnedPlacer(net, config.candidates, fit_shrink(trials, click.echo))
    folder = work / "learned"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).write_text(json.dumps({"tips": len(gone), "not learned from": int(gone.sum()), "steps": steps}))
    write_placer(folder, learned)


if __name__ == "__main__":
    main()
