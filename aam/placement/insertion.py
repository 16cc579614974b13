"""The tree of a reference with ASVs inserted at their places.

An ASV's own branch leaves a host: a branch of the reference, or the own branch of another ASV. All that leave one host
are ordered by depth; each splits the host there with a node of its own, so several at one depth are joined by branches
of length 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.phylogeny.newick import quote_name
from aam.phylogeny.tree import Tree
from aam.placement.placements import Placements
from aam.placement.reference import Reference

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SOURCE = "insertion tree"
"""Name of the tree in messages."""
TWIN = " (reference)"
"""Appended to the name of a reference tip that is also the id of an ASV."""


class Hosts(NamedTuple):
    """What the own branch of each of P placed ASVs leaves, at which depth, and where it ends.

    `node` int64 [P]: a node of the reference (N nodes) whose branch it is, or N + the number of the ASV. `top`, `end`
    float64 [P]: depths of its begin and end, 0 at the root of the reference. `tip` int64 [P] is a reference tip whose
    path to the root the ASV's joins, at depth `joins` float64 [P].
    """

    node: Ints
    top: Floats
    end: Floats
    tip: Ints
    joins: Floats


def find_hosts(placements: Placements, reference: Reference) -> Hosts:
    """What each placed ASV, in the order of `placements.placed`, is attached to."""
    rows, tips = placements.placed, len(reference.tree.tip_names)
    number = np.full(len(placements.fate), -1)
    number[rows] = np.arange(len(rows))
    anchor, top, stem = placements.anchor[rows], placements.top[rows], placements.stem[rows]
    other = np.where(
        anchor < tips, -1, number[np.maximum(anchor - tips, 0)]
    )  # the ASV that is the anchor, -1 for a tip
    top = np.maximum(top, 0.0)
    on_tip = np.flatnonzero(other < 0)
    top[on_tip] = np.minimum(top[on_tip], reference.ancestors.tip_depth[anchor[on_tip]])
    levels = order_of_anchors(other)
    for level in levels[1:]:  # an ASV cannot leave another one beyond that one's end
        top[level] = np.minimum(top[level], (top + stem)[other[level]])
    host, climbing = other.copy(), np.flatnonzero(other >= 0)
    while climbing.size:  # from an anchor that begins below the place on to the anchor of that
        climbing = climbing[top[host[climbing]] >= top[climbing]]
        host[climbing] = other[host[climbing]]
        climbing = climbing[host[climbing] >= 0]
    tip, joins = anchor.copy(), top.copy()
    for level in levels[1:]:
        tip[level] = tip[other[level]]
        joins[level] = np.minimum(joins[level], joins[other[level]])
    node = len(reference.tree.parent) + host
    free = np.flatnonzero(host < 0)
    node[free] = reference.ancestors.branch_at(tip[free], top[free])
    return Hosts(node, top, top + stem, tip, joins)


def order_of_anchors(other: Ints) -> list[Ints]:
    """ASVs in levels: those without an ASV as anchor (-1 in `other` [P]), those whose anchor is of the level before."""
    level, above = (other >= 0).astype(np.int64), other.copy()
    rounds = 0
    while (inner := np.flatnonzero(above >= 0)).size:  # jumping over the steps already counted doubles them
        if (rounds := rounds + 1) > len(other).bit_length():
            raise ValueError(f"the anchors of {inner.size} ASVs lead in a circle")
        level[inner] += level[above[inner]]
        above[inner] = above[above[inner]]
    order = np.argsort(level, kind="stable")
    return np.split(order, np.cumsum(np.bincount(level))[:-1])


def insertion_tree(placements: Placements, reference: Reference, with_reference: bool) -> Tree:
    """The tree of the placed ASVs, with the tips of the reference or sheared to the ASVs alone.

    Tips are the ids of the ASVs and the names of the reference; a reference tip that is called like an ASV is renamed.
    Raises ValueError without any placed ASV.
    """
    hosts = find_hosts(placements, reference)
    if not len(hosts.node):
        raise ValueError("no ASV is placed")
    ids = [placements.ids[row] for row in placements.placed.tolist()]
    names = distinct_names(reference.tree.tip_names, ids)
    tree = build_tree(reference, hosts, [*names, *ids])
    return tree if with_reference else tree.shear(ids)


def rooted_newick(tree: Tree) -> str:
    """Newick text that every reader takes for a rooted tree, and that keeps the stem.

    Names are quoted where needed. A stem, or a root of more than two branches, gets a node above it: as the length of
    the root some readers drop a stem, and three branches there mean unrooted to others.
    """
    text = tree.to_newick(list(map(quote_name, tree.tip_names)))
    root = len(tree.parent) - 1
    plain = tree.length[root] == 0 and (tree.parent == root).sum() == 2
    return text if plain else f"({text.removesuffix(';')}):0.0;"


def distinct_names(names: Sequence[str], ids: Sequence[str]) -> list[str]:
    """The names of the reference tips, changed where an ASV has the same."""
    taken, found = set(ids), []
    for name in names:
        while name in taken:
            name += TWIN
        found.append(name)
    return found


def build_tree(reference: Reference, hosts: Hosts, names: Sequence[str]) -> Tree:
    """Split every host where ASVs leave it; `names` are those of the reference tips, then of the ASVs.

    Nodes are numbered: those of the reference, the tips of the ASVs, the nodes where the ASVs leave.
    """
    tree, ancestors = reference.tree, reference.ancestors
    total, added = len(tree.parent), len(hosts.node)
    depth = np.r_[ancestors.depth, hosts.end, hosts.top]
    tips, leaving = total + np.arange(added), total + added + np.arange(added)
    parent = np.r_[tree.parent.astype(np.int64), leaving, np.full(added, -1)]
    order = np.lexsort((-hosts.top, hosts.node))  # along each host, from its lower end upwards
    node, place = hosts.node[order], leaving[order]
    lowest = np.r_[True, node[1:] != node[:-1]]
    highest = np.r_[lowest[1:], True]
    upper = parent[node]
    parent[place[~highest]] = place[1:][~lowest[1:]]
    parent[place[highest]] = upper[highest]
    parent[node[lowest]] = place[lowest]
    stem = -float(tree.length[-1])  # depth of the top of the stem
    length = depth - np.where(parent < 0, stem, depth[parent])
    return tree_of_parents(parent, np.maximum(length, 0.0), np.r_[ancestors.tips, tips], names)


def tree_of_parents(parent: Ints, length: Floats, tips: Ints, names: Sequence[str]) -> Tree:
    """A tree in postorder of nodes in any order, [N]: `tips` are the nodes of its leaves, with their names."""
    total, root = len(parent), int(np.flatnonzero(parent < 0)[0])
    by_parent = np.argsort(parent, kind="stable")
    begins = np.searchsorted(parent[by_parent], np.arange(total + 1)).tolist()
    children, visited, waiting = by_parent.tolist(), [], [root]
    while waiting:
        node = waiting.pop()
        visited.append(node)
        waiting.extend(children[begins[node] : begins[node + 1]])
    order = np.array(visited[::-1])
    place = np.empty(total, np.int64)
    place[order] = np.arange(total)
    above = np.where(parent[order] < 0, -1, place[parent[order]])
    number = np.full(total, -1)
    number[tips] = np.arange(len(tips))
    own = number[order]
    last = np.cumsum(own >= 0)
    first = (last - 1).tolist()
    for node, upper in enumerate(above.tolist()):
        if upper >= 0 and first[node] < first[upper]:
            first[upper] = first[node]
    ordered = [names[leaf] for leaf in own[own >= 0].tolist()]
    return Tree(
        ordered, np.array(first, np.int32), last.astype(np.int32), length[order], above.astype(np.int32), SOURCE
    )
