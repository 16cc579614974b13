"""A small reference whose sequences were mutated along a random tree, from the consensus of the 16S gene."""

from __future__ import annotations

import numpy as np
from generated_samples import newick

from aam.gene.profile import NO_BASE, gene_profile
from aam.gene.regions import REGIONS
from aam.phylogeny.tree import parse_tree
from aam.placement.reference import Reference

LENGTH = 0.06
"""Factor of the branch lengths, which are 0.01 to 1 otherwise: substitutions per site."""
TIPS_OF_GENUS = 8
"""Most tips of a genus: the tips of the largest clades with at most so many."""


def grown_reference(tips: int = 200, seed: int = 0, first: int = 601, last: int = REGIONS["v4"].last) -> Reference:
    """A reference of `tips` tips t0, t1, … on columns of the gene."""
    rng = np.random.default_rng(seed)
    names = [f"t{number}" for number in rng.permutation(tips)]
    tree = parse_tree(f"{newick(names, rng)};".encode(), "grown reference")
    tree.length[:] *= LENGTH
    consensus = gene_profile().log_odds[first - 1 : last, :4].argmax(axis=1).astype(np.uint8)
    codes = np.empty((len(tree.parent), len(consensus)), np.uint8)
    for node in range(len(tree.parent) - 1, -1, -1):
        above = consensus if tree.parent[node] < 0 else codes[tree.parent[node]]
        hit = rng.random(len(above)) < 1 - np.exp(-tree.length[node])
        codes[node] = np.where(hit & (above != NO_BASE), (above + rng.integers(1, 4, len(above))) % 4, above)
    return Reference(
        tree, np.ascontiguousarray(codes[tree.tips()].T), first, genera(tree.first, tree.last, tree.parent)
    )


def genera(first: np.ndarray, last: np.ndarray, parent: np.ndarray) -> list[str]:
    """The lineage of each tip: genera are the largest clades with at most `TIPS_OF_GENUS` tips."""
    size = last - first
    lineages = [""] * int(last.max())
    for node in np.flatnonzero((size <= TIPS_OF_GENUS) & (parent >= 0)):
        if size[parent[node]] > TIPS_OF_GENUS:
            for tip in range(first[node], last[node]):
                lineages[tip] = f"k__Bacteria; p__; c__; o__; f__; g__G{node}; s__"
    return lineages
