"""What the placer learns from: each tip of a reference left out in turn and seen through a window of columns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aam.gene.regions import STARTS
from aam.models.placer import Reading
from aam.placement.lineages import Lineages
from aam.placement.reading import Candidates, read
from aam.placement.reference import Reference
from aam.placement.window import Group, Window

Ints = NDArray[np.int64]
NEIGHBOURS = 64
"""Groups kept for each tip, of which those that are left out make room for others."""
KEPT_SHARES = (1.0, 0.75, 0.5, 0.25)
"""Shares of the neighbours that are kept, one drawn for each tip: clades differ in their references."""
CLEARED, RADIUS = 0.4, 0.2
"""Share of the tips around which all neighbours within a random radius, up to this length of path, are left out."""


class Lesson(NamedTuple):
    """Tips [Q] that are asked on a window, and their nearest groups int64 [Q, NEIGHBOURS], themselves left out."""

    window: Window
    asked: Ints
    groups: Ints


class Truth(NamedTuple):
    """What is true of candidates [B, K]: height and stem in units of the tree, depth of the common ancestor with the
    tip (-1 where there is no candidate), and, at each rank [B, K, RANKS], whether they have the tip's taxon; `known`
    [B, RANKS]: whether it has one, and `named` [B, K, RANKS]: whether candidates have one."""

    height: Tensor
    stem: Tensor
    ancestor: Tensor
    same: Tensor
    known: Tensor
    named: Tensor


def usual_windows(reference: Reference, rng: np.random.Generator) -> list[tuple[int, int, float]]:
    """Windows to learn on: first and last column and share of the lessons; usual ones, and as many random ones."""
    v4 = STARTS["515F"]
    usual = [
        (v4, v4 + 148, 0.45),
        (v4, v4 + 98, 0.12),
        (v4, v4 + 249, 0.08),
        (400, 810, 0.07),
        (28, 290, 0.10),
        (900, 1210, 0.08),
    ]
    for length in (100, 150, 200, 250, 300, 400):
        begin = int(rng.integers(reference.first, max(reference.last - length, reference.first) + 1))
        usual.append((begin, begin + length - 1, 0.02))
    cut = [(max(first, reference.first), min(last, reference.last), share) for first, last, share in usual]
    return [one for one in cut if one[1] - one[0] >= 80]


def make_lesson(window: Window, asked: Ints) -> Lesson:
    """Find the nearest groups of each asked tip, which must be in the window."""
    own = window.group_of[asked]
    codes = window.codes[own]
    alone = np.diff(window.start)[own] == 1
    found = window.hood.nearest(codes, NEIGHBOURS, np.where(alone, own, -1)).rows
    return Lesson(window, asked, found.astype(np.int32))


def draw(
    lesson: Lesson, rows: Ints, count: int, rng: np.random.Generator | None, taxa: NDArray[np.int32]
) -> tuple[Reading, Truth]:
    """The reading and the truth of some of the asked tips, rows [B], with `count` candidates each.

    With a generator, neighbours are left out by chance; None keeps all.
    """
    window, ancestors = lesson.window, lesson.window.reference.ancestors
    tips, groups = lesson.asked[rows], lesson.groups[rows].astype(np.int64)
    members = window.describe(groups, tips[:, None])
    alive = members.size > 0
    if rng is not None:
        alive &= rng.random(alive.shape) < rng.choice(KEPT_SHARES, (len(rows), 1))
        radius = np.where(rng.random((len(rows), 1)) < CLEARED, RADIUS * rng.random((len(rows), 1)), 0)
        alive &= ancestors.distance(np.maximum(members.tip, 0), tips[:, None]) >= radius
    some = alive.any(axis=1)  # a tip with nobody left teaches nothing
    tips, groups, alive, members = (
        tips[some],
        groups[some],
        alive[some],
        Group(members.tip[some], members.size[some], members.spread[some]),
    )
    first = np.argsort(~alive, 1, kind="stable")[:, :count]
    take = lambda values: np.take_along_axis(values, first, 1)  # noqa: E731
    valid, near = take(alive), np.maximum(take(members.tip), 0)
    groups = take(groups)
    codes = window.codes[window.group_of[tips]]
    found = Candidates(window.codes[groups], near, take(members.size), take(members.spread), valid)
    ancestor = ancestors.common(near, tips[:, None])
    same = (taxa[tips][:, None] == taxa[near]) & (taxa[tips] >= 0)[:, None] & valid[..., None]
    truth = Truth(
        height=to_float(ancestors.tip_depth[near] - ancestor),
        stem=to_float(ancestors.tip_depth[tips][:, None] - ancestor),
        ancestor=to_float(np.where(valid, ancestor, -1)),
        same=torch.from_numpy(same),
        known=torch.from_numpy(taxa[tips] >= 0),
        named=torch.from_numpy(taxa[near] >= 0),
    )
    return read(Lineages(ancestors, 0), codes, found, window.first - 1), truth


def to_float(values: NDArray[np.float64]) -> Tensor:
    """Single precision for the loss."""
    return torch.from_numpy(values.astype(np.float32))
