"""Which clades and ASVs drive what an ensemble predicts: contributions to its ridge, and deletion for all of it.

    contribution = coefficient x (feature - mean of training)

in each sample. Nested features that are alike in the table (`ALIKE`) stand in one line, named by the smallest clade,
with the sum of their contributions. Deletion takes the reads of a clade or ASV out of each sample that has it and asks
the whole ensemble again, forests included.

N samples, F features, L lines, K numbers or classes, A ASVs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array

from aam.learners.clades import CladeTable
from aam.learners.ensemble import LEAST_SPREAD, Ensemble
from aam.learners.features import expected_presence
from aam.phylogeny.tree import Tree

ALIKE = 0.95
"""Nested features are alike if the sum of the smaller one over samples is so much of the larger one's."""
Output = Callable[[CladeTable], NDArray[np.float64]]
"""The output that is explained: one number [n] for each sample."""


@dataclass(frozen=True)
class Lines:
    """The clades and ASVs of a table that a ridge reads, those that some sample has.

    `feature` int64 [L]: number of the smallest of the features that are alike; `alike` [L]: how many they are.
    `samples` [L] have it, with mean share `abundance`; `attribution` and `influence` are the mean contribution and its
    mean size over these; `share` is the part of the sizes of all contributions in all samples.
    """

    feature: NDArray[np.int64]
    alike: NDArray[np.int64]
    samples: NDArray[np.int64]
    abundance: NDArray[np.float64]
    attribution: NDArray[np.float64]
    influence: NDArray[np.float64]
    share: NDArray[np.float64]

    def order(self) -> NDArray[np.int64]:
        """Lines [L], the one with the largest share first."""
        return np.argsort(-self.share, kind="stable")


def contributing(ensemble: Ensemble, table: CladeTable, direction: NDArray[np.float64], tree: Tree) -> Lines:
    """The contributions to the ridge's scores times `direction` [K] in samples; `tree` is that of the reference."""
    shares, ridge = ensemble.features.shares(table), ensemble.ridge
    x = expected_presence(shares)
    scale = max(ridge.spread, LEAST_SPREAD) if ensemble.classes else 1.0
    contribution = (x - ridge.centre) * (ridge.coefficients @ direction / scale)
    feature, line = alike_features(ensemble, table, x, tree)
    there = line >= 0
    summed = np.zeros((len(shares), len(feature)))
    np.add.at(summed.T, line[there], contribution[:, there].T)
    has = shares[:, feature] > 0
    samples, size = has.sum(axis=0), np.abs(summed)
    return Lines(
        feature=feature,
        alike=np.bincount(line[there], minlength=len(feature)),
        samples=samples,
        abundance=shares[:, feature].sum(axis=0, dtype=np.float64) / samples,
        attribution=(summed * has).sum(axis=0) / samples,
        influence=(size * has).sum(axis=0) / samples,
        share=size.sum(axis=0) / max(float(size.sum()), np.finfo(float).tiny),
    )


def alike_features(
    ensemble: Ensemble, table: CladeTable, x: NDArray[np.float32], tree: Tree
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first of each set of alike features, int64 [L], and the set of each feature, int64 [F]; -1 for absent ones.

    A clade joins the set of a clade within it, and an ASV that of the smallest clade around it, if the sum over samples
    of the smaller feature is at least `ALIKE` of the larger one; it is the smallest clade of the set that is compared.
    """
    nodes, total = ensemble.features.nodes, x.sum(axis=0, dtype=np.float64)
    first = np.arange(len(total))
    for number, above in enumerate(next_feature(nodes, tree)):  # in postorder: what lies within comes before
        if above >= 0 and first[above] == above and total[first[number]] >= ALIKE * total[above]:
            first[above] = first[number]
    for at, around in smallest_clades(ensemble, table).items():
        if total[at] >= ALIKE * total[around]:
            first[at] = first[around]
    there = np.flatnonzero(total > 0)
    kept, place = np.unique(first[there], return_inverse=True)
    line = np.full(len(total), -1, np.int64)
    line[there] = place
    return kept, line


def next_feature(nodes: NDArray[np.int64], tree: Tree) -> list[int]:
    """The place in `nodes` [n], ascending, of the next node above each of them; -1 where there is none."""
    place = np.full(len(tree.parent), -1, np.int64)
    place[nodes] = np.arange(len(nodes))
    above = tree.parent[nodes].astype(np.int64)
    while (on := (above >= 0) & (place[above] < 0)).any():
        above[on] = tree.parent[above[on]]
    return np.where(above >= 0, place[above], -1).tolist()


def smallest_clades(ensemble: Ensemble, table: CladeTable) -> dict[int, int]:
    """The smallest clade around each ASV, both numbers of features; ASVs in no clade of the model are left out."""
    nodes, row = ensemble.features.nodes, {text: place for place, text in enumerate(table.sequences)}
    members, found = csr_array(table.members[:, nodes]), dict[int, int]()
    for number, sequence in enumerate(ensemble.features.sequences, start=len(nodes)):
        if (at := row.get(sequence)) is not None:
            around = members.indices[members.indptr[at] : members.indptr[at + 1]]
            found |= {number: int(around.min())} if len(around) else {}
    return found


def deletion(ensemble: Ensemble, table: CladeTable, features: NDArray[np.int64], output: Output) -> NDArray[np.float64]:
    """Mean change of the output if the reads of each of some features are taken out, over the samples that have it.

    Samples that have nothing else are left out; NaN if there is none.
    """
    before, found = output(table), np.full(len(features), np.nan)
    for place, feature in enumerate(features.tolist()):
        own = asvs_of(ensemble, table, feature)
        here = np.asarray(table.asvs @ own.astype(np.float32)).ravel()
        rows = np.flatnonzero((here > 0) & (here < 1 - 1e-6))
        if len(rows):
            found[place] = float((output(without(table.rows(rows), own)) - before[rows]).mean())
    return found


def asvs_of(ensemble: Ensemble, table: CladeTable, feature: int) -> NDArray[np.bool_]:
    """Which ASVs [A] of a table a feature counts."""
    nodes = ensemble.features.nodes
    if feature < len(nodes):
        return table.members[:, [int(nodes[feature])]].toarray().ravel() > 0
    sequence = ensemble.features.sequences[feature - len(nodes)]
    return np.array([text == sequence for text in table.sequences], bool)


def without(table: CladeTable, asvs: NDArray[np.bool_]) -> CladeTable:
    """The samples without the reads of some ASVs [A]: the others are the whole."""
    kept = csr_array(table.asvs @ diags_array((~asvs).astype(np.float32)))
    kept.eliminate_zeros()
    left = np.asarray(kept.sum(axis=1)).ravel()
    return CladeTable(csr_array(diags_array(1 / left) @ kept).astype(np.float32), table.members, table.sequences)
