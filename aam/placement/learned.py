"""Placement by a network that learned the reference: what is stored of it, and ASVs placed with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.gene.profile import NO_BASE
from aam.gene.reads import Reads
from aam.models.placer import RANKS, Placer
from aam.observer import Progress
from aam.placement.lineages import Lineages
from aam.placement.neighbours import Neighbours
from aam.placement.placements import PLACED, Placements
from aam.placement.reference import Reference
from aam.placement.search import align_reads, fates, windows
from aam.placement.sequence import FAR, Hung, hang, read_alone
from aam.placement.window import Window

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
EQUAL = 0.5
"""What is left of the own branch of an ASV that equals a tip. The network learned from tips that are left out, so it
takes the equal tip for another organism; the ASV may as well be of that very one, without a branch: at even odds."""
TOGETHER = 1 << 12
"""ASVs that may be placed on each other: those of neighbouring tips; bounds memory and time."""


class Shrink(NamedTuple):
    """By how much heights and own branches are shortened.

    An ASV hung on the wrong relative adds branches that its true relatives share, so lengths without bias make
    unweighted UniFrac too large. The factors are those that fit simulated studies best, see `calibrate.py`.
    """

    height: float = 1.0
    stem: float = 1.0


@dataclass(frozen=True)
class LearnedPlacer:
    """A network, the number of candidates that it reads, and the factors of its lengths; `figures` of held-out tips.

    ASVs that differ from their nearest tip in more than the part `far` of their columns may hang on other ASVs:
    none, so that the place of an ASV depends on it alone, unless `joint`.
    """

    net: Placer
    candidates: int
    shrink: Shrink = Shrink()
    figures: dict[str, Any] = field(default_factory=dict)
    far: float = 1.0

    @property
    def joint(self) -> LearnedPlacer:
        """The same, but ASVs far from the reference may hang on other ASVs."""
        return replace(self, far=FAR)


def place_by_network(
    reference: Reference, learned: LearnedPlacer, ids: Sequence[str], sequences: Sequence[str], progress: Progress,
    threads: int = 1,
) -> Placements:  # fmt: skip
    """Place upper-case DNA on the tree of a reference."""
    reads = align_reads(sequences, progress, threads)
    found = empty_placements(ids, reads, learned.candidates, reference)
    done = 0
    for rows, first, last in windows(reference, reads):
        window = Window(reference, first, last)
        codes = reads.on(first, last)[rows]
        near = window.hood.nearest(codes, learned.candidates)
        found.covered[rows] = (codes != NO_BASE).sum(axis=1)
        found.fate[rows] = fates(reads.strand[rows], near.differing[:, 0], found.covered[rows])
        here = np.flatnonzero(found.fate[rows] == PLACED)
        for some in together(window, near.rows, here):
            nearest = Neighbours(near.rows[some], near.differing[some])
            place_some(window, learned, codes[some], nearest, rows[some], found)
            done += len(some)
            progress(len(ids) + done, 2 * len(ids))
    progress(2 * len(ids), 2 * len(ids))
    return found


def together(window: Window, groups: Ints, rows: Ints) -> list[Ints]:
    """Rows in pieces of at most `TOGETHER`, by where on the tree their nearest tips lie."""
    tip = window.describe(groups[rows, 0]).tip
    ordered = rows[np.argsort(tip, kind="stable")]
    return [np.sort(ordered[start : start + TOGETHER]) for start in range(0, len(ordered), TOGETHER)]


def place_some(
    window: Window, learned: LearnedPlacer, codes: NDArray[np.uint8], near: Neighbours, rows: Ints, found: Placements
) -> None:
    """Place ASVs with codes [n, W] and nearest groups [n, K] and write what is found into `rows` of the placements."""
    alone = read_alone(window, learned.net, codes, near.rows)
    hung = hang(window, learned.net, codes, near, alone, learned.far)
    width = alone.tips.shape[1]
    found.differing[rows, :width] = near.differing
    write_places(window.reference, hung, learned.shrink, rows, found)
    found.candidates[rows, :width] = alone.tips
    found.chance[rows, :width], found.height[rows, :width] = alone.chance, alone.height
    found.stem_of[rows, :width] = alone.stem
    found.error[rows] = np.take_along_axis(alone.error, alone.chance.argmax(1)[:, None], 1)[:, 0]
    if found.confidence is not None:
        found.confidence[rows, :width] = alone.confidence


def write_places(reference: Reference, hung: Hung, shrink: Shrink, rows: Ints, found: Placements) -> None:
    """Write anchors, tops and own branches, shortened, into `rows` of the placements."""
    lineages = shrunk(reference, hung, shrink, found.differing[rows, 0] == 0)
    tips, place = lineages.tips, np.empty(len(rows), np.int64)
    place[hung.order] = np.arange(len(rows))
    anchor = lineages.anchor[place]
    later = anchor >= tips
    anchor[later] = tips + rows[hung.order[anchor[later] - tips]]
    found.anchor[rows], found.top[rows] = anchor, lineages.top[place]
    found.stem[rows] = lineages.depth[tips + place] - lineages.top[place]


def shrunk(reference: Reference, hung: Hung, shrink: Shrink, equal: NDArray[np.bool_]) -> Lineages:
    """The places of ASVs with shortened lengths; ASV number = R + its place in the order of placing.

    `equal` bool [A]: which ASVs equal a tip of the reference.
    """
    lineages = Lineages(reference.ancestors, len(hung.order))
    heights, stems = shrink.height * hung.height, shrink.stem * hung.stem * np.where(equal, EQUAL, 1.0)
    tips, depth = lineages.tips, lineages.depth
    for place, row in enumerate(hung.order.tolist()):
        anchor = hung.anchor[row]
        top = max(depth[anchor] - heights[row], 0.0)
        lineages.anchor[place], lineages.top[place] = anchor, top
        depth[tips + place] = top + stems[row]
    return lineages


def empty_placements(ids: Sequence[str], reads: Reads, width: int, reference: Reference) -> Placements:
    """Placements of ASVs none of which has a place yet."""
    total = len(ids)
    columns = np.zeros(total, np.int64)
    return Placements(
        ids,
        reads,
        fate=fates(reads.strand, columns, columns),
        candidates=np.full((total, width), -1, np.int32),
        differing=np.zeros((total, width), np.int32),
        covered=columns,
        anchor=np.full(total, -1),
        top=np.zeros(total),
        stem=np.zeros(total),
        chance=np.zeros((total, width), np.float32),
        height=np.zeros((total, width), np.float32),
        stem_of=np.zeros((total, width), np.float32),
        error=np.zeros(total),
        confidence=None if reference.lineages is None else np.zeros((total, width, RANKS), np.float32),
    )
