"""Whole sequences put on the columns of the gene, in parts on disk, so that stopped work goes on where it was.

parts/inputs.json     what the parts are made from
parts/000000.npz      `codes` uint8 [n, W] of sequences 0 to n - 1 and their `strand` int8 [n], as `Reads` has them
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.atomic import read_json, remove_partial_files, replace_file, write_json
from aam.errors import ReferenceFolderError
from aam.gene.profile import PROFILE_NAME, Profile
from aam.gene.reads import lay
from aam.io.output import write_through_memory
from aam.observer import Progress
from aam.placement.threads import map_in_threads
from aam.text import one_line

PARTS, INPUTS = "parts", "inputs.json"
PER_PART = 100
"""Sequences of one part: some seconds of one core for whole genes."""


class Part(NamedTuple):
    """Codes uint8 [n, W] of n sequences that follow one another, and their strand int8 [n]: 1, -1, 0 for no 16S."""

    codes: NDArray[np.uint8]
    strand: NDArray[np.int8]


def begin_parts(folder: Path, inputs: dict[str, str]) -> None:
    """Make the folder of the parts, or check that those in it are made from the same `inputs` (digests by option)."""
    parts, wanted = folder / PARTS, {"profile": PROFILE_NAME, "per_part": str(PER_PART), **inputs}
    parts.mkdir(exist_ok=True)
    remove_partial_files(parts)
    if not (parts / INPUTS).exists():
        write_json(parts / INPUTS, wanted)
        return
    try:
        found = read_json(parts / INPUTS)
    except (OSError, ValueError) as fault:
        raise ReferenceFolderError(f"{parts / INPUTS} is damaged ({one_line(fault)}); remove {folder}") from fault
    if other := [name for name in wanted if found.get(name) != wanted[name]]:
        raise ReferenceFolderError(
            f"--output {folder} has begun with another {' and '.join(other)}; give the same files again to go on, or "
            "another folder"
        )


def has_parts(folder: Path) -> bool:
    """Whether work was begun in a folder."""
    return (folder / PARTS / INPUTS).exists()


def remove_parts(folder: Path) -> None:
    """Remove the parts, which are no longer needed."""
    shutil.rmtree(folder / PARTS, ignore_errors=True)


def part_path(folder: Path, number: int) -> Path:
    """The file of part `number`, from 0."""
    return folder / PARTS / f"{number:06d}.npz"


def align_parts(
    folder: Path, sequences: Iterator[str], gene: Profile, threads: int, progress: Progress, total: int
) -> None:
    """Write the parts of upper-case DNA that are not there yet; `total` is the number of sequences."""

    def align(numbered: tuple[int, Sequence[str]]) -> int:
        number, texts = numbered
        if not (path := part_path(folder, number)).exists():
            align_part(path, texts, gene)
        return len(texts)

    done = 0
    pieces = iter(lambda: list(islice(sequences, PER_PART)), [])
    with map_in_threads(align, enumerate(pieces), threads) as counts:
        for count in counts:
            done += count
            progress(done, total)


def align_part(path: Path, texts: Sequence[str], gene: Profile) -> None:
    """Put sequences on the columns, each on the strand that fits, and write them."""
    reads = lay(gene, texts)
    with replace_file(path) as partial, write_through_memory(partial) as handle:
        np.savez(handle, codes=reads.codes, strand=reads.strand)


def read_part(folder: Path, number: int) -> Part:
    """Read a part; raises `ReferenceFolderError` for a damaged one."""
    path = part_path(folder, number)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Part(arrays["codes"], arrays["strand"])
    except (OSError, ValueError, KeyError, EOFError) as fault:
        raise ReferenceFolderError(
            f"{path} is damaged ({one_line(fault)}); remove it and run the same command again"
        ) from fault
