"""UPGMA trees of distances between ASVs, as substitutes for a phylogeny, without alignment or inference."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aam.phylogeny.tree import Tree

MAX_ASVS = 16_000
"""Most ASVs of one tree. The A (A - 1) / 2 distances take 1 GB at 16,000 and scipy's linkage copies them once."""


def hamming_tree(tokens: NDArray[np.uint8], names: list[str]) -> Tree:
    """UPGMA (average linkage) tree of ASVs with tokens [A, L]; heights are half the fraction of differing positions.

    Padding counts as a difference, so a shorter ASV is far from a longer one. Raises ValueError for no ASV or more than
    `MAX_ASVS`.
    """
    return upgma_tree(hamming_distances(tokens), names)


def hamming_distances(tokens: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Fraction of positions at which ASVs with tokens [A, L] differ, [A (A - 1) / 2] in scipy's condensed order."""
    from scipy.spatial.distance import pdist

    return pdist(tokens.astype(np.float64), "hamming")


def upgma_tree(distances: NDArray[np.float64], names: list[str]) -> Tree:
    """UPGMA tree of A named ASVs from their distances [A (A - 1) / 2]; ties join in scipy's order.

    A single ASV makes a tree of one tip with length 1. Raises ValueError for no ASV or more than `MAX_ASVS`.
    """
    from scipy.cluster.hierarchy import linkage

    count = len(names)
    if not 1 <= count <= MAX_ASVS or len(distances) != count * (count - 1) // 2:
        raise ValueError(
            f"{len(distances)} distances of {count} ASVs: expected 1 to {MAX_ASVS} ASVs and a distance for each pair"
        )
    if count == 1:
        return Tree(
            tip_names=list(names),
            first=np.array([0], dtype=np.int32),
            last=np.array([1], dtype=np.int32),
            length=np.array([1.0]),
            parent=np.array([-1], dtype=np.int32),
        )
    return linkage_tree(linkage(distances, "average"), names)


def linkage_tree(merges: NDArray[np.float64], names: list[str]) -> Tree:
    """scipy linkage [A - 1, 4] -> `Tree` whose tips are at height 0 and whose node k is at half its merge distance.

    Nodes come in postorder: a subtree of n tips fills 2 n - 1 consecutive numbers, its root last, so both children's
    numbers follow from where the subtree starts. Parents have larger linkage numbers than their children: one pass
    from the root down places every node without recursion.
    """
    tips = len(names)
    nodes = 2 * tips - 1
    children = merges[:, :2].astype(np.int64)
    size = np.concatenate([np.ones(tips, dtype=np.int64), merges[:, 3].astype(np.int64)])
    height = np.concatenate([np.zeros(tips), merges[:, 2] / 2.0])
    start, first, above = np.zeros(nodes, np.int64), np.zeros(nodes, np.int64), np.full(nodes, -1, np.int64)
    for merge in range(tips - 2, -1, -1):
        node = tips + merge
        left, right = children[merge]
        start[left], start[right] = start[node], start[node] + 2 * size[left] - 1
        first[left], first[right] = first[node], first[node] + size[left]
        above[left] = above[right] = node
    place = start + 2 * size - 2  # linkage number -> postorder number
    order = np.argsort(place)
    parent = np.where(above[order] < 0, -1, place[above[order]])
    length = np.where(above < 0, 0.0, height[above] - height)
    return Tree(
        tip_names=[names[node] for node in order[order < tips]],
        first=first[order].astype(np.int32),
        last=(first + size)[order].astype(np.int32),
        length=np.maximum(length[order], 0.0),  # rounding of averages may invert a tie by 1e-17
        parent=parent.astype(np.int32),
    )
