"""Files that hold embeddings: rows by id, float32 [N, D]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aam.errors import ConfigError
from aam.io.ids import FEATURE_ID, SAMPLE_ID
from aam.io.output import check_output, new_file, through_memory

INDEX = {"samples": SAMPLE_ID, "asvs": FEATURE_ID}
"""Name of the column of ids, by the kind of rows."""


def check_embedding_output(path: Path) -> None:
    """Raise `ConfigError` before any work is done for a file that cannot be written."""
    check_output(path, list(WRITERS))
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise ConfigError(f"--output {path}: Parquet needs pyarrow; pip install 'aam[parquet]', or write .tsv")


def write_embedding(path: Path, kind: str, ids: Sequence[str], prefix: str, values: NDArray[np.float32]) -> None:
    """Write the rows `ids` with columns `prefix`1 … `prefix`D in the format of the ending."""
    names = [f"{prefix}{number}" for number in range(1, values.shape[1] + 1)]
    with new_file(path) as partial:
        WRITERS[path.suffix](partial, INDEX[kind], ids, names, values)


def _write_tsv(path: Path, index: str, ids: Sequence[str], names: Sequence[str], values: NDArray[np.float32]) -> None:
    """Text; nine digits give every float32 back exactly."""
    with path.open("w", encoding="utf-8") as file:
        file.write("\t".join([index, *names]) + "\n")
        for row_id, row in zip(ids, values.tolist(), strict=True):
            file.write("\t".join([row_id, *(f"{value:.9g}" for value in row)]) + "\n")


def _write_parquet(
    path: Path, index: str, ids: Sequence[str], names: Sequence[str], values: NDArray[np.float32]
) -> None:
    import pandas as pd

    frame = pd.DataFrame(values, index=pd.Index(list(ids), name=index), columns=list(names))
    frame.to_parquet(path, engine="pyarrow")


def _write_h5ad(path: Path, index: str, ids: Sequence[str], names: Sequence[str], values: NDArray[np.float32]) -> None:
    """AnnData on disk, version 0.1.0, https://anndata.readthedocs.io/en/stable/fileformat-prose.html.

    Written with h5py: anndata itself wants a pandas older than the one this package is tested with.
    """
    import h5py

    with through_memory(path) as memory, h5py.File(memory, "w") as file:
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


def _write_ordination(
    path: Path, index: str, ids: Sequence[str], names: Sequence[str], values: NDArray[np.float32]
) -> None:
    """Principal axes, largest variance first: a rotation, so distances between rows are those of the embedding."""
    import pandas as pd
    from skbio import OrdinationResults

    centred = values.astype(np.float64) - values.mean(axis=0, dtype=np.float64)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    variances = size**2 / max(len(values) - 1, 1)
    axes = [f"PC{number}" for number in range(1, len(size) + 1)]
    OrdinationResults(
        short_method_name="AAM",
        long_method_name="Principal axes of an aam embedding",
        eigvals=pd.Series(variances, index=axes),
        samples=pd.DataFrame(left * size, index=list(ids), columns=axes),
        proportion_explained=pd.Series(variances / max(variances.sum(), np.finfo(float).tiny), index=axes),
    ).write(str(path), format="ordination")


Writer = Callable[[Path, str, Sequence[str], Sequence[str], NDArray[np.float32]], None]
WRITERS: dict[str, Writer] = {
    ".tsv": _write_tsv,
    ".parquet": _write_parquet,
    ".h5ad": _write_h5ad,
    ".txt": _write_ordination,
}
