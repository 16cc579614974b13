"""Joins the tables and metadata of several studies in memory, by the rules of `aam prepare`; opens a single one too.

ASVs are joined by sequence, samples by id: an id of several studies begins with the name of each, and the same sample
in two tables is refused. Columns of metadata are joined by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from aam import datasets
from aam.config import DataConfig, StudiesConfig, option_flag
from aam.corpus.equal_asvs import number_sequences, order_asvs
from aam.corpus.joining import (
    Naming,
    RowsOf,
    StudyFiles,
    find_repeated,
    make_names_unique,
    pair_files,
    refuse_duplicate_samples,
    refuse_unpaired,
)
from aam.corpus.likeness import warn_of_alike_ids
from aam.corpus.lineup import LinedTable, Lineup, compare_tables, read_lined_table
from aam.corpus.prepare import find_common_window
from aam.corpus.prepared import open_prepared
from aam.corpus.samples import OF_ASVS
from aam.corpus.store import CORPUS_MANIFEST
from aam.errors import ConfigError, MetadataError
from aam.io.metadata import Metadata, refuse_unmatched, select_column
from aam.io.table import STORED_ZEROS, Table
from aam.text import name_few, quote

STUDY = "study"
"""Column of the study of each sample in joined metadata that have no other column of this name."""
FILES_NAMED = 2
"""Files of metadata that a message names of several."""


@dataclass(frozen=True)
class JoinedStudies:
    """The samples of one table or several, with their metadata; `studies` has the study of each, None for one study.

    `names` are the studies in order, also those without samples in use; `files` the input files by option and study.
    """

    table: Table
    lineup: Lineup
    metadata: Metadata
    files: dict[str, Path]
    studies: Mapping[str, str] | None = None
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def resolve_studies(data: StudiesConfig) -> StudiesConfig:
    """The data options with the files of --example; raises ConfigError for options that do not go together."""
    if data.corpus is not None:
        for name in ("table", "sequences", "example"):
            if getattr(data, name):
                raise ConfigError(f"found both --corpus and {option_flag(name)}, expected one of them")
        if data.trim != DataConfig.trim:
            raise ConfigError("--trim trims tables, and --corpus has its reads trimmed: give it to `aam prepare`")
    if data.example:
        if data.table:
            raise ConfigError("found both --example and --table, expected one of them")
        found = datasets.example()
        tree = None if data.unifrac_matrix is not None else data.tree or found.tree
        metadata = data.metadata or (found.metadata,)
        data = replace(data, table=(found.table,), tree=tree, metadata=metadata, example=False)
    if not data.table and data.corpus is None:
        raise ConfigError("no feature table; give --table FILE, or --example for the embedded one")
    if not data.metadata:
        raise ConfigError("no metadata; give --metadata FILE, the table whose column --target names")
    return data


def open_studies(data: StudiesConfig) -> JoinedStudies:
    """Read and join tables and metadata; raises an InputError for files that do not fit together."""
    data = resolve_studies(data)
    if data.corpus is not None:
        found = open_corpus_studies(data, data.corpus)
    elif len(data.table) > 1:
        found = join_tables(data)
    else:
        found = open_table(data)
    files = {name: path for name in ("tree", "unifrac_matrix", "validation_samples") if (path := getattr(data, name))}
    found = replace(found, files=found.files | files)
    return found if data.study_column is None else by_column(found, data.study_column)


def open_table(data: StudiesConfig) -> JoinedStudies:
    """A single table and its metadata."""
    refuse_unpaired(1, {"sequences": data.sequences, "metadata": data.metadata})
    (own,), (path,) = data.each(), data.metadata
    table, lineup = read_lined_table(own, data.table[0])
    files = {"table": data.table[0], "metadata": path} | named_files("sequences", data.sequences, ())
    metadata = Metadata.read(path)
    doubts = warn_of_alike_ids(table.sample_ids, metadata.frame.index)
    return JoinedStudies(table, lineup, metadata._replace(doubts=tuple(doubts)), files)


def open_corpus_studies(data: StudiesConfig, folder: Path) -> JoinedStudies:
    """The samples of a prepared corpus, with metadata for each of its studies, or one file for all."""
    opened = open_prepared(folder, data.max_bp, data.positions)
    names, count = opened.names, len(opened.names)
    if len(data.metadata) not in (1, count):
        raise ConfigError(
            f"found {len(data.metadata)} times --metadata and {count} studies in --corpus {folder}, expected it once "
            f"for all or {count} times, in this order: {', '.join(names)}"
        )
    owners = [names[number] for number in opened.study.tolist()]
    studies = dict(zip(opened.table.sample_ids, owners, strict=True))
    files = {"corpus": folder / CORPUS_MANIFEST} | named_files("metadata", data.metadata, names)
    metadata = join_metadata(data.metadata, names, studies)
    if count == 1:
        return JoinedStudies(opened.table, opened.lineup, metadata, files)
    return JoinedStudies(opened.table, opened.lineup, metadata, files, studies, names)


def named_files(option: str, paths: Sequence[Path], names: Sequence[str]) -> dict[str, Path]:
    """The files of an option by the name of the option, or, if each study has one, by option and study."""
    if len(paths) < 2:
        return {option: paths[0]} if paths else {}
    return {f"{option} of {name}": path for name, path in zip(names, paths, strict=True)}


def join_tables(data: StudiesConfig) -> JoinedStudies:
    """The tables of several studies as one, with their metadata."""
    sources = pair_files(data.table, {"sequences": data.sequences, "metadata": data.metadata})
    names = tuple(source.name for source in sources)
    if data.trim == "auto" and not data.reads:
        data = replace(data, trim=find_common_window(sources, data.orient))
    lined = [read_lined_table(own, source.files["table"]) for own, source in zip(data.each(), sources, strict=True)]
    notes: list[str] = []
    table = stack_tables(sources, [found.table for found in lined], notes)
    owners = [name for name, found in zip(names, lined, strict=True) for _ in found.table.sample_ids]
    studies = dict(zip(table.sample_ids, owners, strict=True))
    files = {
        key: path
        for option in ("table", "sequences", "metadata")
        for key, path in named_files(option, getattr(data, option), names).items()
    }
    metadata = join_metadata(data.metadata, names, studies)
    return JoinedStudies(table, join_lineups(names, lined), metadata, files, studies, names, tuple(notes))


def stack_tables(sources: Sequence[StudyFiles], tables: Sequence[Table], notes: list[str]) -> Table:
    """One table of the samples of all [samples, ASVs]; an ASV's id is its sequence. `notes` gets what was renamed."""
    names = [source.name for source in sources]
    columns = number_sequences([text for table in tables for text in table.sequences])
    first = np.unique(columns, return_index=True)[1]
    blocks, start = [], 0
    for table in tables:
        own, counts = columns[start : start + len(table.sequences)], table.counts
        parts = (counts.data, own[counts.indices], counts.indptr)
        blocks.append(sparse.csr_array(parts, shape=(counts.shape[0], len(first))))
        start += len(own)
    stored = sparse.csr_array(sparse.vstack(blocks, format="csr"))
    stored.sum_duplicates()  # sorts too; a sequence may have several ids in one table
    ids = [text for table in tables for text in table.sample_ids]
    owners = [name for name, table in zip(names, tables, strict=True) for _ in table.sample_ids]
    lost = [
        (reason, text, name)
        for name, table in zip(names, tables, strict=True)
        for reason, gone in table.dropped.items()
        for text in gone
        if reason not in {*OF_ASVS, STORED_ZEROS}
    ]
    every, of_all = [*ids, *(text for _, text, _ in lost)], [*owners, *(name for *_, name in lost)]
    twice = find_repeated(every)
    refuse_duplicate_samples(
        RowsOf(stored.indptr, stored.indices, stored.data), ids, twice, owners, "give each sample once"
    )
    naming = make_names_unique(every, of_all, twice, notes.append)
    sequences = [text for table in tables for text in table.sequences]
    originals = [text for table in tables for text in table.originals or table.sequences]
    joined = Table(
        stored,
        [naming(text, name) for text, name in zip(ids, owners, strict=True)],
        [sequences[place] for place in first],
        [sequences[place] for place in first],
        tables[0].source,
        join_dropped(names, tables, naming),
        originals=None if originals == sequences else [originals[place] for place in first],
    )
    return order_asvs(joined)


