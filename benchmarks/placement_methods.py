"""The methods that `placement.py` compares."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from placement_data import Study
from placement_epa import place_by_bscampp

from aam.observer import no_progress
from aam.placement.nearest_tip import place_by_nearest_tip
from aam.placement.placements import Placements
from aam.placement.reference import Reference

NEAREST, OURS, BSCAMPP = "nearest tip", "ours", "BSCAMPP"


class Placed(NamedTuple):
    """What a method found; seconds that a core was busy, and peak MB if it ran as its own process."""

    placements: Placements
    seconds: float
    megabytes: float | None = None


class Methods(NamedTuple):
    """Which methods run: ours if it is to learn, BSCAMPP if the folder of its program is given. `work` keeps files."""

    names: Sequence[str]
    work: Path
    bscampp: Path | None

    def place(self, reference: Reference, study: Study, key: str) -> dict[str, Placed]:
        """The ASVs of a study placed by all methods; `key` names the reference, of which a learned model is kept."""
        found = {name: timed(IN_PROCESS[name], reference, study, self.work / key) for name in self.names}
        if self.bscampp is not None:
            first = next(iter(found.values())).placements
            folder = self.work / f"bscampp-{key}-{study.name}-{study.counts.shape[0]}"
            placements, cost = place_by_bscampp(reference, study.ids, first.reads, self.bscampp, folder)
            found[BSCAMPP] = Placed(placements, *cost)
        return found


def timed(method: Method, reference: Reference, study: Study, kept: Path) -> Placed:
    """One method in this process."""
    start = time.process_time()
    placements = method(reference, study.ids, study.sequences, kept)
    return Placed(placements, time.process_time() - start)


def nearest(reference: Reference, ids: Sequence[str], sequences: Sequence[str], kept: Path) -> Placements:
    """Half of the corrected distance above the nearest tip; nothing is learned."""
    return place_by_nearest_tip(reference, ids, sequences, no_progress)


Method = Callable[[Reference, Sequence[str], Sequence[str], Path], Placements]
IN_PROCESS: dict[str, Method] = {NEAREST: nearest}
