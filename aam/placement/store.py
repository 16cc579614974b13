"""The folder of a reference: compressed, checksummed files, and a cache of arrays that is made from them once.

    reference.json        format, versions, columns, counts, sources, and the SHA-256 of each file below
    alignment.txt.xz      one line per tip, in the order of the tree: its bases on the columns, '-' for none
    tree.nwk.xz           the tree
    taxonomy.tsv.xz       id and lineage of each tip, in the order of the tree, if there is a taxonomy
    left-out.tsv          what was given and is not in the reference, with the reason
    cache/                what `open_reference` maps; it may be removed at any time

What `aam.placement.learn` learns lies beside them, under its own checksum.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aam import __version__
from aam.atomic import read_json, replace_file, write_json
from aam.encoders import remedy_for
from aam.errors import ReferenceFolderError, error_text
from aam.gene.profile import BASES, NO_BASE, PROFILE_NAME
from aam.io.files import digest
from aam.phylogeny.newick import quote_name
from aam.phylogeny.tree import parse_tree
from aam.placement.cache import cached
from aam.placement.reference import Reference
from aam.placement.threads import map_in_threads
from aam.text import one_line

RECORD = "reference.json"
FORMAT = "aam reference 1"
"""Counts up when older code can no longer read what is written."""
ALIGNMENT, TREE, TAXONOMY, LEFT_OUT = "alignment.txt.xz", "tree.nwk.xz", "taxonomy.tsv.xz", "left-out.tsv"
KEYS = {"format", "version", "profile", "first", "last", "region", "counts", "left_out", "sources", "files"}
"""What every record has."""
LETTERS = np.frombuffer(f"{BASES}-".encode(), np.uint8)
"""Letter of each code."""
ROWS_AT_ONCE = 1 << 14
"""Tips that are compressed as one piece: pieces are compressed on all cores."""
COMPRESSORS = 8
"""Most threads that compress: each takes about 150 MB."""
REMEDY = "fetch it again, or remove the folder and run `aam reference` again"


def write_reference(
    folder: Path, reference: Reference, rows: NDArray[np.uint8], about: dict[str, Any], threads: int
) -> None:
    """Write the files of a reference whose codes are `rows` [R, C]; `reference.codes` is not read.

    `about` has the values of the record that are not found here: region, counts, left_out, sources. The record is
    written last: a folder without it is unfinished.
    """
    tree = reference.tree
    write_pieces(folder / ALIGNMENT, lines_of(rows), threads)
    names = [quote_name(name) for name in tree.tip_names]
    write_pieces(folder / TREE, iter([tree.to_newick(names).encode()]), 1)
    files = [ALIGNMENT, TREE, LEFT_OUT]
    if reference.lineages is not None:
        pairs = zip(tree.tip_names, reference.lineages, strict=True)
        text = "".join(f"{name}\t{lineage}\n" for name, lineage in pairs)
        write_pieces(folder / TAXONOMY, iter([text.encode()]), 1)
        files.append(TAXONOMY)
    record = {
        "format": FORMAT, "version": __version__, "profile": PROFILE_NAME, "first": reference.first,
        "last": reference.first + rows.shape[1] - 1, **about,
        "files": {name: {"bytes": (folder / name).stat().st_size, "sha256": digest(folder / name)} for name in files},
    }  # fmt: skip
    write_json(folder / RECORD, record)


def lines_of(rows: NDArray[np.uint8]) -> Iterator[bytes]:
    """Pieces of the text of codes [R, C]: a line of letters per row."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        codes = rows[start : start + ROWS_AT_ONCE]
        text = np.full((len(codes), codes.shape[1] + 1), ord("\n"), np.uint8)
        text[:, :-1] = LETTERS[codes]
        yield text.tobytes()


