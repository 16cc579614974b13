"""ASVs of one window placed one after the other, so that those of a clade that the reference lacks share its stem.

Each ASV alone would hang on the reference by a stem of its own, and the stem of such a clade would be counted once for
each. So ASVs that are far from the reference are placed in the order of their distance to it, and all that are placed
are candidates for them. ASVs near a tip need no others: alone their places are as good, and do not depend on the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from aam.gene.profile import NO_BASE
from aam.models.placer import Placer
from aam.placement.lineages import Lineages
from aam.placement.neighbours import Neighbours, one_hot
from aam.placement.reading import Candidates, read
from aam.placement.window import Window

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
ROWS_AT_ONCE = 256
"""ASVs that the network reads together; bounds memory and changes nothing."""
FAR = 0.05
"""Part of its columns in which an ASV that may hang on other ASVs differs from its nearest tip. Of 0, 0.02, 0.05, 0.08
and 1, 0.05 had the highest or nearly the highest correlation of UniFrac in each of eight tables (docs/log.md)."""
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


def hang(window: Window, net: Placer, codes: NDArray[np.uint8], near: Neighbours, alone: Alone, far: float) -> Hung:
    """Choose an anchor for each ASV: a reference candidate or, for those `far` from all, an ASV placed before it.

    `far`: part of its columns in which an ASV must differ from its nearest tip; with 1 none hangs on another ASV.
    """
    count, tips = len(codes), window.reference.ancestors.tip_depth.size
    order = np.lexsort((np.arange(count), near.differing[:, 0]))
    place = np.empty(count, np.int64)
    place[order] = np.arange(count)
    lineages = Lineages(window.reference.ancestors, count)
    anchor, height, stem = np.zeros(count, np.int64), np.zeros(count), np.zeros(count)

    def add(rows: Ints, numbers: Ints, chance: Floats, height_of: Floats, stem_of: Floats) -> None:
        anchor[rows], top, stem[rows] = middle(lineages, numbers, chance, height_of, stem_of)
        height[rows] = lineages.depth[anchor[rows]] - top
        lineages.add(tips + place[rows], anchor[rows], top, stem[rows])

    apart = near.differing[:, 0] > far * (codes != NO_BASE).sum(axis=1)
    mixed = with_earlier(window, codes, near, place, np.flatnonzero(apart))
    for rows in blocks(np.setdiff1d(np.arange(count), mixed.rows)):
        add(rows, alone.tips[rows], alone.chance[rows], alone.height[rows], alone.stem[rows])
    for wave in waves(mixed.numbers, tips + place[mixed.rows]):
        for some in blocks(wave):
            rows = mixed.rows[some]
            chance, up, own, *_ = _places(net, lineages, codes[rows], mixed.read(some), window.first - 1)
            add(rows, mixed.numbers[some], chance, up, own)
    return Hung(anchor, height, stem, order)


class Mixed(NamedTuple):
    """F ASVs, `rows` int64 [F], among whose K candidates are ASVs: as in `Candidates`, [F, K], and their codes."""

    rows: Ints
    numbers: Ints
    size: Ints
    spread: Floats
    source: Ints
    known: NDArray[np.uint8]
    """Codes [groups + A, W]; `source` [F, K] are rows of it."""

    def read(self, some: Ints) -> Candidates:
        """The candidates of some of the ASVs, for the network."""
        everyone = np.ones(self.numbers[some].shape, bool)
        return Candidates(
            self.known[self.source[some]], self.numbers[some], self.size[some], self.spread[some], everyone
        )


def with_earlier(window: Window, codes: NDArray[np.uint8], near: Neighbours, place: Ints, rows: Ints) -> Mixed:
    """Those of the ASVs `rows` that have ASVs placed before them among their nearest, with these candidates."""
    groups, tips = near.rows[rows], window.reference.ancestors.tip_depth.size
    group, width = window.describe(groups), groups.shape[1]
    earlier, apart = earlier_neighbours(codes, place, rows, width)
    first = np.argsort(np.concatenate([near.differing[rows], apart], 1), 1, kind="stable")[:, :width]
    numbers = np.take_along_axis(np.concatenate([group.tip, tips + place[earlier]], 1), first, 1)
    some = np.flatnonzero((numbers >= tips).any(axis=1))

    def chosen(of_tips: NDArray[np.generic], of_asvs: NDArray[np.generic]) -> NDArray[Any]:
        return np.take_along_axis(np.concatenate([of_tips, of_asvs], 1), first, 1)[some]

    return Mixed(
        rows[some],
        numbers[some],
        chosen(group.size, np.ones_like(earlier)),
        chosen(group.spread, np.zeros(earlier.shape)),
        chosen(groups, len(window.codes) + earlier),
        np.concatenate([window.codes, codes]),
    )


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


def earlier_neighbours(codes: NDArray[np.uint8], place: Ints, asked: Ints, width: int) -> tuple[Ints, Ints]:
    """The `width` ASVs nearest to those `asked` [n] by differing columns, placed before: rows, differences [n, K].

    Where there are fewer, the row is that of the ASV itself and the difference larger than any.
    """
    width = min(width, len(codes))
    flags, covered = one_hot(codes), (codes != NO_BASE).sum(axis=1)
    order = np.argsort(place)
    rows, apart = np.empty((len(asked), width), np.int64), np.empty((len(asked), width), np.int64)
    for at in blocks(np.argsort(place[asked])):
        some = asked[at]
        before = order[: place[some].max(initial=-1) + 1]
        same = (flags[some] @ flags[before].T).numpy()
        same[place[before][None] >= place[some][:, None]] = -1e6
        top = np.argsort(-same, 1, kind="stable")[:, :width]
        if top.shape[1] < width:
            top = np.pad(top, ((0, 0), (0, width - top.shape[1])), mode="edge")
        alike = np.take_along_axis(same, top, 1)
        rows[at] = np.where(alike < 0, some[:, None], before[top])
        apart[at] = np.where(alike < 0, 1 << 30, covered[some][:, None] - alike)
    return rows, apart


def waves(numbers: Ints, own: Ints) -> Iterator[Ints]:
    """Rows of ASVs with numbers `own` [F] whose candidates, `numbers` [F, K], are placed once the waves before are."""
    levels, level = dict[int, int](), np.zeros(len(own), np.int64)
    for row in np.argsort(own).tolist():
        level[row] = 1 + max((levels[number] for number in numbers[row].tolist() if number in levels), default=-1)
        levels[int(own[row])] = int(level[row])
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
