"""Where ASVs leave the tree of a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aam.gene.reads import Reads

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
OfCandidates = NDArray[np.floating]
PLACED, NOT_16S, NOT_COVERED, TOO_FAR = range(4)
"""What became of an ASV: it has a place; it is no 16S; the reference has no base on its columns; nothing is near."""
REASONS = {
    NOT_16S: "ASVs not of 16S",
    NOT_COVERED: "ASVs on columns that the reference does not have",
    TOO_FAR: "ASVs far from every reference (chimeras, other genes)",
}


@dataclass(frozen=True)
class Placements:
    """The places of A ASVs on a tree of R reference tips, with K candidates each.

    `fate` int8 [A]: `PLACED` or why not; arrays hold 0 (candidates -1) where there is no place.

    `candidates` int64 [A, K]: reference tips (numbers in `tree.tip_names`), nearest first; `differing` int64 [A, K]:
    columns in which the ASV differs from each, of the `covered` int64 [A] that it has.

    The ASV's branch leaves the path from `anchor` to the root at depth `top` float64 [A] (distance from the root) and
    is `stem` float64 [A] long. `anchor` int64 [A] is a reference tip, or R + the row of an ASV placed before.

    `chance` [A, K]: how likely each candidate is the closest relative (sums to 1); `height` and `stem_of`
    [A, K]: how far up from the candidate the ASV would leave, and its own branch, if it is. `error` float64
    [A]: expected error of the place in units of the tree.

    `confidence` [A, K, ranks]: how likely the ASV has the taxon of each candidate at each rank, domain first;
    candidates of one taxon add up. None for a reference without taxonomy.
    """

    ids: Sequence[str]
    reads: Reads
    fate: NDArray[np.int8]
    candidates: NDArray[np.integer]
    differing: NDArray[np.integer]
    covered: Ints
    anchor: Ints
    top: Floats
    stem: Floats
    chance: OfCandidates
    height: OfCandidates
    stem_of: OfCandidates
    error: Floats
    confidence: OfCandidates | None = None

    def in_order(self, rows: Ints, tips: int) -> Placements:
        """The same ASVs in the order of `rows` [A]; the reference has `tips` tips."""
        place = np.argsort(rows)
        later = self.anchor >= tips
        anchor = np.where(later, tips + place[np.where(later, self.anchor - tips, 0)], self.anchor)
        own: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)} | {"anchor": anchor}
        moved = {name: value[rows] for name, value in own.items() if name not in ("ids", "reads") and value is not None}
        of_reads = {name: getattr(self.reads, name)[rows] for name in ("codes", "strand", "begin", "end", "bits")}
        return replace(
            self, **moved, ids=[self.ids[row] for row in rows.tolist()], reads=replace(self.reads, **of_reads)
        )

    @property
    def placed(self) -> Ints:
        """Rows of the ASVs that have a place."""
        return np.flatnonzero(self.fate == PLACED)
