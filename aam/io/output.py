"""Output files of distances, numbers and embeddings: written atomically, and never over another file."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from aam.atomic import partial_path, replace_file, write_json
from aam.errors import ConfigError
from aam.io.files import refuse_inside, refuse_unwritable
from aam.io.ids import FEATURE_ID, SAMPLE_ID
from aam.paths import LONGEST_NAME, output_path

MATRIX_SUFFIXES = (".tsv", ".h5", ".npy")
VECTOR_SUFFIXES = (".tsv",)
INDEX = {"samples": SAMPLE_ID, "asvs": FEATURE_ID}
"""Name of the column of ids in a file of embeddings, by the kind of rows."""
MADE: ContextVar[list[Path] | None] = ContextVar("made", default=None)
"""The new files of the innermost block `all_or_none`."""


def check_output(path: Path, suffixes: Sequence[str], option: str = "--output") -> None:
    """Raise `ConfigError` for an output file that exists, has no folder or an unknown suffix, before any work."""
    output_path(option, path)
    if path.suffix not in suffixes:
        raise ConfigError(f"{option} {path}: found the ending {path.suffix!r}, expected {' or '.join(suffixes)}")
    if not path.parent.is_dir():
        raise ConfigError(f"{option} {path}: the folder {path.parent} does not exist; make it first")
    refuse_unwritable(path.parent, option, ConfigError)
    if len(os.fsencode(partial_path(path).name)) > LONGEST_NAME:
        raise ConfigError(f"{option} {path}: the name is too long; give a shorter one")
    for file in [path, *companion_paths(path)]:
        refuse_existing(file, option)
    refuse_inside(path.parent, option)


def check_output_files(folder: Path, names: Sequence[str]) -> None:
    """Raise `ConfigError` for an output folder that cannot be written to or has one of the files, before any work."""
    refuse_unwritable(folder, "--output", ConfigError)
    refuse_inside(folder, "--output")
    for name in names:
        refuse_existing(folder / name)


def ids_path(path: Path) -> Path:
    """Path of the text file with the ids of a .npy matrix, one per line: `distances.npy` -> `distances.ids.txt`."""
    return path.with_suffix(".ids.txt")


def companion_paths(path: Path) -> list[Path]:
    """Paths of further files that are written with a matrix: the ids of a .npy."""
    return [ids_path(path)] if path.suffix == ".npy" else []


def refuse_existing(path: Path, option: str = "--output") -> None:
    """Raise `ConfigError` for a path that exists."""
    if os.path.lexists(path):
        raise ConfigError(f"{option} {path}: the file exists and is not overwritten; remove it or give another name")


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; it is renamed to `path` after the block, and removed after an error.

    Raises `ConfigError` if `path` exists by then.
    """
    try:
        with replace_file(path, exclusive=True) as partial:
            yield partial
            refuse_existing(path)
    except FileExistsError:
        refuse_existing(path)
        raise
    if (made := MADE.get()) is not None:
        made.append(path)


@contextmanager
def all_or_none() -> Iterator[None]:
    """Remove the new files of this block if it fails: of several outputs that belong together none stays alone."""
    made: list[Path] = []
    before = MADE.set(made)
    try:
        yield
    except BaseException:
        for path in made:
            with suppress(OSError):
                path.unlink()
        raise
    finally:
        MADE.reset(before)


def write_new_json(path: Path, value: Any) -> None:
    """Write a value as JSON to a file that does not exist."""
    with new_file(path) as partial:
        write_json(partial, value)


def open_text(path: Path) -> TextIO:
    """Open a file to write a text: UTF-8 and plain line ends, whatever the locale and the name of the file.

    Libraries get this file and no path: by its name they would compress, expand or encode in their own way.
    """
    return path.open("w", encoding="utf-8", newline="\n")


@contextmanager
def write_through_memory(path: Path) -> Iterator[BytesIO]:
    """Yield a file in memory for a library to write to; its content is written to `path` after the block.

    On a full disk HDF5 loses data silently or crashes, torch ends the process and numpy does not say why.
    """
    memory = BytesIO()
    yield memory
    path.write_bytes(memory.getbuffer())


