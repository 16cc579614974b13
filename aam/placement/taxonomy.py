"""Names of ASVs: the taxon of each placed one with a confidence at each rank, and lineages given by users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.errors import TaxonomyError
from aam.placement.placements import Placements
from aam.placement.reference import Reference, is_named
from aam.text import quote

UNASSIGNED = "Unassigned"
"""The taxon of ASVs without one, as QIIME 2 has it."""
RANKS = {
    "d": "domain",
    "k": "domain",
    "p": "phylum",
    "c": "class",
    "o": "order",
    "f": "family",
    "g": "genus",
    "s": "species",
}
"""By the letter before the two underscores of a name."""
USUAL = ("domain", "phylum", "class", "order", "family", "genus", "species")
"""Ranks of lineages without such letters."""
ASVS_AT_ONCE = 1 << 12
"""Bounds memory and changes nothing."""


class Taxa(NamedTuple):
    """The taxa of R tips: `codes` int64 [R, ranks] number the `lineages` down to each rank, -1 where it has no name."""

    ranks: Sequence[str]
    codes: NDArray[np.int64]
    lineages: Sequence[str]


@dataclass(frozen=True)
class Taxonomy:
    """The likeliest taxon of A ASVs at each rank: `taxon` int64 [A, ranks], a number in `lineages`, -1 for none.

    `confidence` float64 [A, ranks], 0 where there is no taxon, never rises from a taxon to one below it.
    """

    ranks: Sequence[str]
    lineages: Sequence[str]
    taxon: NDArray[np.int64]
    confidence: NDArray[np.float64]

    def reported(self, least: float) -> tuple[list[str], NDArray[np.float64]]:
        """The lineage of each ASV down to the last rank with a confidence of at least `least`, and that confidence.

        ASVs without such a rank are `UNASSIGNED`, with the confidence of their highest taxon.
        """
        sure = (self.taxon >= 0) & (self.confidence >= least)
        level = np.where(sure.any(axis=1), self.taxon.shape[1] - 1 - sure[:, ::-1].argmax(axis=1), -1)
        rows = np.arange(len(level))
        texts = [self.lineages[code] for code in self.taxon[rows, level].tolist()]
        found = [text if place >= 0 else UNASSIGNED for text, place in zip(texts, level.tolist(), strict=True)]
        return found, np.where(level >= 0, self.confidence[rows, level], self.confidence.max(axis=1, initial=0.0))


def short_name(lineage: str) -> str:
    """The lowest name of a lineage, a species with its genus: "g__Blautia", "g__Blautia s__obeum"; "" for none."""
    names = [name for part in lineage.split(";") if is_named(name := part.strip())]
    genus_too = len(names) > 1 and (names[-1].startswith("s__") or len(names) == len(USUAL))
    return " ".join(names[-2:] if genus_too else names[-1:])


def find_lineages(ids: Sequence[str], lineages: Mapping[str, str], source: str) -> list[str]:
    """The lineage of each ASV by its id, "" where there is none; raises `TaxonomyError` if no ASV has one.

    `source` is the file of the lineages, for messages.
    """
    found = [lineages.get(name, "") for name in ids]
    if not any(found):
        raise TaxonomyError(
            f"{source}: none of the {len(found):,} ASVs has a lineage, e.g. {quote(ids[0])}; it has those of "
            f"{', '.join(map(quote, list(lineages)[:2]))}; give the taxonomy of this table"
        )
    return found


def parse_lineages(lineages: Sequence[str]) -> Taxa:
    """Number the taxa in lineages of the form "k__Bacteria; p__Firmicutes; …", with or without prefixes and blanks."""
    number: dict[str, int] = {}
    seen: dict[str, list[int]] = {}
    for text in lineages:
        if text not in seen:
            names = [name.strip() for name in text.split(";")]
            paths = ["; ".join(names[: place + 1]) for place in range(len(names))]
            seen[text] = [
                number.setdefault(path, len(number)) if is_named(name) else -1
                for name, path in zip(names, paths, strict=True)
            ]
    deepest = max(map(len, seen.values()), default=0)
    rows = {text: codes + [-1] * (deepest - len(codes)) for text, codes in seen.items()}
    codes = np.array([rows[text] for text in lineages], np.int64).reshape(len(lineages), deepest)
    return Taxa(rank_names(lineages, deepest), codes, list(number))


def rank_names(lineages: Sequence[str], count: int) -> list[str]:
    """Names of the ranks, by the prefixes of the first lineage that has them all, else as usual."""
    whole = next((text for text in lineages if text.count(";") == count - 1), "")
    letters = [name.strip().partition("__")[0] for name in whole.split(";")] if "__" in whole else []
    named = [RANKS.get(letter, "") for letter in letters]
    if all(named) and len(set(named)) == count:
        return named
    return list(USUAL) if count == len(USUAL) else [f"rank_{place}" for place in range(1, count + 1)]


def classify(placements: Placements, reference: Reference) -> Taxonomy | None:
    """The likeliest taxon of each ASV at each rank; None for a reference without lineages.

    The confidence of a taxon is the sum over the candidates that belong to it of `Placements.confidence` or, if that
    is None, of their `chance`. Ranks are decided from the highest down, each among the candidates of the taxon above.
    """
    if reference.lineages is None:
        return None
    taxa = parse_lineages(reference.lineages)
    total, ranks = len(placements.fate), len(taxa.ranks)
    taxon, confidence = np.full((total, ranks), -1), np.zeros((total, ranks))
    rows = placements.placed
    for start in range(0, len(rows), ASVS_AT_ONCE):
        some = rows[start : start + ASVS_AT_ONCE]
        chance = placements.chance[some][:, :, None]
        weight = np.broadcast_to(chance, (*chance.shape[:2], ranks))
        if placements.confidence is not None:
            weight = placements.confidence[some]
        candidates = placements.candidates[some]
        codes = np.where(candidates[:, :, None] >= 0, taxa.codes[candidates], -1)
        taxon[some], confidence[some] = decide(codes, weight)
    return Taxonomy(taxa.ranks, taxa.lineages, taxon, confidence)


def decide(codes: NDArray[np.int64], weight: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The taxon of each ASV at each rank and its confidence, [A, ranks], from those of candidates, [A, K, ranks].

    A rank at which no candidate of the taxon above has a name is left out.
    """
    total, _, ranks = codes.shape
    taxon, confidence = np.full((total, ranks), -1), np.zeros((total, ranks))
    allowed, above = np.ones(codes.shape[:2], bool), np.ones(total)
    for rank in range(ranks):
        own = codes[:, :, rank]
        usable = allowed & (own >= 0) & (weight[:, :, rank] > 0)
        shares = np.where(usable, weight[:, :, rank], 0.0)
        alike = own[:, :, None] - own[:, None, :] == 0
        sums = np.einsum("ajk,ak->aj", alike, shares)
        best = np.where(usable, sums, -1.0).argmax(axis=1)[:, None]
        named = usable.any(axis=1)
        chosen = np.take_along_axis(own, best, 1)
        above = np.where(named, np.minimum(above, np.take_along_axis(sums, best, 1)[:, 0]), above)
        taxon[:, rank] = np.where(named, chosen[:, 0], -1)
        confidence[:, rank] = np.where(named, above, 0.0)
        allowed = np.where(np.expand_dims(named, 1), usable & (own == chosen), allowed)
    return taxon, confidence


def clade_lineages(reference: Reference, nodes: NDArray[np.integer]) -> list[str]:
    """What the lineages of all tips below each of the `nodes` [n] of the tree have in common, "" for nothing."""
    if reference.lineages is None or not len(nodes):
        return [""] * len(nodes)
    taxa = parse_lineages(reference.lineages)
    first, last = reference.tree.first[nodes], reference.tree.last[nodes]
    changes = np.zeros(taxa.codes.shape, np.int64)
    changes[1:] = np.cumsum(taxa.codes[1:] != taxa.codes[:-1], axis=0)  # tips are in order, so a clade is a run of rows
    alike = np.logical_and.accumulate(changes[last - 1] == changes[first], axis=1) & (taxa.codes[first] >= 0)
    depth = np.where(alike, np.arange(1, alike.shape[1] + 1), 0).max(axis=1, initial=0)  # ranks without a name between
    return [
        taxa.lineages[taxa.codes[tip, ranks - 1]] if ranks else ""
        for tip, ranks in zip(first.tolist(), depth.tolist(), strict=True)
    ]
