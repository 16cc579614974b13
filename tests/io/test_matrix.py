"""Distance matrices: every format is the same record, and what no distance matrix holds is refused by its pair."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from aam.errors import MatrixError
from aam.io.matrix import read_matrix
from aam.io.output import ids_path

IDS = ["s1", "1.10", "NA"]
VALUES = np.array([[0, 0.25, 1], [0.25, 0, 0.5], [1, 0.5, 0]])


def npy(folder: Path, values: np.ndarray = VALUES, ids: list[str] = IDS) -> Path:
    """A .npy matrix with its ids beside it."""
    path = folder / "d.npy"
    np.save(path, values)
    ids_path(path).write_text("\n".join(ids) + "\n")
    return path


def text(values: np.ndarray = VALUES, ids: list[str] = IDS) -> str:
    """The matrix as scikit-bio and QIIME 2 write it."""
    rows = ["\t".join([name, *map(repr, row)]) for name, row in zip(ids, values.tolist(), strict=True)]
    return "\n".join(["\t".join(["", *ids]), *rows]) + "\n"


def hdf5(folder: Path, values: np.ndarray = VALUES, ids: list[str] = IDS, **options: object) -> Path:
    """The matrix as `ssu -r hdf5` writes it."""
    path = folder / "d.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("matrix", data=values, **options)
        file.create_dataset("order", data=np.array(ids, dtype=object))
    return path


@pytest.mark.parametrize("kind", ["npy", "npy-float32", "h5", "h5-fixed", "tsv", "qza"])
def test_every_format_is_the_same_record(kind, tmp_path, write_qza):
    if kind.startswith("npy"):
        path = npy(tmp_path, VALUES.astype(np.float32 if kind.endswith("32") else np.float64))
    elif kind.startswith("h5"):
        path = hdf5(tmp_path, VALUES, IDS, compression="gzip")
        if kind == "h5-fixed":
            with h5py.File(path, "a") as file:
                del file["order"]
                file["order"] = np.array([name.encode() for name in IDS])
    elif kind == "tsv":
        path = tmp_path / "d.tsv"
        path.write_text(text())
    else:
        path = write_qza("DistanceMatrix", "distance-matrix.tsv", text().encode())
    record = read_matrix(path, largest=1.0)
    assert record.ids == IDS
    assert record.values.dtype == np.float64 and record.values.tolist() == VALUES.tolist()


def test_text_of_scikit_bio_is_read_back(tmp_path):
    from skbio import DistanceMatrix

    points = np.random.default_rng(0).random((600, 3))
    distances = np.sqrt(((points[:, None] - points) ** 2).sum(-1))
    names = [f"sample {k}" for k in range(600)]
    DistanceMatrix(distances, names).write(str(tmp_path / "d.tsv"))
    record = read_matrix(tmp_path / "d.tsv")
    assert record.ids == names and np.abs(record.values - distances).max() < 1e-12


def changed(row: int, column: int, value: float, both: bool = True) -> np.ndarray:
    """The matrix with another distance between two samples."""
    values = VALUES.copy()
    values[row, column] = value
    values[column, row] = value if both else values[column, row]
    return values


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (changed(0, 1, np.nan), "distance nan between 's1' and '1.10' is not finite"),
        (changed(1, 2, np.inf), "distance inf between '1.10' and 'NA' is not finite"),
        (changed(0, 2, -0.5), "distance -0.5 between 's1' and 'NA' is negative"),
        (changed(0, 2, 0.9, both=False), "distance 0.9 between 's1' and 'NA' is not the same in both directions"),
        (changed(1, 1, 0.1), "distance 0.1 between '1.10' and '1.10' is not 0 from a sample to itself"),
        (changed(0, 1, 1.7), "distance 1.7 between 's1' and '1.10' is above 1"),
        (VALUES[:2], r"matrix of shape \(2, 3\) with 3 ids"),
        (VALUES[0], r"matrix of shape \(3,\) with 3 ids"),
        (VALUES.astype("S3"), r"holds \|S3, expected numbers"),
    ],
)
def test_values_that_no_distance_matrix_holds(values, words, tmp_path):
    with pytest.raises(MatrixError, match=f"d.npy.*{words}") as refusal:
        read_matrix(npy(tmp_path, values), largest=1.0)
    assert "\n" not in str(refusal.value)


def test_weighted_unifrac_may_exceed_one_and_single_precision_may_round(tmp_path):
    assert read_matrix(npy(tmp_path, changed(0, 1, 1.7))).values[0, 1] == 1.7
    assert read_matrix(npy(tmp_path, changed(0, 1, 1 + 1e-7)), largest=1.0).ids == IDS
    assert read_matrix(npy(tmp_path, changed(0, 2, 1 - 1e-7, both=False))).ids == IDS


def test_faults_far_down_a_large_matrix_are_found(tmp_path):
    values = np.zeros((1100, 1100))
    values[1050, 3] = 0.25
    ids = [f"s{k}" for k in range(1100)]
    # the block of row 3 comes first and already sees the missing mirror image
    with pytest.raises(MatrixError, match="distance 0 between 's3' and 's1050' is not the same in both directions"):
        read_matrix(npy(tmp_path, values, ids))


def test_ids(tmp_path):
    with pytest.raises(MatrixError, match="1 id found more than once, first 's1'"):
        read_matrix(npy(tmp_path, ids=["s1", "s1", "NA"]))
    path = npy(tmp_path)
    ids_path(path).unlink()
    with pytest.raises(MatrixError, match="d.ids.txt does not exist; check the path given as the ids of .*d.npy"):
        read_matrix(path)
    (tmp_path / "d.tsv").write_text(text().replace("\n1.10\t", "\n1.1\t"))
    with pytest.raises(MatrixError, match="3 row ids and 3 column ids that differ"):
        read_matrix(tmp_path / "d.tsv")


def test_files_that_are_no_matrix(tmp_path):
    path = tmp_path / "d.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(MatrixError, match="is no sound .npy array of numbers"):
        read_matrix(path)
    whole = npy(tmp_path).read_bytes()
    path.write_bytes(whole.replace(b"(3, 3)", b"(9, 9)"))
    with pytest.raises(MatrixError, match="is no sound .npy array of numbers"):
        read_matrix(path)
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["order"] = np.array(IDS, dtype=object)
    with pytest.raises(MatrixError, match="d.h5 is HDF5 without 'matrix'"):
        read_matrix(tmp_path / "d.h5")
    with pytest.raises(MatrixError, match=r"'matrix' has shape \(3,\), expected 2 dimensions"):
        read_matrix(hdf5(tmp_path, VALUES[0]))
    with pytest.raises(MatrixError, match="none.npy does not exist; check the path given as --unifrac-matrix"):
        read_matrix(tmp_path / "none.npy")
    (tmp_path / "d.json").write_text("{}")
    with pytest.raises(MatrixError, match="d.json is JSON, expected a distance matrix"):
        read_matrix(tmp_path / "d.json")
