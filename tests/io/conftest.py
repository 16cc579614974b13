"""Files as other programs write them: BIOM by `biom`, QIIME 2 artifacts by `zipfile`."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import biom
import h5py
import numpy as np
import pytest

SAMPLES = ["s1", "s2", "s3"]
ASVS = ["ACGT", "TTTT", "GGCC", "AACC"]
COUNTS = [[5, 0, 2, 1], [0, 7, 0, 3], [1, 1, 1, 1]]
"""[samples, ASVs]; the table of most tests."""


@pytest.fixture
def write_biom(tmp_path: Path) -> Callable[..., Path]:
    """`write_biom(counts, samples, asvs)` writes a BIOM 2.1 file of counts [samples, ASVs] and returns its path."""

    def write(
        counts: Sequence[Sequence[float]] = COUNTS,
        samples: Sequence[str] = SAMPLES,
        asvs: Sequence[str] = ASVS,
        compress: bool = True,
    ) -> Path:
        path = tmp_path / "table.biom"
        with h5py.File(path, "w") as file:
            biom.Table(np.asarray(counts, dtype=float).T, asvs, samples).to_hdf5(file, "test", compress=compress)
        return path

    return write


@pytest.fixture
def write_qza(tmp_path: Path) -> Callable[..., Path]:
    """`write_qza(type, file, content)` writes an artifact with `content` in `<uuid>/data/<file>`; returns its path."""

    def write(kind: str, file: str, content: bytes, root: str = "0b7d1c2e") -> Path:
        path = tmp_path / "artifact.qza"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"{root}/VERSION", "QIIME 2\narchive: 5\nframework: 2024.5.0\n")
            archive.writestr(f"{root}/metadata.yaml", f"uuid: {root}\ntype: {kind}\nformat: null\n")
            archive.writestr(f"{root}/provenance/metadata.yaml", "type: Visualization\n")
            archive.writestr(f"{root}/data/{file}", content)
        return path

    return write