def shell_path(path: Path) -> str:
    """A path quoted as one argument of a shell command."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def write_matrix(path: Path, ids: Sequence[str], values: np.ndarray) -> None:
    """Write distances [n, n]: text as scikit-bio does (.tsv), HDF5 as `ssu` does (.h5), or .npy with the ids beside it.

    `aam.io.matrix.read_matrix` reads all three.
    """
    with new_file(path) as partial:
        {".npy": _write_npy, ".h5": _write_hdf5, ".tsv": _write_tsv}[path.suffix](partial, ids, values)
        for text in companion_paths(path):
            with new_file(text) as beside:
                beside.write_text("".join(f"{sample_id}\n" for sample_id in ids), encoding="utf-8")


def _write_npy(path: Path, ids: Sequence[str], values: np.ndarray) -> None:
    with write_through_memory(path) as file:
        np.save(file, values, allow_pickle=False)


def _write_hdf5(path: Path, ids: Sequence[str], values: np.ndarray) -> None:
    import h5py

    with write_through_memory(path) as memory, h5py.File(memory, "w") as file:
        file.create_dataset("order", data=list(ids), dtype=h5py.string_dtype())
        file.create_dataset("matrix", data=values)


def _write_tsv(path: Path, ids: Sequence[str], values: np.ndarray) -> None:
    from skbio import DistanceMatrix

    with open_text(path) as file:
        DistanceMatrix(values, ids).write(file, format="lsmat")


def write_columns(path: Path, ids: Sequence[str], columns: Mapping[str, np.ndarray]) -> None:
    """Write numbers [n] per sample as metadata that QIIME 2 reads: `sample-id` and the columns by name."""
    with new_file(path) as partial:
        rows = zip(ids, *(values.tolist() for values in columns.values()), strict=True)
        text = "".join("\t".join([row[0], *map(repr, row[1:])]) + "\n" for row in rows)
        partial.write_text("\t".join([SAMPLE_ID, *columns]) + "\n" + text, encoding="utf-8")


def check_embedding_output(path: Path) -> None:
    """Raise `ConfigError` before any work is done for a file that cannot be written."""
    check_output(path, list(WRITERS))
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise ConfigError(f"--output {path}: Parquet needs pyarrow; pip install 'aam[parquet]', or write .tsv")


def write_embedding(path: Path, kind: str, ids: Sequence[str], prefix: str, values: NDArray[np.float32]) -> None:
    """Write the rows `ids` with columns `prefix`1 … `prefix`D in the format of the suffix."""
    names = [f"{prefix}{number}" for number in range(1, values.shape[1] + 1)]
    with new_file(path) as partial:
        WRITERS[path.suffix](partial, INDEX[kind], ids, names, values)


def _embed_tsv(path: Path, index: str, ids: Sequence[str], names: Sequence[str], values: NDArray[np.float32]) -> None:
    """Text; nine digits give every float32 back exactly."""
    with open_text(path) as file:
        file.write("\t".join([index, *names]) + "\n")
        for row_id, row in zip(ids, values.tolist(), strict=True):
            file.write("\t".join([row_id, *(f"{value:.9g}" for value in row)]) + "\n")


def _embed_parquet(
    path: Path, index: str, ids: Sequence[str], names: Sequence[str], values: NDArray[np.float32]
) -> None:
    import pandas as pd

    frame = pd.DataFrame(values, index=pd.Index(list(ids), name=index), columns=list(names))
    with write_through_memory(path) as memory:
        frame.to_parquet(memory, engine="pyarrow")


def _embed_h5ad(path: Path, index: str, ids: Sequence[str], names: Sequence[str], values: NDArray[np.float32]) -> None:
    """AnnData on disk, version 0.1.0, https://anndata.readthedocs.io/en/stable/fileformat-prose.html.

    Written with h5py, because anndata requires an older pandas than this package.
    """
    import h5py

    with write_through_memory(path) as memory, h5py.File(memory, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        matrix = file.create_dataset("X", data=values, compression="gzip")
        matrix.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        for group, labels, title in (("obs", ids, index), ("var", names, "dimension")):
            frame = file.create_group(group)
            frame.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": title})
            frame.attrs.create("column-order", [], dtype=h5py.string_dtype())
            column = frame.create_dataset(title, data=list(labels), dtype=h5py.string_dtype())
            column.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
        for group in ("layers", "obsm", "obsp", "varm", "varp", "uns"):
            file.create_group(group).attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})


def _embed_ordination(
    path: Path, index: str, ids: Sequence[str], names: Sequence[str], values: NDArray[np.float32]
) -> None:
    """Principal axes, largest variance first: a rotation, so distances between rows are those of the embedding."""
    import pandas as pd
    from skbio import OrdinationResults

    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    variances = size**2 / max(len(values) - 1, 1)
    axes = [f"PC{number}" for number in range(1, len(size) + 1)]
    results = OrdinationResults(
        short_method_name="AAM",
        long_method_name="Principal axes of an aam embedding",
        eigvals=pd.Series(variances, index=axes),
        samples=pd.DataFrame(left * size, index=list(ids), columns=axes),
        proportion_explained=pd.Series(variances / max(variances.sum(), np.finfo(float).tiny), index=axes),
    )
    with open_text(path) as file:
        results.write(file, format="ordination")


Writer = Callable[[Path, str, Sequence[str], Sequence[str], NDArray[np.float32]], None]
WRITERS: dict[str, Writer] = {
    ".tsv": _embed_tsv,
    ".parquet": _embed_parquet,
    ".h5ad": _embed_h5ad,
    ".txt": _embed_ordination,
}
