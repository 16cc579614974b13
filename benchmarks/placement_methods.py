"""The methods that `placement.py` compares."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from placement_data import Study
from placement_epa import place_by_bscampp

from aam.observer import no_progress
from aam.placement.learned import LearnedPlacer, place_by_network
from aam.placement.nearest_tip import place_by_nearest_tip
from aam.placement.placements import Placements
from aam.placement.placer_file import read_placer
from aam.placement.reference import Reference

NEAREST, OURS, JOINT, BSCAMPP = "nearest-tip", "ours", "joint", "bscampp"


class Placed(NamedTuple):
    """What a method found; seconds that a core was busy, and peak MB if it ran as its own process."""

    placements: Placements
    seconds: float
    megabytes: float | None = None


class Methods(NamedTuple):
    """Which methods run, BSCAMPP if its folder is given. `work` keeps files, `learned` is the folder of the placer."""

    names: Sequence[str]
    work: Path
    learned: Path
    bscampp: Path | None

    def place(self, reference: Reference, study: Study, key: str) -> dict[str, Placed]:
        """The ASVs of a study placed by all methods; `key` names the reference for files that are kept."""
        found = {name: timed(IN_PROCESS[name], reference, study, self.learned) for name in self.names}
        if self.bscampp is not None:
            first = next(iter(found.values())).placements
            folder = self.work / f"bscampp-{key}-{study.name}-{study.counts.shape[0]}"
            placements, cost = place_by_bscampp(reference, study.ids, first.reads, self.bscampp, folder)
            found[BSCAMPP] = Placed(placements, *cost)
        return found


def timed(method: Method, reference: Reference, study: Study, learned: Path) -> Placed:
    """One method in this process."""
    start = time.process_time()
    placements = method(reference, study.ids, study.sequences, learned)
    return Placed(placements, time.process_time() - start)


def nearest(reference: Reference, ids: Sequence[str], sequences: Sequence[str], learned: Path) -> Placements:
    """Half of the corrected distance above the nearest tip; nothing is learned."""
    return place_by_nearest_tip(reference, ids, sequences, no_progress)


def ours(reference: Reference, ids: Sequence[str], sequences: Sequence[str], learned: Path) -> Placements:
    """The network that is in a folder."""
    return place_by_network(reference, open_placer(learned), ids, sequences, no_progress)


def joint(reference: Reference, ids: Sequence[str], sequences: Sequence[str], learned: Path) -> Placements:
    """The same, but ASVs far from the reference may hang on each other."""
    return place_by_network(reference, open_placer(learned).joint, ids, sequences, no_progress)


@cache
def open_placer(folder: Path) -> LearnedPlacer:
    """What was learned before."""
    placer = read_placer(folder)
    assert placer is not None, f"{folder} has no placer"
    return placer


Method = Callable[[Reference, Sequence[str], Sequence[str], Path], Placements]
IN_PROCESS: dict[str, Method] = {NEAREST: nearest, OURS: ours, JOINT: joint}
