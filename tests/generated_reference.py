"""A small reference: a random tree, and sequences that have changed along it from the consensus of the 16S profile."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aam.gene.profile import BASES, gene_profile
from aam.phylogeny.newick import quote_name
from aam.phylogeny.tree import Tree, parse_tree
from aam.placement.reference import Reference
from aam.placement.store import LEFT_OUT, write_reference

V4 = slice(610, 760)
"""150 columns behind 515F, as a slice of a whole sequence."""


def random_tree(tips: int, rng: np.random.Generator, longest: float = 0.02) -> Tree:
    """A rooted tree of `tips` tips t0, t1, ..., joined at random, with branches up to `longest`."""
    parts = [quote_name(f"t{number}") for number in range(tips)]
    while len(parts) > 1:
        left, right = (parts.pop(int(rng.integers(len(parts)))) for _ in range(2))
        lengths = rng.uniform(0.001, longest, 2).tolist()
        parts.append(f"({left}:{lengths[0]!r},{right}:{lengths[1]!r})")
    return parse_tree(f"{parts[0]};".encode(), "random tree")


@cache
def consensus() -> NDArray[np.uint8]:
    """The consensus of the profile of the gene, codes [1739]."""
    text = gene_profile().hmm.consensus.upper()
    return np.array([BASES.find(base) % 4 for base in text], np.uint8)


def evolve(tree: Tree, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Codes [columns, tips] that change from the consensus by the lengths of the branches (Jukes-Cantor)."""
    codes = np.empty((len(tree.parent), len(consensus())), np.uint8)
    for node in range(len(tree.parent) - 1, -1, -1):
        before = consensus() if tree.parent[node] < 0 else codes[tree.parent[node]]
        changes = rng.random(len(before)) < 0.75 * (1 - np.exp(-4 / 3 * tree.length[node]))
        codes[node] = (before + changes * rng.integers(1, 4, len(before))) % 4
    return np.ascontiguousarray(codes[tree.tips()].T)


def random_reference(tips: int = 40, seed: int = 0, taxonomy: bool = True) -> Reference:
    """A reference of the whole gene; the first half of its tips from left to right are of one phylum, and so on."""
    rng = np.random.default_rng(seed)
    tree = random_tree(tips, rng)
    lineages = [
        f"k__Bacteria; p__P{2 * tip // tips}; c__; o__; f__F{4 * tip // tips}; g__G{8 * tip // tips}; s__"
        for tip in range(tips)
    ]
    return Reference(tree, evolve(tree, rng), 1, lineages if taxonomy else None)


def dna(codes: NDArray[np.uint8]) -> str:
    """The text of codes 0 to 3."""
    return "".join(BASES[code] for code in codes.tolist())


def read_of(reference: Reference, tip: int, part: slice = V4) -> str:
    """The columns of a tip as a read."""
    return dna(reference.codes[part, tip])


def save_reference(folder: Path, reference: Reference) -> Path:
    """The folder of a reference, as `aam reference` writes it."""
    folder.mkdir(parents=True)
    (folder / LEFT_OUT).write_text("id\treason\n")
    about = {"region": "none", "counts": {}, "left_out": {}, "sources": {}}
    write_reference(folder, reference, np.ascontiguousarray(reference.codes.T), about, threads=1)
    return folder
