"""The studies of a corpus: which tree and sequences belong to which table, and whether the files have changed since."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aam.config import PrepareConfig, flag, to_dict
from aam.corpus.store import FORMAT, read_manifest, write_manifest
from aam.errors import ConfigError, CorpusError, InputError, SequenceError, TableError, TreeError
from aam.io.files import LOCK, check_file, digest

OPTION_ERRORS: dict[str, type[InputError]] = {"table": TableError, "tree": TreeError, "sequences": SequenceError}


@dataclass(frozen=True)
class StudyFiles:
    """One study: its name, its files by option, and the SHA-256 of each."""

    name: str
    files: dict[str, Path]
    sha256: dict[str, str]


def list_sources(config: PrepareConfig) -> list[StudyFiles]:
    """The studies in the order of their tables; raises `ConfigError` where the options do not go together."""
    for name, what in (("table", "feature table"), ("tree", "rooted phylogeny")):
        if not getattr(config, name):
            raise ConfigError(f"no {what}; give {flag(name)} FILE, once for each study")
    count = len(config.table)
    for name in ("tree", "sequences"):
        given = len(getattr(config, name))
        if given not in (0, 1, count):
            raise ConfigError(
                f"found {count} times --table and {given} times {flag(name)}, expected {flag(name)} once for all "
                f"tables or {count} times, in the order of the tables"
            )
    sources, known = [], dict[Path, str]()
    for number, name in enumerate(study_names(config.table)):
        files = {"table": config.table[number]}
        for option in ("tree", "sequences"):
            if paths := getattr(config, option):
                files[option] = paths[number] if len(paths) > 1 else paths[0]
        for option, path in files.items():
            if path not in known:
                check_file(path, flag(option), OPTION_ERRORS[option])
                known[path] = digest(path)
        sources.append(StudyFiles(name, files, {option: known[path] for option, path in files.items()}))
    refuse_repeated(sources)
    return sources


def study_names(tables: Sequence[Path]) -> list[str]:
    """A name for each table: its file name without the ending; the folder's where tables are named alike."""
    for names in ([path.stem for path in tables], [path.resolve().parent.name for path in tables]):
        if len(set(names)) == len(names):
            return names
    return [f"{path.stem}-{number}" for number, path in enumerate(tables, 1)]


def refuse_repeated(sources: Sequence[StudyFiles]) -> None:
    """Raise `ConfigError` where two tables have the same content."""
    times = Counter(source.sha256["table"] for source in sources)
    twice = [str(source.files["table"]) for source in sources if times[source.sha256["table"]] > 1]
    if twice:
        raise ConfigError(f"--table {twice[0]} and --table {twice[1]} are the same table; give each study once")


def begin_manifest(config: PrepareConfig, sources: Sequence[StudyFiles], folder: Path) -> dict[str, Any]:
    """The manifest of `folder`, which exists: a new one, or the one there if it has these files and options.

    Raises `CorpusError` where the folder holds anything else or a file has changed.
    """
    fresh = {
        "format": FORMAT,
        "complete": False,
        "config": {name: value for name, value in to_dict(config).items() if name in ("max_bp", "max_missing")},
        "sources": [
            {option: {"path": str(path), "sha256": source.sha256[option]} for option, path in source.files.items()}
            | {"name": source.name}
            for source in sources
        ],
        "parts": [],
    }
    found = read_manifest(folder)
    if found is None:
        if any(path.name != LOCK for path in folder.iterdir()):
            raise CorpusError(f"--output {folder} is a folder with other files in it; give a new one")
        write_manifest(folder, fresh)
        return fresh
    refuse_other(found, fresh, folder)
    return found


def refuse_other(found: dict[str, Any], fresh: dict[str, Any], folder: Path) -> None:
    """Raise `CorpusError` unless two manifests are of the same files and options."""
    for name, value in fresh["config"].items():
        if found["config"][name] != value:
            raise CorpusError(
                f"{flag(name)} is {value}, but {folder} was begun with {found['config'][name]}; give the same value, "
                "or another --output"
            )
    if len(found["sources"]) != len(fresh["sources"]):
        raise CorpusError(
            f"{folder} was begun with {len(found['sources'])} tables, now there are {len(fresh['sources'])}; give the "
            "same tables, or another --output"
        )
    for before, now in zip(found["sources"], fresh["sources"], strict=True):
        for option in OPTION_ERRORS:
            old, new = before.get(option), now.get(option)
            if (old and old["sha256"]) != (new and new["sha256"]):
                path = new["path"] if new else old["path"]
                raise CorpusError(
                    f"{flag(option)} {path} is not the file that {folder} was begun with; restore it, or give another "
                    "--output"
                )
