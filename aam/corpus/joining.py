"""Rules by which studies are joined, on disk (`aam prepare`) and in memory: files in pairs, names, ids of samples."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.config import option_flag
from aam.errors import ConfigError, CorpusError, InputError, MetadataError, SequenceError, TableError, TreeError
from aam.io.files import check_file, digest
from aam.text import quote

Naming = Callable[[str, str], str]
"""(id in a table, name of its study) -> id in the corpus."""
ERRORS: dict[str, type[InputError]] = {
    "table": TableError, "tree": TreeError, "sequences": SequenceError, "metadata": MetadataError
}  # fmt: skip
"""Errors of the files of a study, by option."""


@dataclass(frozen=True)
class StudyFiles:
    """One study: its name, its files by option, and the SHA-256 of each."""

    name: str
    files: dict[str, Path]
    sha256: dict[str, str]

    def record(self) -> dict[str, Any]:
        """The entry of the manifest."""
        files = {option: {"path": str(path), "sha256": self.sha256[option]} for option, path in self.files.items()}
        return files | {"name": self.name}


def pair_files(tables: Sequence[Path], beside: Mapping[str, Sequence[Path]]) -> list[StudyFiles]:
    """The studies of these tables, each with its file of every option in `beside`, which has one for all or for each.

    Raises `ConfigError` for another number of files, and for a table that is given twice.
    """
    refuse_unpaired(len(tables), beside)
    sources, known = [], dict[Path, str]()
    for number, name in enumerate(study_names(tables)):
        files = {"table": tables[number]}
        for option, paths in beside.items():
            if paths:
                files[option] = paths[number] if len(paths) > 1 else paths[0]
        for option, path in files.items():
            if path not in known:
                check_file(path, option_flag(option), ERRORS[option])
                known[path] = digest(path)
        sources.append(StudyFiles(name, files, {option: known[path] for option, path in files.items()}))
    refuse_repeated_tables(sources)
    return sources


def refuse_unpaired(count: int, beside: Mapping[str, Sequence[Path]]) -> None:
    """Raise `ConfigError` for an option with another number of files than none, one, or one for each table."""
    for name, given in beside.items():
        if len(given) not in (0, 1, count):
            raise ConfigError(
                f"found {count} times --table and {len(given)} times {option_flag(name)}, expected {option_flag(name)} "
                f"once for all tables or {count} times, in the order of the tables"
            )


def study_names(tables: Sequence[Path]) -> list[str]:
    """Name of each study: the file name of its table without suffix, or the folder name if file names repeat."""
    for names in ([path.stem for path in tables], [path.resolve().parent.name for path in tables]):
        if len(set(names)) == len(names):
            return names
    return [f"{path.stem}-{number}" for number, path in enumerate(tables, 1)]


def refuse_repeated_tables(sources: Sequence[StudyFiles]) -> None:
    """Raise `ConfigError` if two tables have the same content."""
    times = Counter(source.sha256["table"] for source in sources)
    twice = [str(source.files["table"]) for source in sources if times[source.sha256["table"]] > 1]
    if twice:
        raise ConfigError(f"--table {twice[0]} and --table {twice[1]} are the same table; give each study once")


class RowsOf(NamedTuple):
    """Counts of samples as rows of a CSR matrix: `indptr` [samples + 1], sorted `indices` [n], `data` [n]."""

    indptr: NDArray[np.integer]
    indices: NDArray[np.integer]
    data: NDArray[np.integer]


def refuse_duplicate_samples(
    counts: RowsOf, ids: Sequence[str], twice: set[str], owners: Sequence[str], remedy: str
) -> None:
    """Raise `CorpusError` if tables share a sample (id and counts): it could be in training and held out.

    `ids` [samples] are those in the tables, `twice` those that repeat.
    """
    first: dict[tuple[str, bytes], int] = {}
    doubles = []
    for row, text in enumerate(ids):
        if text in twice:
            own = slice(*counts.indptr[row : row + 2])
            content = hashlib.blake2b(counts.indices[own].tobytes() + counts.data[own].tobytes(), digest_size=16)
            if first.setdefault((text, content.digest()), row) != row:
                doubles.append((first[text, content.digest()], row))
    if doubles:
        before, row = doubles[0]
        raise CorpusError(
            f"tables {owners[before]} and {owners[row]} have the same sample {quote(ids[row])} with the same counts, "
            f"one of {len(doubles):,} in two tables; {remedy}"
        )


def make_names_unique(ids: Sequence[str], owners: Sequence[str], twice: set[str], say: Callable[[str], None]) -> Naming:
    """The names of samples whose ids [n] are in the tables of the studies `owners` [n], some of them `twice`.

    An id that several studies have is prefixed with the name of each. Raises `CorpusError` if ids still repeat.
    """

    def naming(text: str, owner: str) -> str:
        return f"{owner}.{text}" if text in twice else text

    if twice:
        text, owner = next(pair for pair in zip(ids, owners, strict=True) if pair[0] in twice)
        say(
            f"{len(twice):,} sample ids occur in several tables and begin with the table's name now, e.g. "
            f"{quote(text)} is {quote(naming(text, owner))}"
        )
        if again := find_repeated([naming(text, owner) for text, owner in zip(ids, owners, strict=True)]):
            raise CorpusError(f"sample id {quote(min(again))} occurs twice with the table's name; rename the sample")
    return naming


def find_repeated(ids: Sequence[str]) -> set[str]:
    """The ids that occur more than once."""
    return {one for one, other in pairwise(sorted(ids)) if one == other}
