"""A small reference of mutated genes, with genera."""

from __future__ import annotations

import numpy as np
from mutated_genes import mutated_genes

from aam.gene.regions import REGIONS
from aam.phylogeny.tree import Tree
from aam.placement.reference import Reference

TIPS_OF_GENUS = 8
"""Most tips of a genus."""


def grown_reference(tips: int = 120, first: int = 601, last: int = REGIONS["v4"].last) -> Reference:
    """A reference of tips t0, t1, … on columns of the gene."""
    genes = mutated_genes([f"t{number}" for number in range(tips)], 0, first, last)
    return Reference(genes.tree, np.ascontiguousarray(genes.codes.T), first, lineages_on(genes.tree))


def lineages_on(tree: Tree) -> list[str]:
    """The lineage of each tip: genera are the largest clades with at most `TIPS_OF_GENUS` tips."""
    size = tree.last - tree.first
    lineages = [""] * len(tree.tip_names)
    for node in np.flatnonzero((size <= TIPS_OF_GENUS) & (tree.parent >= 0)):
        if size[tree.parent[node]] > TIPS_OF_GENUS:
            for tip in range(tree.first[node], tree.last[node]):
                lineages[tip] = f"k__Bacteria; p__; c__; o__; f__; g__G{node}; s__"
    return lineages
