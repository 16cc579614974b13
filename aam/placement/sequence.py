"""ASVs of one window placed one after the other, so that those of one branch share it.

Each ASV alone would hang on the reference by a stem of its own, and ASVs of a clade that the reference lacks would have
their common stem counted once each. So the ASVs are placed in the order of their distance to the reference, and those
that are placed are candidates for the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from aam.gene.profile import NO_BASE
from aam.models.placer import Placer
from aam.placement.lineages import Lineages
from aam.placement.neighbours import one_hot
from aam.placement.reading import Candidates, read
from aam.placement.window import Window

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ROWS_AT_ONCE = 256
"""ASVs that the network reads together; bounds memory and changes nothing."""
DEEP_ENOUGH = 0.3
"""Share of the chance that must lie below the place of an ASV. Of 0.3, 0.4 and 0.5, and the likeliest candidate alone,
0.3 had the highest correlations of UniFrac in two studies (docs/log.md)."""


class Alone(NamedTuple):
    """What the network says of A ASVs and K reference candidates: tips [A, K], chance, height, stem, error [A, K], and
    the confidence that the ASV has the candidate's taxon at each rank [A, K, ranks]."""

    tips: Ints
    chance: Floats
    height: Floats
    stem: Floats
    error: Floats
    confidence: Floats


class Hung(NamedTuple):
    """Anchors int64 [A] (numbers in `Lineages`), how far up the ASV leaves and its own branch, float64 [A].

    `order` int64 [A]: rows in the order of placing; an ASV's number is R + its place in that order.
    """

    anchor: Ints
    height: Floats
    stem: Floats
    order: Ints


def read_alone(
    window: Window, net: Placer, codes: NDArray[np.uint8], groups: Ints, without: Ints | None = None
) -> Alone:
    """Let the network read ASVs with codes [A, W] and their nearest groups [A, K] of the reference.

    `without` int64 [A]: a tip for each that is left out of its group, which must have others.
    """
    lineages = Lineages(window.reference.ancestors, 0)
    group = window.describe(groups, None if without is None else without[:, None])
    parts = []
    for rows in blocks(np.arange(len(codes))):
        found = Candidates(
            window.codes[groups[rows]], group.tip[rows], group.size[rows], group.spread[rows],
            np.ones(groups[rows].shape, bool),
        )  # fmt: skip
        parts.append(_places(net, lineages, codes[rows], found, window.first - 1))
    chance, height, stem, error, confidence = (np.concatenate(part) for part in zip(*parts, strict=True))
    named = window.reference.named[group.tip]
    return Alone(group.tip, chance, height, stem, error, among_named(confidence, named))


def among_named(confidence: Floats, named: NDArray[np.bool_]) -> Floats:
    """Confidences [A, K, ranks] of the candidates that are `named` at a rank, given that the ASV is no namesake of the
    others, which have no name; what they leave of 1 is that it is of none of them."""
    none = 1 - confidence.sum(axis=1, keepdims=True)
    confidence = confidence * named
    return confidence / np.maximum(confidence.sum(axis=1, keepdims=True) + none, 1e-12)


def hang(window: Window, net: Placer, codes: NDArray[np.uint8], groups: Ints, differing: Ints, alone: Alone) -> Hung:
    """Choose an anchor for each ASV among its reference candidates and the ASVs that were placed before it."""
    count, width = groups.shape
    order = np.lexsort((np.arange(count), differing[:, 0]))
    place = np.empty(count, np.int64)
    place[order] = np.arange(count)
    near, apart = earlier_neighbours(codes, place, width)
    tips = window.reference.ancestors.tip_depth.size
    first = np.argsort(np.concatenate([differing, apart], 1), 1, kind="stable")[:, :width]
    group = window.describe(groups)
    numbers = np.take_along_axis(np.concatenate([group.tip, tips + place[near]], 1), first, 1)
    sizes = np.take_along_axis(np.concatenate([group.size, np.ones_like(near)], 1), first, 1)
    spreads = np.take_along_axis(np.concatenate([group.spread, np.zeros(near.shape)], 1), first, 1)
    sources = np.take_along_axis(np.concatenate([groups, len(window.codes) + near], 1), first, 1)
    known = np.concatenate([window.codes, codes])
    lineages = Lineages(window.reference.ancestors, count)
    anchor, height, stem = np.zeros(count, np.int64), np.zeros(count), np.zeros(count)
    for rows in waves(numbers, tips, order):
        for some in blocks(rows):
            with_asvs = (numbers[some] >= tips).any(axis=1)
            said = [part[some].copy() for part in (alone.chance, alone.height, alone.stem)]
            candidates = np.where(with_asvs[:, None], numbers[some], alone.tips[some])
            again = some[with_asvs]
            if again.size:
                everyone = np.ones(numbers[again].shape, bool)
                found = Candidates(known[sources[again]], numbers[again], sizes[again], spreads[again], everyone)
                for part, new in zip(said, _places(net, lineages, codes[again], found, window.first - 1), strict=False):
                    part[with_asvs] = new
            anchor[some], top, stem[some] = middle(lineages, candidates, *said)
            height[some] = lineages.depth[anchor[some]] - top
            lineages.add(tips + place[some], anchor[some], top, stem[some])
    return Hung(anchor, height, stem, order)


