"""A corpus as `aam prepare` leaves it on disk, opened as maps of its arrays: milliseconds at any size.

| array | type, shape | |
|---|---|---|
| counts.indptr, .indices, .data | [samples + 1], [n], [n] | CSR, sorted, without zeros; reads int32 |
| tokens | uint8 [ASVs, L] | |
| asvs.text, .bounds | uint8, int64 [ASVs + 1] | the DNA of each ASV, which is its id |
| samples.text, .bounds | uint8, int64 [samples + 1] | sample ids |
| samples.depth, .study | int64, int32 [samples] | reads, and number of the study |
| dropped.text, .bounds, .reason | uint8, int64 [n + 1], uint8 [n] | ids left out; numbers into `reasons` |
| trees.first, .last, .parent, .length | int32, float64 [nodes] | sheared trees, one after the other |
| trees.columns | int32 [tips] | column of each leaf |
| trees.nodes, .tips | int64 [trees] | how many of each |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from aam.config import Metric
from aam.data.store import Store, open_store
from aam.data.table import Table
from aam.data.texts import Texts
from aam.errors import ConfigError
from aam.phylogeny.targets import ForestTargets, TreeTargets
from aam.phylogeny.tree import Tree

DTYPES = {
    "counts.indptr": "<i8", "counts.indices": "<i4", "counts.data": "<i4", "tokens": "|u1",
    "asvs.text": "|u1", "asvs.bounds": "<i8", "samples.text": "|u1", "samples.bounds": "<i8",
    "samples.depth": "<i8", "samples.study": "<i4",
    "dropped.text": "|u1", "dropped.bounds": "<i8", "dropped.reason": "|u1",
    "trees.first": "<i4", "trees.last": "<i4", "trees.parent": "<i4", "trees.length": "<f8", "trees.columns": "<i4",
    "trees.nodes": "<i8", "trees.tips": "<i8",
}  # fmt: skip
"""The type of every array of a corpus."""


class StudyTree(NamedTuple):
    """A tree and the columns of the table that its leaves are, int32 [tips]."""

    tree: Tree
    columns: NDArray[np.int32]


@dataclass(frozen=True)
class Prepared:
    """An open corpus: `table`, its `tokens` [A, L], of each sample its `depth` int64 and `study` int32.

    `trees` has one entry for all studies, or one for each. `dropped` tells what was left out: reason -> ids.
    """

    table: Table
    tokens: NDArray[np.uint8]
    depth: NDArray[np.int64]
    study: NDArray[np.int32]
    trees: list[StudyTree]
    dropped: dict[str, list[str]]

    def targets(self, metric: Metric, alpha: float) -> TreeTargets | ForestTargets:
        """Targets by the one tree, or by the tree of each study."""
        names: Sequence[str] = self.table.asv_ids
        own = [TreeTargets(tree, tree.tip_names, metric, alpha) for tree, _ in self.trees]
        if len(own) == 1:
            return TreeTargets(self.trees[0].tree, names, metric, alpha)
        columns = [np.full(len(names), -1, dtype=np.int64) for _ in own]
        for place, (tree, leaves) in zip(columns, self.trees, strict=True):
            place[leaves] = np.arange(len(tree.tip_names))
        study_of: Mapping[str, int] = dict(zip(self.table.sample_ids, self.study.tolist(), strict=True))
        return ForestTargets(own, columns, study_of)


def open_prepared(folder: Path, max_bp: int) -> Prepared:
    """Open a complete corpus; raises `CorpusError` for another folder and `ConfigError` for more bases than it has."""
    store = open_store(folder)
    longest, cut = store.manifest["longest"], store.manifest["config"]["max_bp"]
    if max_bp > cut < longest:
        raise ConfigError(
            f"--max-bp {max_bp}, but {folder} was prepared with --max-bp {cut} and has sequences of {longest} bases; "
            "ask for fewer bases or prepare it again with more"
        )
    asvs = list(Texts(store["asvs.text"], store["asvs.bounds"]))
    samples = list(Texts(store["samples.text"], store["samples.bounds"]))
    indptr, indices, data = (store[f"counts.{part}"] for part in ("indptr", "indices", "data"))
    counts = sparse.csr_array((data, indices, indptr), shape=(len(samples), len(asvs)), copy=False)
    table = Table(counts, samples, asvs, asvs, folder)
    tokens = store["tokens"][:, : 1 + max_bp]
    depth, study = store["samples.depth"], store["samples.study"]
    return Prepared(table, tokens, depth, study, open_trees(store, asvs), open_dropped(store))


def open_trees(store: Store, names: Sequence[str]) -> list[StudyTree]:
    """The trees of a corpus; their tips are named by their DNA."""
    nodes, tips = (np.r_[0, np.cumsum(store[f"trees.{part}"])] for part in ("nodes", "tips"))
    first, last, length, parent, columns = (
        store[f"trees.{part}"] for part in ("first", "last", "length", "parent", "columns")
    )
    trees = []
    for number in range(len(nodes) - 1):
        own = slice(nodes[number], nodes[number + 1])
        leaves = columns[tips[number] : tips[number + 1]]
        tip_names = [names[column] for column in leaves.tolist()]
        tree = Tree(tip_names, first[own], last[own], length[own], parent[own], f"{store.folder} tree {number + 1}")
        trees.append(StudyTree(tree, leaves))
    return trees


def open_dropped(store: Store) -> dict[str, list[str]]:
    """What was left out: reason -> ids."""
    ids, reason = Texts(store["dropped.text"], store["dropped.bounds"]), store["dropped.reason"]
    return {
        text: [ids[place] for place in np.flatnonzero(reason == number)]
        for number, text in enumerate(store.manifest["reasons"])
        if (reason == number).any()
    }
