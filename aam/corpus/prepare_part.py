"""Adds one table to a corpus: its samples, and the ASVs that no earlier table has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from aam.config import PrepareConfig
from aam.config.convert import to_dict
from aam.corpus.asv_index import AsvIndex
from aam.corpus.equal_asvs import merged_texts, most_read, number_sequences
from aam.corpus.joining import StudyFiles
from aam.corpus.lineup import (
    ALL_OUTSIDE,
    OUTSIDE,
    LinedSequences,
    Rules,
    line_up_sequences,
)
from aam.corpus.prepared import ARRAY_DTYPES
from aam.corpus.samples import NOT_IN_TREE, ONLY_ABSENT_ASVS, read_any_tree
from aam.corpus.store import GrowingArray, StoreWriter
from aam.io.ids import Texts, encode_texts
from aam.io.raw_table import cut_rows
from aam.io.sequences import sequences_of, to_plain_dna
from aam.io.table import EMPTY_ASVS, clean_counts, open_rows, refuse_empty
from aam.phylogeny.tree import TipMatch, Tree, match_tips

ENTRIES_AT_ONCE = 1 << 18
"""Counts in memory at a time: about 35 MB, mostly of the checks."""
WORKING = {
    "ids.text": "|u1", "ids.bounds": "<i8", "leaf": "<i4",
    "raw.indices": "<i4", "raw.data": "<i4", "raw.text": "|u1", "raw.bounds": "<i8", "raw.leaves": "<i4",
    "lost.text": "|u1", "lost.bounds": "<i8", "lost.reason": "|u1", "lost.study": "<i4",
}  # fmt: skip
"""Arrays that are removed at the end: ids as the tables have them, the leaves of a common tree, and ASVs (counts, DNA,
leaves) in the order in which the tables have them."""


class Scratch:
    """Counts [samples, features] of one table in files that are removed at the end of the `with` block."""

    def __init__(self, folder: Path):
        types = {"indptr": "<i8", "indices": "<i4", "data": "<i4"}
        self.arrays = {name: GrowingArray(folder / f"scratch.{name}.npy", kind, (), 0) for name, kind in types.items()}
        self.arrays["indptr"].append(np.zeros(1, np.int64))

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *fault: object) -> None:
        for array in self.arrays.values():
            array.file.close()
            array.path.unlink()

    def append(self, counts: sparse.csr_array) -> None:
        """Add samples, counts [n, features]."""
        self.arrays["indptr"].append(self.arrays["data"].rows + counts.indptr[1:].astype(np.int64))
        self.arrays["indices"].append(counts.indices)
        self.arrays["data"].append(counts.data)

    def blocks(self, columns: int) -> Iterator[sparse.csr_array]:
        """The samples in order, in blocks [rows, columns] of about `ENTRIES_AT_ONCE` counts."""
        indptr = self.arrays["indptr"].read()
        for rows in cut_rows(indptr, ENTRIES_AT_ONCE):
            bounds = np.array(indptr[rows.start : rows.stop + 1])
            data, indices = (self.arrays[name].read(int(bounds[0]), int(bounds[-1])) for name in ("data", "indices"))
            yield sparse.csr_array((data, indices, bounds - bounds[0]), shape=(len(bounds) - 1, columns))


class TableIds(NamedTuple):
    """Ids of a table after samples and features without reads are dropped; `features` int64 [A]: numbers of its ASVs.

    `dropped` has the dropped ids by reason.
    """

    sample_ids: list[str]
    features: NDArray[np.int64]
    asv_ids: list[str]
    sequences: list[str]
    dropped: dict[str, list[str]]


def read_counts(source: StudyFiles, scratch: Scratch) -> TableIds:
    """Read the table of a study once, in blocks, with the checks of `aam.io.table.read_table`."""
    path, fasta = source.files["table"], source.files.get("sequences")
    dropped: dict[str, list[str]] = {}
    sample_ids: list[str] = []
    with open_rows(path, fasta is not None) as rows:
        dropped.update((reason, list(ids)) for reason, ids in rows.dropped.items())
        seen = np.zeros(len(rows.feature_ids), dtype=bool)
        for raw in rows.blocks(ENTRIES_AT_ONCE):
            found = clean_counts(raw, str(path))
            seen[found.counts.indices] = True
            scratch.append(found.counts)
            sample_ids += found.sample_ids
            for reason, ids in found.dropped.items():
                dropped.setdefault(reason, []).extend(ids)
    refuse_empty(sample_ids, rows.sample_ids, path)
    features = np.flatnonzero(seen)
    asv_ids = [rows.feature_ids[feature] for feature in features]
    dropped[EMPTY_ASVS] = [rows.feature_ids[feature] for feature in np.flatnonzero(~seen)]
    found_ids = {reason: ids for reason, ids in dropped.items() if ids}
    return TableIds(sample_ids, features, asv_ids, sequences_of(asv_ids, fasta, str(path)), found_ids)


@dataclass(frozen=True)
class GrowingCorpus:
    """A corpus being written: its arrays, the columns of its ASVs, and the tree if all tables share one."""

    writer: StoreWriter
    index: AsvIndex
    tree: Tree | None

    def array(self, name: str) -> GrowingArray:
        """The array of this name, open to append to."""
        return self.writer.array(name, (ARRAY_DTYPES | WORKING)[name])

    def append(self, **arrays: NDArray) -> None:
        """Append rows to arrays; the keyword `raw_data` is for the array "raw.data"."""
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
        """Add the dropped ids of a study; the manifest numbers the reasons."""
        reasons = self.writer.record.setdefault("reasons", [])
        for reason, ids in dropped.items():
            if reason not in reasons:
                reasons.append(reason)
            number = reasons.index(reason)
            self.append_texts("lost", ids)
            self.append(lost_reason=np.full(len(ids), number), lost_study=np.full(len(ids), study))

    def holds(self, feature_id: str) -> bool:
        """Whether a feature id is the sequence of an ASV of the corpus."""
        return bool(self.index.holds([to_plain_dna(feature_id)])[0])

    def texts(self, name: str) -> Texts:
        """The strings written so far to a pair of arrays."""
        bounds = self.array(f"{name}.bounds").read()
        return Texts(self.array(f"{name}.text").read(), bounds if len(bounds) else np.zeros(1, np.int64))


def resume_growing(writer: StoreWriter, tree: Tree | None) -> GrowingCorpus:
    """The corpus after its finished parts."""
    growing = GrowingCorpus(writer, AsvIndex(), tree)
    for name in writer.parts[-1]["rows"] if writer.parts else ():
        growing.array(name)
    growing.index.assign(growing.texts("raw"))
    return growing


def add_table(
    growing: GrowingCorpus, source: StudyFiles, number: int, config: PrepareConfig, say: Callable[[str], None]
) -> dict[str, Any]:
    """Add the study of this number; returns its manifest entry. `say` gets the notes on a tree of its own."""
    tree = growing.tree or read_any_tree(source.files["tree"])
    if growing.tree is None:
        for note in tree.notes:
            say(note)
    with Scratch(growing.writer.folder) as scratch:
        read = read_counts(source, scratch)
        match = match_tips(read.asv_ids, read.sequences, tree, config.max_missing)
        lined = line_up_sequences(read.sequences, Rules(config.trim, config.orient), str(source.files["table"]))
        match = tips_of_lined(match, lined, read, scratch)
        assigned = growing.index.assign([lined.sequences[place] for place in match.columns])
        column_of = np.full(int(read.features[-1]) + 1, -1, dtype=np.int64)
        column_of[read.features[match.columns]] = assigned.columns
        kept = add_counts(growing, scratch, column_of, number)
    if match.missing:
        read.dropped[NOT_IN_TREE] = match.missing
    if lined.outside.any():
        read.dropped[OUTSIDE] = [read.asv_ids[place] for place in np.flatnonzero(lined.outside)]
    if not kept.all():
        reason = ALL_OUTSIDE if lined.outside.any() else ONLY_ABSENT_ASVS
        read.dropped[reason] = [read.sample_ids[row] for row in np.flatnonzero(~kept)]
    growing.append_texts("ids", [read.sample_ids[row] for row in np.flatnonzero(kept)])
    growing.append_texts("raw", [lined.sequences[match.columns[place]] for place in assigned.new])
    growing.append_lost(read.dropped, number)
    if growing.tree is None:
        add_tree(growing, tree, match.tips, assigned.columns)
    else:
        growing.append(leaf=tree.leaves_of([match.tips[place] for place in assigned.new]))
    own, fewer = [read.sequences[place] for place in match.columns], len(match.columns) - len(set(assigned.columns))
    part = {
        "samples": int(kept.sum()), "asvs": len(match.columns), "new": len(assigned.new),
        "dropped": {reason: len(ids) for reason, ids in read.dropped.items()},
        "reads": [to_dict(record) for record in lined.lineup.records],
        "notes": [*lined.lineup.notes, *lined.lineup.doubts, *merged_texts(own, fewer)],
    }  # fmt: skip
    growing.writer.commit(part)
    return part


def tips_of_lined(match: TipMatch, lined: LinedSequences, read: TableIds, scratch: Scratch) -> TipMatch:
    """The ASVs of a match that are not outside of the window; those that are equal have the tip of the most read."""
    kept = ~lined.outside[match.columns]
    columns, tips = match.columns[kept], [tip for tip, own in zip(match.tips, kept.tolist(), strict=True) if own]
    groups = number_sequences([lined.sequences[place] for place in columns])
    if len(groups) == int(groups.max(initial=-1)) + 1:
        return TipMatch(columns, tips, match.missing)
    reads = np.zeros(int(read.features[-1]) + 1)
    for block in scratch.blocks(len(reads)):
        reads += np.bincount(block.indices, block.data, len(reads))
    chosen = most_read(groups, reads[read.features[columns]], [read.asv_ids[place] for place in columns])
    return TipMatch(columns, [tips[place] for place in chosen[groups].tolist()], match.missing)


def add_counts(growing: GrowingCorpus, scratch: Scratch, column_of: NDArray[np.int64], study: int) -> NDArray[np.bool_]:
    """Add the samples of one study, except features without column (-1); returns which samples [n] remain."""
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
        counts.sum_duplicates()  # sorts too; a sequence may have several ids in one table
        bounds.append(growing.array("raw.data").rows + counts.indptr[1:].astype(np.int64))
        growing.append(
            raw_data=counts.data, raw_indices=counts.indices,
            samples_depth=counts.sum(axis=1), samples_study=np.full(counts.shape[0], study),
        )  # fmt: skip
    return np.concatenate(kept)


def add_tree(growing: GrowingCorpus, tree: Tree, tips: Sequence[str], columns: NDArray[np.int64]) -> None:
    """Add a tree, sheared to the tips of these columns; ASVs of one column have one tip."""
    own, first = np.unique(columns, return_index=True)
    names = [tips[place] for place in first]
    sheared = tree.shear(names)
    of_leaf = np.empty(len(names), np.int64)
    of_leaf[sheared.leaves_of(names)] = own
    growing.append(
        trees_first=sheared.first, trees_last=sheared.last, trees_parent=sheared.parent, trees_length=sheared.length,
        raw_leaves=of_leaf, trees_nodes=np.array([len(sheared.first)]), trees_tips=np.array([len(names)]),
    )  # fmt: skip
