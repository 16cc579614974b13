"""Tips of a reference phylogeny, drawn for training: their bases in a window of the gene, and what is held out.

A draw is a pure function of its random generator, which a batch makes of seed and number. All processes of a run draw
the same tips and divide their encoding, as they do with the ASVs of the samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aam import vocab
from aam.config import LossConfig, PretrainConfig
from aam.config.fields import AUTO_BASES, Positions
from aam.corpus.dataset import Batch, mask_bases
from aam.corpus.gene_tokens import tokens_of_codes
from aam.corpus.windows import GeneWindows, Window, draw_window
from aam.errors import ConfigError
from aam.gene.profile import NO_BASE
from aam.gene.reads import LEAST_BASES, place_reads
from aam.gene.regions import REGIONS, region_text
from aam.phylogeny.ancestors import Ancestors
from aam.placement.reference import Reference

Ints = NDArray[np.int64]
SCOUTS = 200
"""ASVs of a table whose place on the gene tells the window of all."""
LEAST_COVER = 0.5
"""Part of the window's columns that a reference must have."""
WHOLE = 0.9
"""Bases that a tip must have, as a part of the median over the tips: what begins later is no read of this window."""
HELD_OUT, HELD_OUT_SHARE = 2000, 0.1
"""Tips held out of training: so many, and at most this part of all."""
GENERA, GENERA_SHARE = 20, 0.2
"""Whole genera held out: so many, and at most this part of those that can be drawn."""
LEAST_TIPS, MOST_TIPS = 3, 0.02
"""Tips of a genus that can be drawn: at least so many, and at most this part of all."""
GROUP, REACH, CLOSEST = 8, 60, 8
"""Tips of a group near each other in the tree; a group lies within between `CLOSEST` and `REACH` tips of its anchor,
in the order of the leaves."""
TWINS = 0.2
"""Share of the tips of a batch that are read in both of its windows, and so learned to be one."""
TIPS_AT_ONCE = 1 << 12
"""Bounds memory and changes nothing."""


