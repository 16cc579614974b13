"""Genes that have evolved along a random tree from the consensus of the profile of 16S, without gaps.

Base c of each is on column c + 1, so the columns of everything made of them are known.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.gene.profile import BASES, gene_profile
from aam.phylogeny.newick import quote_name
from aam.phylogeny.tree import Tree, parse_tree


class Genes(NamedTuple):
    """Codes [R, C] of the tips of a tree, on the columns from `first`."""

    tree: Tree
    codes: NDArray[np.uint8]
    first: int

    def sequences(self) -> dict[str, str]:
        """The DNA of each tip."""
        return {
            name: "".join(BASES[code] for code in row)
            for name, row in zip(self.tree.tip_names, self.codes.tolist(), strict=True)
        }


def random_newick(names: list[str], random: np.random.Generator, longest: float = 0.05) -> str:
    """Newick text of a random rooted tree whose branches have a substitution on up to `longest` of the bases."""
    parts = [quote_name(name) for name in names]
    while len(parts) > 1:
        right = parts.pop(random.integers(len(parts)))
        left = parts.pop(random.integers(len(parts)))
        lengths = random.uniform(0.005, longest, 2)
        parts.append(f"({left}:{lengths[0]:.4f},{right}:{lengths[1]:.4f})")
    return parts[0] + ";"


def mutated_genes(names: list[str], seed: int = 0, first: int = 1, last: int = 1739) -> Genes:
    """Genes named so on the columns `first` to `last`: each branch replaces as many bases as it is long."""
    random = np.random.default_rng(seed)
    tree = parse_tree(random_newick(names, random).encode(), "random tree")
    consensus = np.array([BASES.index(base) for base in gene_profile().hmm.consensus.upper()[first - 1 : last]])
    of_node = np.zeros((len(tree.parent), len(consensus)), np.uint8)
    of_node[-1] = consensus
    for node in reversed(range(len(tree.parent) - 1)):  # parents come behind their children
        hit = random.random(len(consensus)) < tree.length[node]
        of_node[node] = (of_node[tree.parent[node]] + hit * random.integers(1, 4, len(consensus))) % 4
    return Genes(tree, of_node[tree.tips()], first)


def fasta(sequences: dict[str, str], width: int = 70) -> str:
    """FASTA text, in lines of `width` bases."""
    lines = []
    for name, sequence in sequences.items():
        lines += [f">{name}", *(sequence[start : start + width] for start in range(0, len(sequence), width))]
    return "\n".join(lines) + "\n"
