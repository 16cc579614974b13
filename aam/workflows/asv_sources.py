"""ASVs and their sequences, of files or of the objects of a notebook."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence, Sized
from io import IOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from aam.config import DataConfig, path_of
from aam.corpus.samples import resolve_inputs
from aam.errors import ConfigError, SequenceError
from aam.io.files import check_file
from aam.io.ids import MAX_FEATURE_ID, check_ids
from aam.io.kinds import sniff
from aam.io.sequences import plain_sequences, read_asvs, sequences_of
from aam.io.table import read_table
from aam.observer import Observer
from aam.text import counted, quote
from aam.workflows.notes import say_dropped

if TYPE_CHECKING:
    import biom
    import pandas as pd

    AsvSource: TypeAlias = str | os.PathLike[str] | pd.DataFrame | biom.Table | Mapping[str, str] | Iterable[str]


class Asvs(NamedTuple):
    """Sequences to place, upper-case DNA, with their ids; `source` names them in messages."""

    ids: Sequence[str]
    sequences: Sequence[str]
    source: str


def read_inputs(data: DataConfig, observer: Observer) -> Asvs:
    """The ASVs of a table, or of a file of sequences alone; raises an InputError for unusable files."""
    if data.table is None and not data.example and data.sequences is not None:
        return Asvs(*split(read_asvs(data.sequences)), str(data.sequences))
    data, files = resolve_inputs(data)
    table = read_table(files["table"], data.sequences)
    say_dropped(table.dropped, observer)
    if same := len(table.sequences) - len(set(table.sequences)):
        observer.say(f"{counted(same, 'ASVs')} with the DNA of another one: each id keeps its place")
    return Asvs(table.asv_ids, table.sequences, str(table.source))


def asvs_of(
    source: AsvSource | None, sequences: Mapping[str, str] | str | os.PathLike[str] | None, observer: Observer
) -> Asvs:
    """The ASVs of a table (a file, a DataFrame with an ASV per column, a `biom.Table`), or of sequences alone.

    Those are a FASTA file, a mapping from ids, or texts, which are then the ids too. `sequences` has the DNA of a
    table whose ids are not DNA: a file or a mapping. Raises an InputError for anything unusable.
    """
    if source is None and isinstance(sequences, Mapping):
        source, sequences = sequences, None
    if source is None or isinstance(source, str | os.PathLike):
        table = None if source is None else path_of("table", source)
        if isinstance(sequences, Mapping):
            raise ConfigError("sequences is a mapping beside a table file; give the file of the sequences")
        fasta = None if sequences is None else path_of("sequences", sequences)
        if table is not None and fasta is None and is_fasta(table):
            table, fasta = None, table
        return read_inputs(DataConfig(table=table, sequences=fasta), observer)
    if isinstance(source, Mapping):
        return checked(list(source), list(source.values()), "the mapping of sequences")
    ids = names_of(source)
    if isinstance(sequences, Mapping):
        if missing := [name for name in ids if name not in sequences]:
            raise SequenceError(
                f"sequences lacks {len(missing):,} of {len(ids):,} ASVs of the table, first {quote(missing[0])}; give "
                "the DNA of each"
            )
        return checked(ids, [sequences[name] for name in ids], "sequences")
    where = "the ASVs of the table"
    check_ids(ids, "id", where, SequenceError, MAX_FEATURE_ID)
    return Asvs(ids, sequences_of(ids, None if sequences is None else path_of("sequences", sequences), where), where)


def names_of(source: Any) -> list[str]:
    """Ids of the ASVs of a table object, or texts without repetitions."""
    import pandas as pd
    from biom import Table

    if isinstance(source, Table):
        return [str(name) for name in source.ids(axis="observation")]
    if isinstance(source, pd.DataFrame):
        if source.columns.nlevels > 1:
            raise SequenceError(
                f"the columns of the DataFrame have {source.columns.nlevels} levels, expected one with the DNA or the "
                "ids of ASVs; give that level alone, as frame.columns.get_level_values"
            )
        if (unnamed := source.columns.isna()).any():
            raise SequenceError(
                f"column {int(unnamed.argmax()) + 1} of the DataFrame has no name, expected the DNA or the id of an "
                "ASV; name it, or remove it"
            )
        return [str(name) for name in source.columns]
    texts = list(source) if isinstance(source, Iterable) and not isinstance(source, IOBase) else []
    if not texts or not all(isinstance(text, str) for text in texts):
        empty = "an empty " if isinstance(source, Sized) and not len(source) else ""
        raise ConfigError(f"found {empty}{type(source).__name__}, expected a table, a FASTA file or sequences as text")
    return list(dict.fromkeys(texts))


def checked(ids: Sequence[str], sequences: Sequence[str], name: str) -> Asvs:
    """ASVs of these ids and sequences; raises `SequenceError` for unusable ones."""
    texts = [str(text) for text in ids]
    check_ids(texts, "id", name, SequenceError, MAX_FEATURE_ID)
    for text, sequence in zip(texts, sequences, strict=True):
        if not isinstance(sequence, str):
            raise SequenceError(f"{name}: that of {quote(text)} is {type(sequence).__name__}, expected DNA as text")
    return Asvs(texts, plain_sequences(dict(zip(texts, sequences, strict=True)), Path(name)), name)


def split(records: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Ids and sequences of records."""
    return list(records), list(records.values())


def is_fasta(path: Path) -> bool:
    """Whether a file is FASTA text, not a table; raises an InputError for a file that cannot be read."""
    check_file(path, "--table", ConfigError)
    return sniff(path) == "fasta"
