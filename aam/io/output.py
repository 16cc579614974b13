"""Files of output: written whole or not at all, and never over another file."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np

from aam.atomic import partial_of, whole_file
from aam.errors import ConfigError
from aam.io.files import refuse_inside, refuse_unwritable
from aam.io.ids import SAMPLE_ID

MATRIX_SUFFIXES = (".tsv", ".h5", ".npy")
VECTOR_SUFFIXES = (".tsv",)


def check_output(path: Path, suffixes: Sequence[str]) -> None:
    """Raise `ConfigError` before any work is done for a file that is there, has no folder or no known kind of name."""
    if path.suffix not in suffixes:
        raise ConfigError(f"--output {path}: found the ending {path.suffix!r}, expected {' or '.join(suffixes)}")
    if not path.parent.is_dir():
        raise ConfigError(f"--output {path}: the folder {path.parent} does not exist; make it first")
    refuse_unwritable(path.parent, "--output", ConfigError)
    partial_of(path).exists()  # the system refuses names that are too long here, and not once all is done
    for file in [path, *companions(path)]:
        refuse_existing(file)
    refuse_inside(path.parent, "--output")


def companions(path: Path) -> list[Path]:
    """The further files that are written with a matrix: the ids of a .npy."""
    from aam.io.matrix import ids_path

    return [ids_path(path)] if path.suffix == ".npy" else []


def refuse_existing(path: Path) -> None:
    """Raise `ConfigError` for a path that leads to something."""
    if os.path.lexists(path):
        raise ConfigError(f"--output {path}: the file exists and is not overwritten; remove it or give another name")


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A path in the same folder to write to: after the block the file takes the name `path`, after an error it goes.

    Raises `ConfigError` where `path` has come to exist meanwhile.
    """
    with whole_file(path) as partial:
        yield partial
        refuse_existing(path)


@contextmanager
def through_memory(path: Path) -> Iterator[BytesIO]:
    """A file in memory for a library to write, which after the block is written to `path` as a whole.

    On a full disk HDF5 loses data in silence or crashes, torch ends the process and numpy does not say why.
    """
    memory = BytesIO()
    yield memory
    path.write_bytes(memory.getbuffer())


def shell_path(path: Path) -> str:
    """A path as an argument that a shell and a command line read as one."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def write_matrix(path: Path, ids: Sequence[str], values: np.ndarray) -> None:
    """Write distances [n, n]: text as scikit-bio does (.tsv), HDF5 as `ssu` does (.h5), or .npy with the ids beside it.

    `aam.io.matrix.read_matrix` reads all three.
    """
    with new_file(path) as partial:
        {".npy": _write_npy, ".h5": _write_hdf5, ".tsv": _write_tsv}[path.suffix](partial, ids, values)
        for text in companions(path):
            with new_file(text) as beside:
                beside.write_text("".join(f"{sample_id}\n" for sample_id in ids), encoding="utf-8")


def _write_npy(path: Path, ids: Sequence[str], values: np.ndarray) -> None:
    with through_memory(path) as file:
        np.save(file, values, allow_pickle=False)


def _write_hdf5(path: Path, ids: Sequence[str], values: np.ndarray) -> None:
    import h5py

    with through_memory(path) as memory, h5py.File(memory, "w") as file:
        file.create_dataset("order", data=list(ids), dtype=h5py.string_dtype())
        file.create_dataset("matrix", data=values)


def _write_tsv(path: Path, ids: Sequence[str], values: np.ndarray) -> None:
    from skbio import DistanceMatrix

    DistanceMatrix(values, ids).write(str(path), format="lsmat")


def write_columns(path: Path, ids: Sequence[str], columns: Mapping[str, np.ndarray]) -> None:
    """Write numbers [n] per sample as metadata that QIIME 2 reads: `sample-id` and the columns by name."""
    with new_file(path) as partial:
        rows = zip(ids, *(values.tolist() for values in columns.values()), strict=True)
        text = "".join("\t".join([row[0], *map(repr, row[1:])]) + "\n" for row in rows)
        partial.write_text("\t".join([SAMPLE_ID, *columns]) + "\n" + text, encoding="utf-8")
