"""A window of columns of a reference: tips that are equal in it are one candidate with many tips."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.gene.profile import NO_BASE
from aam.placement.neighbours import Neighbourhood
from aam.placement.reference import Reference

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LEAST_COVERED = 0.5
"""Share of the columns in which a tip must have a base to take part."""


class Group(NamedTuple):
    """For some groups of equal tips [n]: the tip that stands for each, how many tips it has, and how far above the tip
    the last common ancestor of all is."""

    tip: Ints
    size: Ints
    spread: Floats


class Window:
    """G groups of tips with equal codes on W columns of a reference.

    `codes` uint8 [G, W]; `members` int64: the tips, group by group and from left to right; those of group g are
    `members[start[g] : start[g + 1]]`. `group_of` int64 [R]: the group of each tip, -1 for one that takes no part.
    """

    def __init__(self, reference: Reference, first: int, last: int, kept: NDArray[np.bool_] | None = None) -> None:
        """Take columns `first` to `last` (counted from 1) of the tips that are `kept` [R] (None: all)."""
        self.first, self.last, self.reference = first, last, reference
        codes = np.ascontiguousarray(reference.on(first, last).T)
        part = (codes != NO_BASE).mean(axis=1) >= LEAST_COVERED
        tips = np.flatnonzero(part if kept is None else part & kept)
        text = codes[tips].view(np.dtype((np.void, codes.shape[1]))).ravel()
        _, group = np.unique(text, return_inverse=True)
        order = np.argsort(group, kind="stable")
        self.members = tips[order]
        self.start = np.searchsorted(group[order], np.arange(group.max(initial=-1) + 2))
        self.codes = codes[self.members[self.start[:-1]]]
        self.group_of = np.full(len(codes), -1)
        self.group_of[tips] = group
        self.hood = Neighbourhood(self.codes)

    def describe(self, groups: Ints, without: Ints | None = None) -> Group:
        """The groups of numbers [n] (any shape); `without`: a tip for each that does not count as a member.

        The tip in the middle, from left to right, stands for a group. A group without a member has size 0 and tip -1.
        """
        begin, end = self.start[groups], self.start[groups + 1] - 1
        middle = (begin + end) // 2
        size = end - begin + 1
        if without is not None:
            inside = self.group_of[without] == groups
            size = size - inside
            # Of what is left, the middle one; the ends move where the tip itself is one.
            at_begin = inside & (self.members[begin] == without)
            at_end = inside & (self.members[end] == without)
            begin, end = begin + at_begin, np.maximum(end - at_end, begin + at_begin)
            end = np.minimum(end, self.start[groups + 1] - 1)
            begin = np.minimum(begin, end)
            middle = (begin + end) // 2
            middle = np.where(inside & (self.members[middle] == without), np.minimum(middle + 1, end), middle)
        tip = np.where(size > 0, self.members[middle], -1)
        ancestors = self.reference.ancestors
        spread = ancestors.tip_depth[tip] - ancestors.common(self.members[begin], self.members[end])
        return Group(tip, size, np.where(size > 1, np.maximum(spread, 0), 0.0))
