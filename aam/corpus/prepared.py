"""A corpus on disk as `aam prepare` writes it, opened as maps of its arrays in milliseconds, whatever its size.

| array | type, shape | |
|---|---|---|
| counts.indptr, .indices, .data | int64 [samples + 1], int32 [n], [n] | reads by sample (CSR), sorted, without zeros |
| tokens | uint8 [ASVs, L] | |
| asvs.text, .bounds | uint8, int64 [ASVs + 1] | the DNA of each ASV, which is its id |
| samples.text, .bounds | uint8, int64 [samples + 1] | sample ids |
| samples.by_id | int32 [samples] | samples in the order of their ids |
| samples.depth, .study | int64, int32 [samples] | reads, and number of the study |
| dropped.text, .bounds, .reason | uint8, int64 [n + 1], uint8 [n] | ids left out; numbers into `reasons` |
| trees.first, .last, .parent, .length | int32, float64 [nodes] | sheared trees, one after the other |
| trees.columns, .order | int32 [tips] | column of each leaf; leaves in the order of their columns |
| trees.nodes, .tips | int64 [trees] | how many of each |
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from aam.config import Metric, from_dict
from aam.config.fields import Positions
from aam.config.reads import ReadsRecord
from aam.corpus.lineup import Lineup, compare_tables
from aam.corpus.store import Store, open_store
from aam.errors import ConfigError
from aam.gene.layout import layout_text
from aam.io.ids import Texts
from aam.io.table import Table
from aam.phylogeny.targets import ForestTargets, Leaves, TreeTargets
from aam.phylogeny.tree import Tree
from aam.text import counted

ARRAY_DTYPES = {
    "counts.indptr": "<i8", "counts.indices": "<i4", "counts.data": "<i4", "tokens": "|u1",
    "asvs.text": "|u1", "asvs.bounds": "<i8", "samples.text": "|u1", "samples.bounds": "<i8",
    "samples.by_id": "<i4", "samples.depth": "<i8", "samples.study": "<i4",
    "dropped.text": "|u1", "dropped.bounds": "<i8", "dropped.reason": "|u1",
    "trees.first": "<i4", "trees.last": "<i4", "trees.parent": "<i4", "trees.length": "<f8", "trees.columns": "<i4",
    "trees.order": "<i4", "trees.nodes": "<i8", "trees.tips": "<i8",
}  # fmt: skip
"""The type of every array of a corpus."""


@dataclass(frozen=True)
class StudyOf(Mapping[str, int]):
    """Mapping from sample id to study number; looked up by bisection, so that opening a corpus builds no dictionary."""

    ids: Sequence[str]
    by_id: NDArray[np.int32]
    study: NDArray[np.int32]

    def __getitem__(self, sample_id: str) -> int:
        at = bisect_left(self.by_id, sample_id, key=self.ids.__getitem__)
        if at == len(self.by_id) or self.ids[self.by_id[at]] != sample_id:
            raise KeyError(sample_id)
        return int(self.study[self.by_id[at]])

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Prepared:
    """An open corpus: `table`, its `tokens` [A, L]; `depth`, `study` and `by_id` are the arrays `samples.*`.

    `trees` and their `leaves` have one entry for all studies, or one for each. `names` are those of the studies.
    """

    table: Table
    tokens: NDArray[np.uint8]
    depth: NDArray[np.int64]
    study: NDArray[np.int32]
    by_id: NDArray[np.int32]
    trees: list[Tree]
    leaves: list[Leaves]
    lineup: Lineup
    names: tuple[str, ...]

    def targets(self, metric: Metric, alpha: float) -> TreeTargets | ForestTargets:
        """Targets from the common tree, or from the tree of each study."""
        pairs = zip(self.trees, self.leaves, strict=True)
        own = [TreeTargets(tree, leaves, metric, alpha) for tree, leaves in pairs]
        ids = self.table.sample_ids
        return own[0] if len(own) == 1 else ForestTargets(own, StudyOf(ids, self.by_id, self.study))


def open_prepared(folder: Path, max_bp: int, positions: Positions = "read") -> Prepared:
    """Open a complete corpus; raises `CorpusError` for other folders.

    Raises `ConfigError` for more bases than it has, or other positions.
    """
    store = open_store(folder)
    known = store.manifest["config"].get("positions", "read")
    if positions != known:
        raise ConfigError(
            f"--positions {positions}, but {folder} was prepared with --positions {known}; give the same here, or "
            "prepare it again"
        )
    longest, cut = store.manifest["longest"], bases_of(store)
    if max_bp > cut < longest:
        raise ConfigError(
            f"--max-bp {max_bp}, but {folder} was prepared with --max-bp {cut} and has sequences of {longest} bases; "
            "ask for fewer bases or prepare it again with more"
        )
    asvs, samples = (Texts(store[f"{name}.text"], store[f"{name}.bounds"]) for name in ("asvs", "samples"))
    counts = open_counts(store, (len(samples), len(asvs)))
    table = Table(counts, samples, asvs, asvs, folder, open_dropped(store))
    depth, study, by_id = (store[f"samples.{name}"] for name in ("depth", "study", "by_id"))
    tokens = store["tokens"] if positions == "gene" else store["tokens"][:, : 1 + (max_bp or cut)]
    names = tuple(source["name"] for source in store.manifest["sources"])
    return Prepared(table, tokens, depth, study, by_id, *open_trees(store, asvs), open_lineup(store), names)


def bases_of(store: Store) -> int:
    """Bases of each sequence that a corpus has tokens of."""
    return store.manifest.get("max_bp", store.manifest["config"]["max_bp"])  # older corpora have the option alone


def open_lineup(store: Store) -> Lineup:
    """How the reads of the tables of a corpus lie; nothing of a corpus that does not record it."""
    names, parts = [source["name"] for source in store.manifest["sources"]], store.manifest["parts"]
    found = [[from_dict(ReadsRecord, record) for record in part.get("reads", ())] for part in parts]
    records = [part[0] if part else None for part in found]
    # A part without notes is of an older version, or of sequences too short to be placed.
    texts = Counter(layout_text(record) for part, record in zip(parts, records, strict=True) if part.get("notes"))
    notes = [text if len(texts) == 1 else f"{counted(times, 'tables')}: {text}" for text, times in texts.items()]
    return Lineup(tuple(filter(None, records)), None, tuple(notes), compare_tables(names, records))


def open_counts(store: Store, shape: tuple[int, int]) -> sparse.csr_array:
    """Counts [samples, ASVs] on the memory maps. The arrays are set one by one: the scipy constructor may copy them."""
    counts = sparse.csr_array(shape, dtype=np.int32)
    counts.indptr, counts.indices, counts.data = (store[f"counts.{part}"] for part in ("indptr", "indices", "data"))
    return counts


def open_trees(store: Store, names: Texts) -> tuple[list[Tree], list[Leaves]]:
    """The trees of a corpus, whose tips are named by their DNA, and the leaves of each."""
    nodes, tips = (np.r_[0, np.cumsum(store[f"trees.{part}"])] for part in ("nodes", "tips"))
    of_node = [store[f"trees.{name}"] for name in ("first", "last", "length", "parent")]
    columns, order = store["trees.columns"], store["trees.order"]
    trees, leaves = [], []
    for number in range(len(nodes) - 1):
        own, below = slice(nodes[number], nodes[number + 1]), slice(tips[number], tips[number + 1])
        first, last, length, parent = (values[own] for values in of_node)
        source = f"{store.folder}, tree {number + 1}"
        trees.append(Tree(names.take(columns[below]), first, last, length, parent, source))
        leaves.append(Leaves(columns[below], order[below]))
    return trees, leaves


def open_dropped(store: Store) -> dict[str, Sequence[str]]:
    """The dropped ids, by reason."""
    ids, reason = Texts(store["dropped.text"], store["dropped.bounds"]), store["dropped.reason"]
    places = {text: np.flatnonzero(reason == number) for number, text in enumerate(store.manifest["reasons"])}
    return {text: ids.take(found) for text, found in places.items() if len(found)}
