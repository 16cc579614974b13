"""Which samples of a table `aam explain` explains for a model of `aam train`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from aam.corpus.samples import TableSamples
from aam.errors import CheckpointError
from aam.io.ids import find_wanted
from aam.observer import Observer
from aam.text import counted
from aam.training.manifest import read_manifest_part


def samples_of_run(samples: TableSamples, model: Path, observer: Observer) -> TableSamples:
    """The samples that the run of a model has learned from or tested, if the table has any, else all; says which.

    What a run left out (--where, no label) it was not made for. Of a checkpoint that was copied out of its run, all.
    """
    try:
        known = set(read_manifest_part(model, "sample_ids"))
    except CheckpointError:
        known = set()
    ids = samples.table.sample_ids
    rows = np.flatnonzero(find_wanted(ids, known))
    if not 0 < len(rows) < len(ids):
        return samples
    observer.say(f"explains the {counted(len(rows), 'samples')} of the run, of {len(ids):,} in the table")
    return replace(samples, table=samples.table.select(samples=rows))


def say_drawn_samples(count: int, most: int, observer: Observer) -> None:
    """Say that `most` of `count` samples are explained, if these are fewer."""
    if most < count:
        observer.say(f"explains {most:,} of {counted(count, 'samples')}, drawn by --seed; --max-samples takes more")
