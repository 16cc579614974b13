"""Tips of a reference that are kept from learning, to fit what cannot be learned and to tell how good the rest is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.placement.calibrate import Clusters, draw_clusters
from aam.placement.reference import Reference

Ints = NDArray[np.int64]
TESTED, SHARE = 2000, 0.05
"""Tips that are tested, at most, and as a share of all."""
GENERA, GENUS = 20, 5
"""Whole genera that are taken out of the tree, and the place of the genus in a lineage, from 0."""
FEWEST = 400
"""Tips below which there is too little to learn from and to test with."""


class HeldOut(NamedTuple):
    """`clusters`: tips that act as ASVs of simulated studies. `tested` int64: single tips, asked one by one on a
    reference that has all others. `genera` int64: all tips of some genera, which are no candidates either."""

    clusters: Clusters
    tested: Ints
    genera: Ints

    def asked_never(self, tips: int) -> NDArray[np.bool_]:
        """Which of so many tips are not asked in training, [R]."""
        flags = np.zeros(tips, bool)
        flags[np.concatenate([self.clusters.tips, self.tested, self.genera])] = True
        return flags

    def gone(self, tips: int) -> NDArray[np.bool_]:
        """Which of so many tips are no candidates in training, [R]."""
        flags = np.zeros(tips, bool)
        flags[self.genera] = True
        return flags


def hold_out(reference: Reference, usable: NDArray[np.bool_], seed: int) -> HeldOut:
    """Draw what is held out of the `usable` tips [R]."""
    rng, can = np.random.default_rng(seed), np.flatnonzero(usable)
    genus = reference.taxa[:, GENUS]
    named = np.unique(genus[usable & (genus >= 0)])
    few = min(GENERA, len(named) // 10)
    genera = np.flatnonzero(np.isin(genus, rng.choice(named, few, replace=False)) & usable) if few else can[:0]
    can = np.setdiff1d(can, genera)
    clusters = draw_clusters(can, rng)
    rest = np.setdiff1d(can, clusters.tips)
    tested = np.sort(rng.choice(rest, min(TESTED, int(SHARE * len(can))), replace=False))
    return HeldOut(clusters, tested, genera)
