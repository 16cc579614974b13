"""Files for `scale.py`: studies grown by resampling, random studies over large trees, a corpus of holes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.lib import format as npy
from scipy import sparse
from targets import random_tree

from aam.corpus.prepared import ARRAY_DTYPES
from aam.corpus.store import CORPUS_FORMAT, replace_manifest
from aam.datasets import example
from aam.io.table import read_table
from aam.phylogeny.newick import format_newick

RICHNESS = 130
"""ASVs of a made-up sample."""
STUDIES = 1000
"""Of the simulated corpus."""
PIECE = 10_000
"""Samples that are made up at a time."""


def grow(data: Path | None, samples: int, folder: Path) -> tuple[list[Path], list[Path]]:
    """Tables of so many samples together, drawn from each study alike, and the trees of the studies."""
    folder.mkdir()
    if data is None:
        studies = [(example().table, example().tree)]
    else:
        studies = [(path, path.with_name("tree.nwk")) for path in sorted(data.glob("*/table.biom"))]
    tables, trees = [], []
    for number, (table, tree) in enumerate(studies):
        plain = read_table(table)
        counts = resample(plain.counts, samples // len(studies), np.random.default_rng(number))
        path = folder / f"study{number}.biom"
        write_biom(path, counts, f"study{number}", list(plain.asv_ids))
        tables.append(path)
        trees.append(tree)
    return tables, trees


def resample(counts: sparse.csr_array, samples: int, rng: np.random.Generator) -> sparse.csr_array:
    """Samples [samples, ASVs] drawn with replacement, the reads of each drawn anew in its proportions."""
    rows = rng.integers(0, counts.shape[0], samples)
    drawn = counts[rows]
    for row in range(samples):
        part = slice(*drawn.indptr[row : row + 2])
        reads = drawn.data[part]
        drawn.data[part] = rng.multinomial(reads.sum(), reads / reads.sum())
    drawn.eliminate_zeros()
    return drawn


def write_biom(path: Path, counts: sparse.csr_array, name: str, asv_ids: list[str]) -> None:
    """A BIOM 2.1 file of counts [samples, ASVs], compressed, both copies of the matrix."""
    samples, asvs = counts.shape
    with h5py.File(path, "w") as file:
        file.attrs["shape"] = [asvs, samples]
        file.create_dataset(
            "sample/ids", data=[f"{name}.{row:07}" for row in range(samples)], dtype=h5py.string_dtype()
        )
        file.create_dataset("observation/ids", data=asv_ids, dtype=h5py.string_dtype())
        for axis, matrix in (("sample", counts), ("observation", counts.T.tocsr())):
            parts = {"data": matrix.data.astype(np.float64), "indices": matrix.indices, "indptr": matrix.indptr}
            for part, values in parts.items():
                file.create_dataset(f"{axis}/matrix/{part}", data=values, compression="gzip", compression_opts=1)


def tree_study(nodes: int, folder: Path, samples: int = 2000) -> tuple[Path, Path]:
    """A table of random samples over all tips of a random tree of so many nodes, and the tree."""
    folder.mkdir()
    rng = np.random.default_rng(nodes)
    tips = (nodes + 1) // 2
    tree = random_tree(tips, rng)
    bases = rng.choice(np.frombuffer(b"ACGT", np.uint8), (tips, 150))
    names = [row.tobytes().decode() for row in bases]
    (folder / "tree.nwk").write_text(format_newick(names, tree.first, tree.last, tree.length) + "\n")
    richness = max(RICHNESS, -(-tips // samples))  # every tip is carried by a sample
    columns = np.concatenate([rng.permutation(tips), rng.integers(0, tips, samples * richness - tips)])
    rows = np.arange(samples * richness) % samples
    counts = sparse.csr_array((rng.geometric(0.02, len(rows)), (rows, columns)), shape=(samples, tips))
    counts.sum_duplicates()
    write_biom(folder / "table.biom", counts, "s", names)
    return folder / "table.biom", folder / "tree.nwk"


def simulate(samples: int, asvs: int, folder: Path) -> int:
    """A folder that opens as a corpus of this size; returns the bytes it would have without its holes.

    Samples and their counts are there, tokens, sequences and trees are holes that read as zeros.
    """
    folder.mkdir()
    rng, tips = np.random.default_rng(0), asvs // STUDIES
    made = {
        "counts.indptr": np.arange(samples + 1) * RICHNESS, "asvs.bounds": np.arange(asvs + 1) * 150,
        "samples.bounds": np.arange(samples + 1) * 8, "samples.by_id": np.arange(samples),
        "samples.text": np.frombuffer("".join(f"{row:08}" for row in range(samples)).encode(), np.uint8),
        "samples.depth": np.full(samples, 5000), "samples.study": np.arange(samples) * STUDIES // samples,
        "trees.nodes": np.full(STUDIES, 2 * tips - 1), "trees.tips": np.full(STUDIES, tips),
        "dropped.text": [], "dropped.bounds": [0], "dropped.reason": [],
    }  # fmt: skip
    sizes = {
        "counts.indices": (samples * RICHNESS,), "counts.data": (samples * RICHNESS,), "tokens": (asvs, 151),
        "asvs.text": (asvs * 150,), "trees.columns": (asvs,), "trees.order": (asvs,),
        **{f"trees.{part}": (STUDIES * (2 * tips - 1),) for part in ("first", "last", "parent", "length")},
    }  # fmt: skip
    for name, dtype in ARRAY_DTYPES.items():
        if name in made:
            np.save(folder / f"{name}.npy", np.asarray(made[name]).astype(dtype), allow_pickle=False)
        else:
            leave_empty(folder / f"{name}.npy", np.dtype(dtype), sizes[name])
    fill = {name: np.load(folder / f"counts.{name}.npy", mmap_mode="r+") for name in ("indices", "data")}
    for start in range(0, samples, PIECE):
        part = slice(start * RICHNESS, min(start + PIECE, samples) * RICHNESS)
        drawn = rng.integers(0, asvs, (min(start + PIECE, samples) - start, RICHNESS), dtype=np.int32)
        fill["indices"][part], fill["data"][part] = np.sort(drawn, axis=1).ravel(), rng.geometric(0.026, drawn.size)
    arrays = {path.stem: {"bytes": path.stat().st_size, "sha256": ""} for path in folder.glob("*.npy")}
    manifest = {
        "format": CORPUS_FORMAT, "complete": True, "config": {"max_bp": 150}, "sources": [], "parts": [], "reasons": [],
        "longest": 150, "counts": {}, "arrays": arrays,
    }  # fmt: skip
    replace_manifest(folder, manifest)
    return sum(path.stat().st_size for path in folder.glob("*.npy"))


def leave_empty(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """An array of zeros that takes no room on disk."""
    with path.open("wb") as file:
        about = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(file, about)
        file.truncate(file.tell() + dtype.itemsize * int(np.prod(shape, dtype=np.int64)))