def middle(
    lineages: Lineages, numbers: Ints, chance: Floats, height: Floats, stem: Floats
) -> tuple[Ints, Floats, Floats]:
    """Where ASVs leave the tree: anchor [B], depth of the place and own branch, from what candidates [B, K] say.

    Each candidate names a place, with a chance. An ASV leaves at the deepest point below which places with at least
    `DEEP_ENOUGH` of the chance lie: where candidates of one clade disagree, at their ancestor. Its branch reaches to
    the expected depth of its end.
    """
    top = np.maximum(lineages.depth[numbers] - height, 0)
    shared = np.minimum(lineages.common(numbers[:, :, None], numbers[:, None]), top[:, None])
    shared = np.minimum(shared, top[:, :, None])  # depth down to which the paths to two places are one
    order = np.argsort(-shared, axis=2, kind="stable")
    sums = np.take_along_axis(np.broadcast_to(chance[:, None], shared.shape), order, 2).cumsum(axis=2)
    enough = (sums >= DEEP_ENOUGH).argmax(axis=2)[..., None]
    depth = np.take_along_axis(np.take_along_axis(shared, order, 2), enough, 2)[..., 0]
    best = depth.argmax(axis=1)
    rows = np.arange(len(numbers))
    end = (chance * (top + stem)).sum(axis=1)
    return numbers[rows, best], depth[rows, best], np.maximum(end - depth[rows, best], 0)


def earlier_neighbours(codes: NDArray[np.uint8], place: Ints, width: int) -> tuple[Ints, Ints]:
    """The `width` ASVs nearest to each by differing columns among those placed before it: rows and differences [A, K].

    Where there are fewer, the row is that of the ASV itself and the difference larger than any.
    """
    width = min(width, len(codes))
    flags, covered = one_hot(codes), (codes != NO_BASE).sum(axis=1)
    order = np.argsort(place)
    rows, apart = np.empty((len(codes), width), np.int64), np.empty((len(codes), width), np.int64)
    for some in blocks(order):
        before = order[: place[some].max() + 1]
        same = (flags[some] @ flags[before].T).numpy()
        same[place[before][None] >= place[some][:, None]] = -1e6
        top = np.argsort(-same, 1, kind="stable")[:, :width]
        if top.shape[1] < width:
            top = np.pad(top, ((0, 0), (0, width - top.shape[1])), mode="edge")
        alike = np.take_along_axis(same, top, 1)
        rows[some] = np.where(alike < 0, some[:, None], before[top])
        apart[some] = np.where(alike < 0, 1 << 30, covered[some][:, None] - alike)
    return rows, apart


def waves(numbers: Ints, tips: int, order: Ints) -> Iterator[Ints]:
    """Rows of ASVs whose candidates, numbers [A, K], are all placed once the waves before are."""
    level = np.zeros(len(order), np.int64)
    for row in order.tolist():
        before = numbers[row][numbers[row] >= tips] - tips
        if before.size:
            level[row] = 1 + level[order[before]].max()
    for wave in range(int(level.max(initial=-1)) + 1):
        yield np.flatnonzero(level == wave)


def blocks(rows: Ints) -> Iterator[Ints]:
    """Pieces of at most `ROWS_AT_ONCE`."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield rows[start : start + ROWS_AT_ONCE]


@torch.inference_mode()
def _places(
    net: Placer, lineages: Lineages, codes: NDArray[np.uint8], found: Candidates, first: int
) -> tuple[Floats, ...]:
    """Chance, height, stem, error [B, K] and confidence [B, K, ranks] of candidates."""
    said = net(read(lineages, codes, found, first))
    chance, confidence = said.score.softmax(1), said.ranks.softmax(1)[:, :-1]
    return tuple(part.double().numpy() for part in (chance, said.height, said.stem, said.error, confidence))
