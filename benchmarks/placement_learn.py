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

from aam.observer import Observer, no_progress
from aam.placement.hold_out import hold_out
from aam.placement.learn import LearnConfig, Learning, make_lessons
from aam.placement.learned import LearnedPlacer
from aam.placement.placer_file import write_placer
from aam.placement.store import RECORD
from aam.workflows.learn_placement import fitted, train, trust


@click.command(help=__doc__)
@click.option("--tables", required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--work", required=True, type=click.Path(path_type=Path))
@click.option("--steps", default=LearnConfig().steps, show_default=True)
@click.option("--lessons", default=LearnConfig().lessons, show_default=True)
def main(tables: Path, work: Path, steps: int, lessons: int) -> None:
    """Learn, fit the factors, write."""
    whole, gone, config = whole_reference(work), not_learned(tables, work), LearnConfig(steps=steps, lessons=lessons)
    held = hold_out(whole, ~gone, config.seed)
    held = held._replace(genera=np.union1d(held.genera, np.flatnonzero(gone)))
    click.echo(f"{gone.sum():,} of {len(gone):,} tips are not learned from, {len(held.clusters.tips):,} fit factors")
    folder = work / "learned"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).write_text(json.dumps({"tips": len(gone), "not learned from": int(gone.sum()), "steps": steps}))
    learning = Learning(whole, config)
    train(learning, *make_lessons(whole, config, held, no_progress), folder, Observer())
    learned = LearnedPlacer(learning.net.eval(), config.candidates)
    trust(whole, learned, held, *V4)
    write_placer(folder, LearnedPlacer(learned.net, config.candidates, fitted(whole, learned, held, config.seed)))


if __name__ == "__main__":
    main()
