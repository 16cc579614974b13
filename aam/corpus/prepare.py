"""Joins several tables and their trees into one corpus on disk: first a part for each table, then the common arrays.

A part is written once and noted in the manifest; a call that was stopped resumes after the last part noted there. The
arrays on disk are described in `aam.corpus.prepared`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from aam.atomic import remove_partial_files
from aam.config import DataConfig, PrepareConfig, option_flag, to_dict
from aam.config.fields import Orient
from aam.config.reads import ReadsRecord
from aam.corpus.gene_tokens import gene_tokens
from aam.corpus.joining import (
    Naming,
    RowsOf,
    StudyFiles,
    find_repeated,
    make_names_unique,
    pair_files,
    refuse_duplicate_samples,
)
from aam.corpus.lineup import Rules, line_up_sequences, parse_trim
from aam.corpus.prepare_part import ENTRIES_AT_ONCE, WORKING, GrowingCorpus, add_table, add_tree, resume_growing
from aam.corpus.prepared import open_lineup
from aam.corpus.samples import OF_ASVS, length_of_reads, read_any_tree
from aam.corpus.store import Store, StoreWriter, begin_manifest, open_store
from aam.errors import ConfigError, CorpusError
from aam.gene.layout import common_window, layout_text
from aam.gene.reads import LEAST_BASES
from aam.io.files import lock_folder
from aam.io.ids import Texts
from aam.io.raw_table import cut_rows
from aam.io.sequences import sequences_of, tokenize, unpadded_rows
from aam.io.table import STORED_ZEROS, open_rows
from aam.text import counted

TOKENIZED_AT_ONCE = 1 << 16
"""Sequences whose tokens are in memory at a time."""


def list_sources(config: PrepareConfig) -> list[StudyFiles]:
    """The studies in the order of their tables; raises `ConfigError` if the options do not go together."""
    for name, what in (("table", "feature table"), ("tree", "rooted phylogeny")):
        if not getattr(config, name):
            raise ConfigError(f"no {what}; give {option_flag(name)} FILE, once for each study")
    return pair_files(config.table, {"tree": config.tree, "sequences": config.sequences})


class DroppedIds(NamedTuple):
    """Dropped ids [n]; for each the number of its `study`, and code and text of the reason."""

    ids: Texts
    study: NDArray[np.int32]
    code: NDArray[np.uint8]
    reason: NDArray[np.str_]


def add_ids(growing: GrowingCorpus, studies: Sequence[str], say: Callable[[str], None]) -> None:
    """Write the sample ids, their order, and the dropped ids."""
    study, lost_study, code = (growing.array(name).read() for name in ("samples.study", "lost.study", "lost.reason"))
    reasons = np.array(growing.writer.record.setdefault("reasons", []), dtype=str)
    lost = DroppedIds(growing.texts("lost"), lost_study, code, reasons[code])
    # A sample without its stored zeros is still there; one that was left out may have a namesake in another study.
    gone = np.flatnonzero(~np.isin(lost.reason, [*OF_ASVS, STORED_ZEROS]))
    ids = [*growing.texts("ids"), *lost.ids.take(gone)]
    owners = [studies[number] for number in (*study.tolist(), *lost_study[gone].tolist())]
    twice = find_repeated(ids)
    rows = RowsOf(*(growing.array(f"counts.{part}").read() for part in ("indptr", "indices", "data")))
    refuse_duplicate_samples(rows, ids[: len(study)], twice, owners, "give each sample once, and another --output")
    naming = make_names_unique(ids, owners, twice, say)
    found = [naming(text, owner) for text, owner in zip(ids[: len(study)], owners, strict=False)]
    growing.append_texts("samples", found)
    growing.append(samples_by_id=np.array(sorted(range(len(found)), key=found.__getitem__)))
    add_dropped(growing, lost, studies, naming)


def add_dropped(growing: GrowingCorpus, lost: DroppedIds, studies: Sequence[str], naming: Naming) -> None:
    """Write the dropped ids: samples by their names in the corpus, and ASVs that no study has."""
    names, codes = [], []
    for text, number, code, reason in zip(lost.ids, lost.study.tolist(), lost.code.tolist(), lost.reason, strict=True):
        if reason not in OF_ASVS:
            names.append(naming(text, studies[number]))
        elif growing.holds(text):
            continue
        else:
            names.append(text)
        codes.append(code)
    growing.append_texts("dropped", names)
    growing.append(dropped_reason=np.array(codes, dtype=np.uint8))


def complete_corpus(
    growing: GrowingCorpus, sources: Sequence[StudyFiles], config: PrepareConfig, say: Callable[[str], None]
) -> None:
    """Write the arrays that need all tables, and mark the corpus as complete."""
    add_ordered_asvs(growing)
    add_ids(growing, [source.name for source in sources], say)
    tokens = add_tokens(growing, config, say)
    if growing.tree is not None:
        leaves = growing.array("leaf").read()
        names = [growing.tree.tip_names[leaf] for leaf in leaves.tolist()]
        add_tree(growing, growing.tree, names, np.arange(len(names)))
    add_leaves(growing)
    counts = {
        "samples": growing.array("samples.depth").rows, "ASVs": len(growing.index), "studies": len(sources),
        "trees": growing.array("trees.nodes").rows, "counts": growing.array("counts.data").rows,
    }  # fmt: skip
    growing.writer.complete(tokens | {"counts": counts}, without=tuple(WORKING))


def add_ordered_asvs(growing: GrowingCorpus) -> None:
    """Write counts and DNA of the ASVs in the order of `aam.corpus.equal_asvs`: not that of the tables."""
    order, texts = growing.index.by_hash, growing.texts("raw")
    for start in range(0, len(order), TOKENIZED_AT_ONCE):
        growing.append_texts("asvs", list(texts.take(order[start : start + TOKENIZED_AT_ONCE])))
    place, bounds = np.argsort(order), growing.array("counts.indptr").read()
    for rows in cut_rows(bounds, ENTRIES_AT_ONCE):
        own = np.array(bounds[rows.start : rows.stop + 1])
        data, indices = (
            np.array(growing.array(f"raw.{name}").read(int(own[0]), int(own[-1]))) for name in ("data", "indices")
        )
        counts = sparse.csr_array((data, place[indices], own - own[0]), shape=(len(own) - 1, len(order)))
        counts.sort_indices()
        growing.append(counts_data=counts.data, counts_indices=counts.indices)


def add_leaves(growing: GrowingCorpus) -> None:
    """Write the column of each leaf of each tree, and the leaves in the order of their columns."""
    place, leaves = np.argsort(growing.index.by_hash), growing.array("raw.leaves").read()
    for own in np.split(place[leaves], np.cumsum(growing.array("trees.tips").read())[:-1]):
        growing.append(trees_columns=own, trees_order=np.argsort(own))


def add_tokens(growing: GrowingCorpus, config: PrepareConfig, say: Callable[[str], None]) -> dict[str, int]:
    """Write the tokens of all ASVs; returns the bases of the `longest`, and `max_bp`, how many have tokens at most."""
    bounds = growing.array("asvs.bounds").read()
    texts = Texts(growing.array("asvs.text").read(), bounds)
    longest, max_bp = int(np.diff(bounds).max()), config.max_bp or length_of_reads(np.diff(bounds))
    if config.positions == "gene":
        found = gene_tokens(texts, config.max_bp or None)
        growing.writer.array("tokens", "|u1", (found.shape[1],)).append(found)
        return {"longest": longest, "max_bp": max_bp}
    width = 1 + min(longest, max_bp)
    array = growing.writer.array("tokens", "|u1", (width,))
    for start in range(0, len(texts), TOKENIZED_AT_ONCE):
        piece = tokenize(texts[start : start + TOKENIZED_AT_ONCE], max_bp)
        rows = np.zeros((len(piece), width), np.uint8)
        rows[:, : piece.shape[1]] = piece
        array.append(rows)
    if cut := int((np.diff(bounds) > max_bp).sum()):
        alike = len(texts) - len(set(unpadded_rows(array.read())))
        say(
            f"cut: {counted(cut, 'ASVs')} to {max_bp} bases (--max-bp)"
            + (f"; {counted(alike, 'ASVs')} then read as another one" if alike else "")
        )
    return {"longest": longest, "max_bp": max_bp}


def prepare(
    config: PrepareConfig, folder: Path, say: Callable[[str], None], warn: Callable[[str], None] | None = None
) -> Store:
    """Write the corpus of `config` into `folder`, or resume it there; `say` gets a line for each step.

    `warn` gets warnings, by default `say` does. Raises an `InputError` for unusable input.
    """
    parse_trim(config.trim)
    sources = list_sources(config)
    if config.trim == "auto":
        config = replace(config, trim=find_common_window(sources, config.orient))
    with lock_folder(folder, "--output", CorpusError):
        remove_partial_files(folder)
        options = {name: to_dict(config)[name] for name in ("max_bp", "positions", "max_missing", "trim", "orient")}
        record = begin_manifest(folder, options, [source.record() for source in sources])
        if record["complete"]:
            say(f"{folder} is complete already")
        else:
            write_parts(config, sources, StoreWriter(folder, record), say)
        for name in WORKING:  # also after a process that was killed between completing the corpus and this
            (folder / f"{name}.npy").unlink(missing_ok=True)
    store = open_store(folder)
    for doubt in open_lineup(store).doubts:
        (warn or say)(doubt)
    return store


def find_common_window(sources: Sequence[StudyFiles], orient: Orient) -> str:
    """The --trim START:LENGTH of the window that the reads of all tables have in common; "none" if none is 16S.

    Raises ConfigError if they have none in common. Only ids and sequences of the tables are read.
    """
    records, names = list[ReadsRecord](), list[str]()
    for source in sources:
        path, fasta = source.files["table"], source.files.get("sequences")
        with open_rows(path, fasta is not None) as rows:
            sequences = sequences_of(rows.feature_ids, fasta, str(path))
        lined = line_up_sequences(sequences, Rules(DataConfig.trim, orient), str(path))
        records += lined.lineup.records
        names += [source.name] * len(lined.lineup.records)
    if not records:
        return DataConfig.trim
    window = common_window(records)
    if window.length < LEAST_BASES:
        layouts = "; ".join(f"{name}: {layout_text(record)}" for name, record in zip(names, records, strict=True))
        raise ConfigError(
            f"--trim auto: the reads of these tables have no {LEAST_BASES} bases in common; prepare those that have: "
            f"{layouts}"
        )
    return str(window)


def write_parts(
    config: PrepareConfig, sources: list[StudyFiles], writer: StoreWriter, say: Callable[[str], None]
) -> None:
    """Add the tables that have no part yet, and complete the corpus."""
    tree = read_any_tree(config.tree[0]) if len(config.tree) == 1 < len(sources) else None
    for note in tree.notes if tree is not None else ():
        say(note)
    with writer:
        growing = resume_growing(writer, tree)
        for number, source in enumerate(sources):
            if number < len(writer.parts):
                say(f"{source.name}: written before")
                continue
            part = add_table(growing, source, number, config, say)
            say(f"{source.name}: {part['samples']:,} samples, {part['asvs']:,} ASVs, {part['new']:,} of them new")
            for note in part["notes"]:
                say(f"{source.name}: {note}")
            for reason, count in part["dropped"].items():
                say(f"{source.name}: {counted(count, reason)}")
        complete_corpus(growing, sources, config, say)
