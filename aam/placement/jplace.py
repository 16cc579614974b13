"""Placements as a jplace file, version 3 (Matsen et al. 2012, PLoS ONE 7:e31009): for gappa, guppy, iTOL and others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.io.output import open_text
from aam.phylogeny.newick import format_newick, quote_name
from aam.placement.placements import Placements
from aam.placement.reference import Reference

FIELDS = ["edge_num", "likelihood", "like_weight_ratio", "distal_length", "pendant_length"]
"""In this order. There is no likelihood here; guppy wants the field, and programs by distances write 0."""
MOST_PLACES, LEAST_WEIGHT = 7, 0.01
"""Places of an ASV that are written: the best ones, each with at least this weight; EPA-ng has the same limits."""


class Places(NamedTuple):
    """P places, those of an ASV together, the likeliest first: the row of the ASV, the edge (a node of the tree), the
    weight, the distance of the place from the lower end of the edge, and the ASV's own branch; [P] each."""

    row: NDArray[np.int64]
    edge: NDArray[np.int64]
    weight: NDArray[np.float64]
    distal: NDArray[np.float64]
    pendant: NDArray[np.float64]


def find_places(placements: Placements, reference: Reference) -> Places:
    """The edges on which the ASVs leave the tree if one or another of their candidates is the closest relative.

    Candidates on one edge are one place; its lengths are their weighted means.
    """
    ancestors, rows = reference.ancestors, placements.placed
    row, rank = np.nonzero(placements.chance[rows] > 0)
    row = rows[row]
    tip, weight = placements.candidates[row, rank], placements.chance[row, rank]
    top = np.maximum(ancestors.tip_depth[tip] - placements.height[row, rank], 0.0)
    edge = ancestors.branch_at(tip, top)
    lengths = np.c_[ancestors.depth[edge] - top, placements.stem_of[row, rank]]
    keys, group = np.unique(np.c_[row, edge], axis=0, return_inverse=True)
    group = group.ravel()
    total = np.bincount(group, weight)
    distal, pendant = (np.bincount(group, weight * length) / total for length in lengths.T)
    order = np.lexsort((-total, keys[:, 0]))
    row, edge, total = keys[order, 0], keys[order, 1], total[order]
    number = np.arange(len(row)) - np.searchsorted(row, row)  # of the place among those of its ASV
    kept = (number == 0) | ((number < MOST_PLACES) & (total >= LEAST_WEIGHT))
    distal = np.minimum(distal[order], reference.tree.length[edge])  # of rounding
    return Places(row[kept], edge[kept], total[kept], distal[kept], pendant[order][kept])


def edge_numbered_newick(reference: Reference) -> str:
    """The tree of the reference with the number of each edge, that of its lower node, in braces."""
    tree = reference.tree
    names = list(map(quote_name, tree.tip_names))
    return format_newick(names, tree.first, tree.last, tree.length, [f"{{{node}}}" for node in range(len(tree.parent))])


def write_jplace(path: Path, placements: Placements, reference: Reference, program: str) -> None:
    """Write a jplace file of the placed ASVs; `program` says in the file what made it."""
    head = {"version": 3, "fields": FIELDS, "metadata": {"software": program}, "tree": edge_numbered_newick(reference)}
    with open_text(path) as file:
        file.write(json.dumps(head)[:-1] + ', "placements": [')
        separator = "\n"
        for record in records(placements, find_places(placements, reference)):
            file.write(separator + json.dumps(record))
            separator = ",\n"
        file.write("\n]}\n")


def records(placements: Placements, places: Places) -> Iterator[dict[str, list[object]]]:
    """The entry of each placed ASV: its places `p` in the order of `FIELDS` and its name `n`."""
    bounds = np.r_[np.flatnonzero(np.r_[True, places.row[1:] != places.row[:-1]]), len(places.row)].tolist()
    columns = [part.tolist() for part in places]
    for first, last in zip(bounds[:-1], bounds[1:], strict=True):
        found: list[object] = [
            [edge, 0, float(f"{weight:.6g}"), distal, pendant]
            for edge, weight, distal, pendant in zip(*(column[first:last] for column in columns[1:]), strict=True)
        ]
        yield {"p": found, "n": [placements.ids[columns[0][first]]]}
