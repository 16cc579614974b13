"""A folder of arrays: complete or refused, grown over several attempts, every damage named in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from aam.corpus.store import CORPUS_FORMAT, GrowingArray, StoreWriter, open_store
from aam.errors import CorpusError

PLACES = {"small": ("<i4", ()), "wide": ("|u1", (3,))}


def record() -> dict:
    return {"format": CORPUS_FORMAT, "complete": False, "config": {}, "sources": [], "parts": [], "reasons": []}


def write(folder: Path, rows: int = 4) -> Path:
    """A complete folder: `small` [rows] 0, 1, ..., and `wide` [rows, 3]."""
    folder.mkdir()
    with StoreWriter(folder, record()) as writer:
        writer.array("small", *PLACES["small"]).append(np.arange(rows))
        writer.array("wide", *PLACES["wide"]).append(np.arange(3 * rows).reshape(rows, 3))
        writer.complete({"counts": {}, "longest": 0})
    return folder


def refused(folder: Path, words: str) -> None:
    with pytest.raises(CorpusError, match=words) as error:
        list(open_store(folder).check())
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


def test_arrays_come_back_as_maps(tmp_path: Path):
    store = open_store(write(tmp_path / "store"))
    assert store["small"].tolist() == [0, 1, 2, 3] and store["wide"].tolist()[3] == [9, 10, 11]
    assert isinstance(store["wide"].base, np.memmap) and not store["wide"].flags.writeable
    assert sorted(store.check()) == ["small", "wide"]


def test_an_empty_array_is_an_array(tmp_path: Path):
    assert open_store(write(tmp_path / "store", 0))["wide"].shape == (0, 3)


def test_work_goes_on_after_the_last_part(tmp_path: Path):
    """What an attempt wrote after its last commit is cut off by the next one."""
    begun = record()
    with StoreWriter(tmp_path, begun) as writer:
        writer.array("small", "<i4").append(np.arange(3))
        writer.commit({"part": 0})
        writer.array("small", "<i4").append(np.full(7, 99))
    refused(tmp_path, "has not finished here; run the same command again, it goes on")
    with StoreWriter(tmp_path, json.loads((tmp_path / "manifest.json").read_text())) as writer:
        array = writer.array("small", "<i4")
        assert array.read().tolist() == [0, 1, 2]
        array.append(np.arange(3, 5))
        writer.complete({"counts": {}, "longest": 0})
    assert open_store(tmp_path)["small"].tolist() == [0, 1, 2, 3, 4]


def test_the_header_of_a_grown_array_is_numpys(tmp_path: Path):
    array = GrowingArray(tmp_path / "a.npy", "<f8", (2,), 0)
    for rows in (1, 0, 1000):
        array.append(np.ones((rows, 2)))
    assert array.read().shape == (1001, 2)
    array.seal()
    assert np.load(tmp_path / "a.npy").shape == (1001, 2) and array.path.stat().st_size == 128 + 1001 * 16


def test_numbers_that_do_not_fit_are_not_cut(tmp_path: Path):
    array = GrowingArray(tmp_path / "a.npy", "<i4", (), 0)
    with pytest.raises(OverflowError, match="a.npy: values beyond int32"):
        array.append(np.array([2**31]))
    array.file.close()


def test_damaged_files_are_named(tmp_path: Path):
    folder = write(tmp_path / "store")
    path = folder / "small.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused(folder, r"small\.npy has SHA-256 .*, expected .*: it has changed since it was written; remove the folder")
    path.write_bytes(whole[:-1])
    refused(folder, r"small\.npy is 143 bytes long, expected 144 bytes")
    path.unlink()
    refused(folder, r"small\.npy is missing, expected 144 bytes")
    path.write_bytes(b"x" + whole[1:])
    with pytest.raises(CorpusError, match=r"small\.npy is damaged"):
        open_store(folder)["small"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no record of a corpus"),
        ("[]", "is no record of a corpus"),
        ('{"seed": 1}', "is no record of a corpus"),
        ('{"format": "aam corpus 0"}', "is of format 'aam corpus 0', expected '" + CORPUS_FORMAT),
        (json.dumps({"format": CORPUS_FORMAT, "complete": True}), "lacks arrays, config, counts, longest, parts"),
    ],
)
def test_manifests_of_other_kind(tmp_path: Path, text: str, words: str):
    (tmp_path / "manifest.json").write_text(text)
    refused(tmp_path, words)


def test_other_folders(tmp_path: Path):
    refused(tmp_path, r"is no prepared corpus \(manifest.json is missing\); write one with `aam prepare`")
    refused(tmp_path / "absent", "is no prepared corpus")
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file", "is a file, expected a folder")