def write_pieces(path: Path, pieces: Iterator[bytes], threads: int) -> None:
    """Compress pieces one by one, several at a time, into one .xz file."""
    with (
        replace_file(path) as partial,
        partial.open("wb") as handle,
        map_in_threads(lzma.compress, pieces, min(threads, COMPRESSORS)) as packed,
    ):
        handle.writelines(packed)


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record of a folder; None if there is none. Raises `ReferenceFolderError` for a record of another format."""
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        record = read_json(path)
        kind, profile = record["format"], record.get("profile")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as fault:
        raise ReferenceFolderError(
            f"{path} is no record of a reference ({error_text(fault)}); {remedy_for(folder, REMEDY)}"
        ) from fault
    for what, found, expected in (("of format", kind, FORMAT), ("on the columns of profile", profile, PROFILE_NAME)):
        if found != expected:
            raise ReferenceFolderError(
                f"{path} is {what} {found!r}, expected {expected!r} (aam {__version__}); run `aam reference` of this "
                "version again, into another folder"
            )
    if absent := KEYS - record.keys():
        raise ReferenceFolderError(f"{path} lacks {', '.join(sorted(absent))}; {remedy_for(folder, REMEDY)}")
    return record


def open_reference(folder: Path | str) -> Reference:
    """The reference in a folder; its codes are mapped, so opening takes a fraction of a second and little memory.

    The first call decompresses the files after comparing their checksums, and writes the cache: into the folder or, if
    it cannot be written to, into the cache folder of the user. Raises `ReferenceFolderError` for anything else than a
    complete reference of this version.
    """
    folder = Path(folder)
    record = read_record(folder)
    if record is None:
        raise ReferenceFolderError(
            f"{folder} is no finished reference ({RECORD} is missing); make one with `aam reference`, which also goes "
            "on where it was stopped"
        )
    return cached(folder, digest(folder / RECORD), lambda: unpack(folder, record))


def unpack(folder: Path, record: dict[str, Any]) -> Reference:
    """Read the files of a reference after comparing their checksums with the record."""
    for name, known in record["files"].items():
        path = folder / name
        if not path.exists():
            raise ReferenceFolderError(f"{path} is missing; {remedy_for(folder, REMEDY)}")
        if (found := digest(path)) != known["sha256"]:
            raise ReferenceFolderError(
                f"{path} has SHA-256 {found[:12]}…, expected {known['sha256'][:12]}…: it has changed since it was "
                f"written; {remedy_for(folder, REMEDY)}"
            )
    try:
        tree = parse_tree(lzma.decompress((folder / TREE).read_bytes()), str(folder / TREE), any_root=True)
        tips, columns = len(tree.tip_names), record["last"] - record["first"] + 1
        codes = read_codes(folder / ALIGNMENT, tips, columns)
        lineages = read_lineages(folder / TAXONOMY, tree.tip_names) if TAXONOMY in record["files"] else None
    except (lzma.LZMAError, EOFError, ValueError, TypeError) as fault:
        raise ReferenceFolderError(
            f"{folder} holds files that do not fit ({one_line(fault)}); {remedy_for(folder, REMEDY)}"
        ) from fault
    return Reference(tree, codes, record["first"], lineages)


def read_codes(path: Path, tips: int, columns: int) -> NDArray[np.uint8]:
    """Codes [columns, tips] of an alignment; ValueError for another number of lines or letters."""
    code_of = np.full(256, NO_BASE, np.uint8)
    code_of[LETTERS] = range(len(LETTERS))
    codes = np.empty((columns, tips), np.uint8)
    with lzma.open(path) as handle:
        for start in range(0, tips, ROWS_AT_ONCE):
            stop = min(start + ROWS_AT_ONCE, tips)
            text = np.frombuffer(handle.read((stop - start) * (columns + 1)), np.uint8)
            codes[:, start:stop] = code_of[text.reshape(stop - start, columns + 1)[:, :-1].T]
        if handle.read(1):
            raise ValueError(f"{path.name} has more than {tips:,} lines")
    return codes


def read_lineages(path: Path, names: Sequence[str]) -> list[str]:
    """Lineages of tips; ValueError if the file has others."""
    pairs = [line.partition("\t")[::2] for line in lzma.decompress(path.read_bytes()).decode().split("\n")[:-1]]
    if [name for name, _ in pairs] != list(names):
        raise ValueError(f"{path.name} has other tips than the tree")
    return [lineage for _, lineage in pairs]
