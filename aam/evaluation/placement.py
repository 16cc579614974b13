"""How good a placer is on tips of the reference that it was not asked: the closest relative, the place, the genus."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aam.evaluation.calibration import BINS, expected_calibration_error
from aam.placement.hold_out import GENUS, HeldOut
from aam.placement.learned import LearnedPlacer
from aam.placement.lessons import make_lesson
from aam.placement.nearest_tip import jukes_cantor
from aam.placement.reference import Reference
from aam.placement.sequence import read_alone
from aam.placement.window import WELL_COVERED, Window, covering

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ALIKE = 1e-6
"""Depths of ancestors that differ by less are equal."""


def figures_of(
    reference: Reference, learned: LearnedPlacer, held: HeldOut, first: int, last: int
) -> dict[str, float | int]:
    """Figures on columns `first` to `last` of tips held out singly (`tips`) and as whole genera (`genera`)."""
    found: dict[str, float | int] = {"first_column": first, "last_column": last}
    total = len(reference.tree.tip_names)
    for name, tips, gone in (("tips", held.tested, None), ("genera", held.genera, held.gone(total))):
        window = Window(reference, first, last, None if gone is None else ~gone)
        asked = tips[covering(reference.on(first, last), WELL_COVERED)[tips]]
        if len(asked) >= BINS:
            found |= {f"{name}_{key}": value for key, value in score(window, learned, asked).items()}
    return found


def score(window: Window, learned: LearnedPlacer, tips: Ints) -> dict[str, float | int]:
    """Figures of some tips, each left out in turn."""
    reference, ancestors = window.reference, window.reference.ancestors
    codes = np.ascontiguousarray(reference.on(window.first, window.last)[:, tips].T)
    inside = (window.group_of[tips] >= 0).all()
    if inside:
        groups = make_lesson(window, tips).groups[:, : learned.candidates].astype(np.int64)
    else:
        groups = window.hood.nearest(codes, learned.candidates).rows
    said = read_alone(window, learned.net, codes, groups, tips if inside else None)
    differing = ((window.codes[groups[:, 0]] != codes) & (codes < 4)).sum(axis=1)
    half = jukes_cantor(differing / (codes < 4).sum(axis=1)) / 2
    common = ancestors.common(said.tips, tips[:, None])
    rows, best = np.arange(len(tips)), said.chance.argmax(axis=1)
    taxa = reference.taxa
    found: dict[str, float | int] = {"asked": len(tips)}
    closest = common.max(axis=1)
    for name, place, height, stem in (
        ("", best, said.height[rows, best], said.stem[rows, best]),
        ("nearest_", np.zeros_like(best), half, half),
    ):
        depth = common[rows, place]
        off = abs(ancestors.tip_depth[said.tips[rows, place]] - depth - height)
        off += abs(ancestors.tip_depth[tips] - depth - stem)
        found[f"{name}closest"] = float((depth >= closest - ALIKE).mean())
        found[f"{name}error"] = float(off.mean())
        if not name:
            found["expected_error"] = float(said.error[rows, best].mean())
    genus = taxa[:, GENUS]
    known = np.flatnonzero(genus[tips] >= 0)
    if len(known) >= BINS:
        found["genus_nearest"] = float((genus[said.tips[known, 0]] == genus[tips[known]]).mean())
        taxon, confidence = best_taxon(genus[said.tips[known]], said.confidence[known, :, GENUS])
        right = taxon == genus[tips[known]]
        found["genus"] = float(right.mean())
        found["genus_calibration_error"] = expected_calibration_error(confidence, right)
    return found


def best_taxon(taxa: NDArray[np.integer], weights: Floats) -> tuple[NDArray[np.integer], Floats]:
    """The taxon with the largest sum of weights [A, K] over its candidates, and that sum; unnamed ones (-1) count 0."""
    weights = np.where(taxa >= 0, weights, 0)
    sums = ((taxa[:, :, None] == taxa[:, None]) * weights[:, None]).sum(axis=2) * (taxa >= 0)
    best = sums.argmax(axis=1)[:, None]
    return np.take_along_axis(taxa, best, 1)[:, 0], np.take_along_axis(sums, best, 1)[:, 0]