def join_dropped(names: Sequence[str], tables: Sequence[Table], naming: Naming) -> dict[str, list[str]]:
    """The ids that the tables have left out, by reason; samples by their joined names."""
    dropped: dict[str, list[str]] = {}
    for name, table in zip(names, tables, strict=True):
        for reason, ids in table.dropped.items():
            own = ids if reason in OF_ASVS else [naming(text, name) for text in ids]
            dropped.setdefault(reason, []).extend(own)
    return dropped


def join_lineups(names: Sequence[str], lined: Sequence[LinedTable]) -> Lineup:
    """How the reads of all tables lie; warns if they differ."""
    each = [found.lineup for found in lined]
    first = [lineup.records[0] if lineup.records else None for lineup in each]
    return Lineup(
        tuple(record for lineup in each for record in lineup.records),
        next((lineup.window for lineup in each if lineup.window is not None), None),
        tuple(f"{name}: {note}" for name, lineup in zip(names, each, strict=True) for note in lineup.notes),
        (*(doubt for lineup in each for doubt in lineup.doubts), *compare_tables(names, first)),
    )


def join_metadata(paths: Sequence[Path], names: Sequence[str], studies: Mapping[str, str]) -> Metadata:
    """The metadata of all samples, `studies` by sample id, from one file for all or from a file for each study.

    Columns are joined by name; a column that a study lacks is missing there. In files for each study, ids are those of
    its table. The column `STUDY` is added where the files have none.
    """
    if len(paths) == 1:
        frame, source, entries, types, _ = Metadata.read(paths[0])
        doubts = warn_of_alike_ids(list(studies), frame.index)
    else:
        frames, entries, types, doubts = [], 0, dict[str, str](), list[str]()
        for name, path in zip(names, paths, strict=True):
            own = {sample for sample, study in studies.items() if study == name}
            found, _, rows, own_types, _ = Metadata.read(path)
            entries, types = entries + rows, {**types, **own_types}
            joined = {text: f"{name}.{text}" for text in found.index if text not in own}
            found = found.rename(index={text: there for text, there in joined.items() if there in own})
            if (twice := found.index[found.index.duplicated()]).size:
                raise MetadataError(
                    f"{path}: {quote(twice[0])} and {quote(twice[0].removeprefix(f'{name}.'))} are one sample, since "
                    "several tables have the shorter name; give each sample once"
                )
            refuse_unmatched(found, [sample for sample in studies if sample in own], path)
            doubts += warn_of_alike_ids([sample for sample in studies if sample in own], found.index)
            frames.append(found[found.index.isin(own)])
        frame = pd.concat(frames, join="outer")
        source = name_few([str(path) for path in paths], FILES_NAMED)
    if len(names) > 1 and STUDY not in frame.columns:
        frame = frame.assign(**{STUDY: [studies.get(sample) for sample in frame.index]})
    return Metadata(frame, source, entries, types, tuple(doubts))


def by_column(found: JoinedStudies, column: str) -> JoinedStudies:
    """The samples with the study that a column of the metadata names; a sample without one is in no study."""
    known = set(found.table.sample_ids)
    values = select_column(found.metadata.frame, column, found.metadata.source).dropna()
    studies = {str(sample): str(study) for sample, study in values.items() if sample in known}
    return replace(found, studies=studies, names=tuple(dict.fromkeys(studies.values())))
