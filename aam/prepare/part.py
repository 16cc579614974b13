"""One table of a corpus: its samples, and the ASVs that no table before it had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from aam.config import PrepareConfig
from aam.corpus import NOT_IN_TREE, ONLY_ABSENT_ASVS, read_any_tree
from aam.data.asv_index import AsvIndex
from aam.data.sequences import plain
from aam.data.store_writer import GrowingArray, StoreWriter
from aam.data.texts import Texts, encode_texts
from aam.phylogeny.match import match_tips
from aam.phylogeny.tree import Tree
from aam.prepare.scratch import Scratch, read_counts
from aam.prepare.sources import Source
from aam.prepared import DTYPES

WORKING = {
    "ids.text": "|u1", "ids.bounds": "<i8", "leaf": "<i4",
    "lost.text": "|u1", "lost.bounds": "<i8", "lost.reason": "|u1", "lost.study": "<i4",
}  # fmt: skip
"""Arrays that do not stay: ids of samples and of what is left out, as the tables have them; leaves of a common tree."""


@dataclass(frozen=True)
class Growing:
    """A corpus that is being written: its arrays, the columns of its ASVs, and the tree of all tables if it is one."""

    writer: StoreWriter
    index: AsvIndex
    tree: Tree | None

    def array(self, name: str) -> GrowingArray:
        """An array by its name."""
        return self.writer.array(name, (DTYPES | WORKING)[name])

    def append(self, **arrays: NDArray) -> None:
        """Add rows to arrays, `counts_data=...` to "counts.data"."""
        for name, values in arrays.items():
            self.array(name.replace("_", ".", 1)).append(values)

    def append_texts(self, name: str, strings: Sequence[str]) -> None:
        """Add strings to a pair of arrays `name.text`, `name.bounds`."""
        text, bounds = self.array(f"{name}.text"), self.array(f"{name}.bounds")
        if bounds.rows == 0:
            bounds.append(np.zeros(1, np.int64))
        data, lengths = encode_texts(strings)
        bounds.append(text.rows + np.cumsum(lengths))
        text.append(data)

    def append_lost(self, dropped: Mapping[str, Sequence[str]], study: int) -> None:
        """Add ids that a study left out; the manifest numbers the reasons."""
        reasons = self.writer.record.setdefault("reasons", [])
        for reason, ids in dropped.items():
            if reason not in reasons:
                reasons.append(reason)
            number = reasons.index(reason)
            self.append_texts("lost", ids)
            self.append(lost_reason=np.full(len(ids), number), lost_study=np.full(len(ids), study))

    def holds(self, feature_id: str) -> bool:
        """Whether a feature id is the sequence of an ASV of the corpus."""
        return bool(self.index.holds([plain(feature_id)])[0])

    def texts(self, name: str) -> Texts:
        """The strings so far of a pair of arrays."""
        bounds = self.array(f"{name}.bounds").read()
        return Texts(self.array(f"{name}.text").read(), bounds if len(bounds) else np.zeros(1, np.int64))


def go_on(writer: StoreWriter, tree: Tree | None) -> Growing:
    """The corpus as its finished parts have left it."""
    growing = Growing(writer, AsvIndex(), tree)
    for name in writer.parts[-1]["rows"] if writer.parts else ():
        growing.array(name)
    growing.index.place(growing.texts("asvs"))
    return growing


def add_table(growing: Growing, source: Source, number: int, config: PrepareConfig) -> dict[str, Any]:
    """Add the study of this number; returns what the manifest says of it."""
    tree = growing.tree or read_any_tree(source.files["tree"])
    with Scratch(growing.writer.folder) as scratch:
        read = read_counts(source, scratch)
        match = match_tips(read.asv_ids, read.sequences, tree, config.max_missing)
        placed = growing.index.place([read.sequences[place] for place in match.columns])
        column_of = np.full(int(read.features[-1]) + 1, -1, dtype=np.int64)
        column_of[read.features[match.columns]] = placed.columns
        kept = add_counts(growing, scratch, column_of, number)
    if match.missing:
        read.dropped[NOT_IN_TREE] = match.missing
    if not kept.all():
        read.dropped[ONLY_ABSENT_ASVS] = [read.sample_ids[row] for row in np.flatnonzero(~kept)]
    growing.append_texts("ids", [read.sample_ids[row] for row in np.flatnonzero(kept)])
    growing.append_texts("asvs", [read.sequences[match.columns[place]] for place in placed.new])
    growing.append_lost(read.dropped, number)
    if growing.tree is None:
        add_tree(growing, tree, match.tips, placed.columns)
    else:
        growing.append(leaf=tree.leaves_of([match.tips[place] for place in placed.new]))
    part = {
        "samples": int(kept.sum()), "asvs": len(match.columns), "new": len(placed.new),
        "dropped": {reason: len(ids) for reason, ids in read.dropped.items()},
    }  # fmt: skip
    growing.writer.commit(part)
    return part


def add_counts(growing: Growing, scratch: Scratch, column_of: NDArray[np.int64], study: int) -> NDArray[np.bool_]:
    """Add the samples of one study, less the features without a column (-1); returns which samples [n] are left."""
    bounds = growing.array("counts.indptr")
    if bounds.rows == 0:
        bounds.append(np.zeros(1, np.int64))
    kept = []
    for block in scratch.blocks(len(column_of)):
        columns = column_of[block.indices]
        left = np.r_[0, np.cumsum(columns >= 0)][block.indptr]
        rows = np.diff(left) > 0
        kept.append(rows)
        parts = block.data[columns >= 0], columns[columns >= 0], np.r_[0, left[1:][rows]]
        counts = sparse.csr_array(parts, shape=(int(rows.sum()), len(growing.index)))
        counts.sum_duplicates()  # sorts; and a sequence may have several ids in one table
        bounds.append(growing.array("counts.data").rows + counts.indptr[1:].astype(np.int64))
        growing.append(
            counts_data=counts.data, counts_indices=counts.indices,
            samples_depth=counts.sum(axis=1), samples_study=np.full(counts.shape[0], study),
        )  # fmt: skip
    return np.concatenate(kept)


def add_tree(growing: Growing, tree: Tree, tips: Sequence[str], columns: NDArray[np.int64]) -> None:
    """Add a tree, sheared to the tips of these columns; of several tips with one sequence the first stays."""
    own, first = np.unique(columns, return_index=True)
    names = [tips[place] for place in first]
    sheared = tree.shear(names)
    of_leaf = np.empty(len(names), np.int64)
    of_leaf[sheared.leaves_of(names)] = own
    growing.append(
        trees_first=sheared.first, trees_last=sheared.last, trees_parent=sheared.parent, trees_length=sheared.length,
        trees_columns=of_leaf, trees_order=np.argsort(of_leaf),
        trees_nodes=np.array([len(sheared.first)]), trees_tips=np.array([len(names)]),
    )  # fmt: skip
