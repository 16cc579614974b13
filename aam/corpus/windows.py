"""Windows of the gene that training reads: other ones in each batch, so that a model serves every primer.

A read of a table shows one window. ASVs that equal a reference tip there can be read in any: as that tip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.config.fields import GENE_COLUMNS
from aam.corpus.dataset import Sample
from aam.corpus.gene_tokens import TOKENS, tokens_of_codes
from aam.gene.reads import LEAST_BASES
from aam.gene.regions import REGIONS
from aam.placement.reference import Reference
from aam.vocab import PAD

Ints = NDArray[np.int64]
USUAL, USUAL_SHARE = "v4", 0.5
"""The region that most tables have, and its share of the windows."""
ANYWHERE_SHARE = 0.2
"""Share of the windows that begin anywhere; the others are the regions of the usual primers."""
LENGTHS = (100, 150, 150, 200, 250, 300, 400)
"""Bases of a read."""
FEWEST_READS = 20
"""ASVs on the same columns, below which these are not looked for in the reference."""


class Window(NamedTuple):
    """Columns `first` to `last` of the gene, counted from 1, and how many `bases` of them are read at most."""

    first: int
    last: int
    bases: int


def draw_window(rng: np.random.Generator) -> Window:
    """The window of some reads."""
    bases, kind = int(rng.choice(LENGTHS)), rng.random()
    if kind < ANYWHERE_SHARE:
        first = int(rng.integers(1, GENE_COLUMNS - 2 * min(LENGTHS)))
        return Window(first, GENE_COLUMNS, bases)
    name = USUAL if kind < ANYWHERE_SHARE + USUAL_SHARE else str(rng.choice(list(REGIONS)))
    return Window(*REGIONS[name], bases)


@dataclass(frozen=True)
class GeneWindows:
    """Reads the tips of a whole-gene `reference` in windows, and with them the ASVs of a table that equal a tip.

    `tip_of` int64 [A]: number of the tip that an ASV of the table equals on its own columns, -1 for none.
    """

    reference: Reference
    tip_of: Ints

    def tokens(self, tips: Ints, window: Window) -> NDArray[np.uint8]:
        """Tokens [n, 1 + GENE_COLUMNS] of tips in a window; no bases where the reference has none of its columns."""
        first, last = max(window.first, self.reference.first), min(window.last, self.reference.last)
        last = min(last, first + 2 * window.bases)  # no read has so many gaps
        if last < first:
            return tokens_of_codes(np.zeros((0, len(tips)), np.uint8), 1, 1 + GENE_COLUMNS)
        codes = self.reference.on(first, last)[:, tips]
        return tokens_of_codes(codes, first, 1 + GENE_COLUMNS, window.bases)

    def cut(self, samples: Sequence[Sample], rng: np.random.Generator) -> list[Sample]:
        """The samples read in another window, drawn for all of them; ASVs that equal no tip stay as they are."""
        window, asvs = draw_window(rng), np.unique(np.concatenate([sample.asvs for sample in samples]))
        known = self.tip_of[asvs] >= 0
        columns, found = asvs[known], self.tokens(self.tip_of[asvs[known]], window)
        enough = (found != PAD).sum(axis=1) > LEAST_BASES
        columns, found = columns[enough], found[enough]
        return [_replaced(sample, columns, found) for sample in samples]


def _replaced(sample: Sample, columns: Ints, found: NDArray[np.uint8]) -> Sample:
    """A sample with other tokens [n, 1 + GENE_COLUMNS] of its ASVs among some `columns` [n], ascending."""
    tokens = np.full((len(sample.asvs), 1 + GENE_COLUMNS), PAD, np.uint8)
    tokens[:, : sample.tokens.shape[1]] = sample.tokens
    if len(columns):
        place = np.searchsorted(columns, sample.asvs).clip(max=len(columns) - 1)
        same = columns[place] == sample.asvs
        tokens[same] = found[place[same]]
    return sample._replace(tokens=tokens)


def tips_of_reads(tokens: NDArray[np.uint8], reference: Reference) -> Ints:
    """Number of the first tip that each ASV, tokens [A, L], equals on its own columns, int64 [A]; -1 for none."""
    real = tokens[:, 1:] != PAD
    begin, end = 1 + real.argmax(axis=1), real.shape[1] - real[:, ::-1].argmax(axis=1)
    found = np.full(len(tokens), -1, np.int64)
    spans, group, sizes = np.unique(np.stack([begin, end], axis=1), axis=0, return_inverse=True, return_counts=True)
    for number in np.flatnonzero(sizes >= FEWEST_READS).tolist():
        first, last = spans[number].tolist()
        if first < reference.first or last > reference.last or last - first < LEAST_BASES:
            continue
        rows = np.flatnonzero(group.ravel() == number)
        tips = _as_texts(TOKENS[reference.on(first, last)].T)
        texts, place = np.unique(tips, return_index=True)
        own = _as_texts(tokens[rows, first : last + 1])
        at = np.searchsorted(texts, own).clip(max=len(texts) - 1)
        found[rows] = np.where(texts[at] == own, place[at], -1)
    return found


def _as_texts(rows: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """Each row of positive numbers or zeros [n, W] as one value that can be sorted and compared."""
    return np.ascontiguousarray(rows + 1).view(f"S{rows.shape[1]}").ravel()