@dataclass(frozen=True)
class ReferenceTips:
    """T tips that have bases in a window, from left to right in the tree.

    `numbers` int64 [T]: tips of the reference; `tokens` uint8 [T, L]. Places of tips in these arrays, ascending:
    those that `train`, single tips that are `held_out`, and those of held-out `genera`. A batch has `count` tips.
    With `windows`, those of a batch that trains are read in two other windows.
    """

    ancestors: Ancestors
    window: Window
    numbers: Ints
    tokens: NDArray[np.uint8]
    train: Ints
    held_out: Ints
    genera: Ints
    count: int
    windows: GeneWindows | None = None

    def distances(self, left: NDArray[np.integer], right: NDArray[np.integer]) -> NDArray[np.float64]:
        """Distances in the tree between tips given by their places, elementwise with broadcasting."""
        return self.ancestors.distance(self.numbers[left], self.numbers[right])

    def draw(self, side: Ints, rng: np.random.Generator) -> Ints:
        """Places of at most `count` tips of a side, ascending: half at random, half in groups near each other."""
        groups = max(1, self.count // (2 * GROUP))
        anchors = rng.integers(0, len(side), (groups, 1))
        reach = np.exp(rng.uniform(np.log(CLOSEST), np.log(REACH), (groups, 1)))
        near = anchors + np.rint(rng.uniform(-1, 1, (groups, GROUP)) * reach).astype(np.int64)
        far = rng.choice(len(side), min(self.count - near.size, len(side)), replace=False)
        return side[np.unique(np.concatenate([np.clip(near, 0, len(side) - 1).ravel(), far]))]

    def add_to(self, batch: Batch, side: Ints, hiding: LossConfig | None, rng: np.random.Generator) -> Batch:
        """The batch with tips of a side, their distances, and some of their bases masked."""
        places = self.draw(side, rng)
        tokens = self.tokens[places]
        if self.windows is not None and side is self.train:
            places, tokens = self.in_two_windows(places, self.windows, rng)
        values = {
            "tips": self.numbers[places],
            "tokens": tokens,
            "patristic": self.between(places).astype(np.float32),
            **mask_bases(tokens, hiding, rng),
        }
        fields: dict[str, Any] = {f"reference_{name}": torch.from_numpy(value) for name, value in values.items()}
        return match_widths(replace(batch, **fields))

    def between(self, places: Ints) -> NDArray[np.float64]:
        """Distances [P, P] between tips; one that comes twice is two branches, as long as its own, from its twin."""
        numbers = self.numbers[places]
        branch = self.ancestors.tree.length[self.ancestors.tips[numbers]]
        twins = (numbers[:, None] == numbers) & ~np.eye(len(numbers), dtype=bool)
        return np.where(twins, 2 * branch[:, None], self.distances(places[:, None], places))

    def in_two_windows(
        self, places: Ints, windows: GeneWindows, rng: np.random.Generator
    ) -> tuple[Ints, NDArray[np.uint8]]:
        """Places [P] and tokens [P, L] of tips, each read in one of two windows, `TWINS` of them in both."""
        kind = rng.random(len(places))
        parts = [places[kind < (1 + TWINS) / 2], places[kind >= (1 - TWINS) / 2]]
        found = [windows.tokens(self.numbers[part], draw_window(rng)) for part in parts]
        places, tokens = np.concatenate(parts), np.concatenate(found)
        enough = (tokens != vocab.PAD).sum(axis=1) > LEAST_BASES
        if enough.sum() < 2:  # a reference of one region, and windows elsewhere
            own = places[: len(parts[0])]
            return own, self.tokens[own]
        return places[enough], tokens[enough]


def match_widths(batch: Batch) -> Batch:
    """The batch with the tokens of samples and reference tips padded to one length."""
    names = ("tokens", "masked_tokens", "reference_tokens", "reference_masked_tokens")
    found = {name: getattr(batch, name) for name in names}
    width = max(tokens.shape[1] for tokens in found.values())
    padded: dict[str, Any] = {
        name: torch.nn.functional.pad(tokens, (0, width - tokens.shape[1]), value=vocab.PAD)
        for name, tokens in found.items()
        if tokens.shape[1] < width
    }
    return replace(batch, **padded)


def window_of_reads(sequences: Sequence[str], max_bp: int) -> Window:
    """The window of a table's reads, of which the first `max_bp` bases are read; where most of them begin counts.

    Raises ConfigError if they are no 16S, or the other strand.
    """
    places = np.unique(np.linspace(0, len(sequences) - 1, SCOUTS).astype(int)).tolist()
    scouts = [sequences[place][:max_bp].upper() for place in places]
    reads = place_reads(scouts)
    forward = reads.strand == 1
    if 2 * forward.sum() <= len(scouts):
        turned = int((reads.strand == -1).sum())
        raise ConfigError(
            f"--reference: of {len(scouts)} ASVs of the table {turned} are the reverse complement of 16S and "
            f"{int((reads.strand == 0).sum())} no 16S, expected reads of the plus strand; turn them, or leave "
            "--reference out"
        )
    first = int(np.bincount(reads.begin[forward]).argmax())
    last = int(np.quantile(reads.end[forward], 0.95))
    return Window(first, last, max(map(len, scouts)))


def default_window(reference: Reference, max_bp: int) -> Window:
    """V4, of which `max_bp` bases are read (`AUTO_BASES`: all); all columns of a reference that does not have V4."""
    first, last = REGIONS["v4"]
    if first < reference.first or reference.last < last:
        first, last = reference.first, reference.last
    columns = last - first + 1
    return Window(first, last, columns if max_bp == AUTO_BASES else min(max_bp, columns))


def tips_in_window(
    reference: Reference, window: Window, width: int, positions: Positions
) -> tuple[Ints, NDArray[np.uint8]]:
    """Numbers [T] and tokens [T, L] of the tips that have bases in a window.

    By position in the read gaps are left out, so a base stands where it does in a read, and L is `width`. Raises
    ConfigError if the reference lacks too many of the columns.
    """
    first, last = max(window.first, reference.first), min(window.last, reference.last)
    if last - first + 1 < LEAST_COVER * (window.last - window.first + 1):
        raise ConfigError(
            f"--reference: its tips lie on {region_text(reference.first, reference.last)}, expected those of the "
            f"table's reads, {region_text(window.first, window.last)}; make one of another --region"
        )
    codes, count = reference.on(first, last), len(reference.tree.tip_names)
    bases = np.minimum((codes != NO_BASE).sum(axis=0), window.bases)
    numbers = np.flatnonzero(bases >= max(1.0, WHOLE * np.median(bases[bases > 0])) if bases.any() else bases)
    if len(numbers) < 2:
        raise ConfigError(
            f"--reference: {len(numbers)} of its {count:,} tips have bases on {region_text(first, last)}, expected at "
            "least 2; make one of another --region"
        )
    if positions == "gene":
        tokens = tokens_of_codes(codes[:, numbers], first, 1 + last, window.bases)
        return numbers.astype(np.int64), tokens
    tokens = np.full((len(numbers), width), vocab.PAD, np.uint8)
    tokens[:, 0] = vocab.START
    for start in range(0, len(numbers), TIPS_AT_ONCE):
        some = codes[:, numbers[start : start + TIPS_AT_ONCE]].T
        order = np.argsort(some == NO_BASE, axis=1, kind="stable")[:, : min(window.bases, width - 1)]
        found = np.take_along_axis(some, order, axis=1)
        tokens[start : start + len(some), 1 : 1 + found.shape[1]] = np.where(found == NO_BASE, vocab.PAD, found + 1)
    return numbers.astype(np.int64), tokens


def genus_of(lineage: str) -> str:
    """The lineage down to the genus, "" if the genus is unknown: the rank `g__`, else the sixth."""
    ranks = [rank.strip() for rank in lineage.split(";")]
    place = next((place for place, rank in enumerate(ranks) if rank.startswith("g__")), 5)
    known = place < len(ranks) and ranks[place].removeprefix("g__")
    return "; ".join(ranks[: place + 1]) if known else ""


def split_tips(tokens: NDArray[np.uint8], genera: Sequence[str] | None, seed: int) -> tuple[Ints, Ints, Ints]:
    """Places of the tips that train, of single tips held out and of those of held-out genera.

    `genera` [T]: the genus of each, "" if unknown. No tip that trains equals one held out in its tokens [T, L].
    """
    rng, count = np.random.default_rng((seed, len(tokens))), len(tokens)
    _, same = np.unique(np.ascontiguousarray(tokens).view(f"V{tokens.shape[1]}").ravel(), return_inverse=True)
    out = np.zeros(count, dtype=bool)
    if genera is not None:
        tips = Counter(genus for genus in genera if genus)
        fit = sorted(name for name, found in tips.items() if LEAST_TIPS <= found <= max(10, MOST_TIPS * count))
        wanted = min(GENERA, int(GENERA_SHARE * len(fit)))
        chosen = {fit[place] for place in rng.choice(len(fit), wanted, replace=False)} if wanted else set()
        out = np.array([genus in chosen for genus in genera], dtype=bool)
    blocked = np.isin(same, same[out])
    single = rng.permutation(np.flatnonzero(~blocked))[: min(HELD_OUT, int(HELD_OUT_SHARE * count))]
    held = np.isin(same, same[single]) & ~blocked
    return np.flatnonzero(~blocked & ~held), np.flatnonzero(held), np.flatnonzero(out)


def reference_tips(reference: Reference, window: Window, width: int, config: PretrainConfig) -> ReferenceTips:
    """The tips of a reference in a window as tokens [T, width], those held out drawn by the seed of a pretraining."""
    numbers, tokens = tips_in_window(reference, window, width, config.data.positions)
    lineages = reference.lineages
    genera = None if lineages is None else [genus_of(lineages[number]) for number in numbers.tolist()]
    sides = split_tips(tokens, genera, config.run.seed)
    return ReferenceTips(reference.ancestors, window, numbers, tokens, *sides, config.tips.reference_tips)
