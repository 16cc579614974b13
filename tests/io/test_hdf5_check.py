"""Hostile and damaged HDF5: each case is refused by name, fast, in little memory, and never read past its own file."""

from __future__ import annotations

import resource
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from aam.errors import TableError
from aam.io import biom_file
from aam.io import hdf5 as hdf5_strings
from aam.io.table import read_table

MATRIX = {"data": [5.0, 2, 1, 7, 3, 1, 1, 1, 1], "indices": [0, 2, 3, 1, 3, 0, 1, 2, 3], "indptr": [0, 3, 5, 9]}
"""The table of `write_biom` by sample."""


def replace(path: Path, name: str, values: object, **options: object) -> None:
    """Put another dataset in the place of one."""
    with h5py.File(path, "a") as file:
        del file[name]
        file.create_dataset(name, data=values, **options)


def refused(path: Path, words: str, seconds: float = 5.0) -> None:
    """Assert a one-line refusal that names the file, within seconds of work and 64 MiB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    with pytest.raises(TableError, match=words) as refusal:
        read_table(path)
    assert time.process_time() - start < seconds
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
    assert path.name in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("part", "values", "words"),
    [
        ("indices", [0, 2, 3, 1, 3, 0, 1, 2, 99], r"sample/matrix/indices holds 1 numbers outside 0..3, first 99"),
        ("indices", [0, 2, 3, 1, 3, -7, 1, 2, 3], r"sample/matrix/indices holds 1 numbers outside 0..3, first -7"),
        ("indices", [0, 2, 3, 1, 3, 0, 1, 2, 2], "sample/matrix gives a cell more than once"),
        ("indptr", [0, 5, 3, 9], "sample/matrix/indptr falls at entry 2"),
        ("indptr", [1, 3, 5, 9], "sample/matrix/indptr starts at 1, expected 0"),
        ("indptr", [0, 3, 5, 8], r"sample/matrix/indptr ends at 8, expected 9 \(the number of entries\)"),
        ("indptr", [0, 3, 9], "has 9 values, 9 indices and 3 row bounds for 3 rows and 4 columns"),
        ("data", [5.0, 2, 1], "has 3 values, 9 indices"),
        ("data", [5.0, 2, 1, 7, 3, 1, 1, 1, 2], "matrices stored by sample and by observation disagree"),
        ("indices", [0.0, 2, 3, 1, 3, 0, 1, 2, 3], "'sample/matrix/indices' holds values of type float64"),
        ("indptr", [[0, 3], [5, 9]], r"'sample/matrix/indptr' has shape \(2, 2\), expected 1 dimension"),
        ("data", [b"x"] * 9, "'sample/matrix/data' holds values of type"),
    ],
)
def test_a_matrix_that_would_crash_a_reader_or_lose_counts(part, values, words, write_biom):
    path = write_biom()
    replace(path, f"sample/matrix/{part}", values)
    refused(path, words)


def test_unsorted_columns_and_narrow_types_are_fine(write_biom):
    path = write_biom()
    replace(path, "sample/matrix/indices", np.array([3, 2, 0, 1, 3, 3, 2, 1, 0], dtype=np.uint16))
    replace(path, "sample/matrix/data", np.array([1, 2, 5, 7, 3, 1, 1, 1, 1], dtype=np.int16))
    replace(path, "sample/matrix/indptr", np.array([0, 3, 5, 9], dtype=np.uint64))
    assert read_table(path).counts.toarray().tolist() == [[5, 0, 2, 1], [0, 7, 0, 3], [1, 1, 1, 1]]


@pytest.mark.parametrize(
    ("part", "values", "words"),
    [
        ("indices", [2, 0, 1, 2, 0, 2, 0, 2, 1], None),  # unsorted, and so are its counts
        ("indices", [0, 2, 1, 2, 0, 2, 0, 2, 1], "stored by sample and by observation disagree"),
        ("indices", [0, 2, 1, 2, 0, 2, 0, 1, 7], "observation/matrix/indices holds 1 numbers outside 0..2, first 7"),
        ("indptr", [0, 2, 4, 3, 9], "observation/matrix/indptr falls at entry 3"),
        ("data", [5.0, 1], "observation/matrix has 2 values, 9 indices"),
    ],
)
def test_the_copy_by_observation(part, values, words, write_biom):
    path = write_biom()
    # by feature: ACGT 5 in s1, 1 in s3; TTTT 7 in s2, 1 in s3; GGCC 2 in s1, 1 in s3; AACC 1, 3, 1
    replace(path, f"observation/matrix/{part}", values)
    if words is None:
        replace(path, "observation/matrix/data", [1.0, 5, 7, 1, 2, 1, 1, 1, 3])
        assert read_table(path).counts.toarray().tolist() == [[5, 0, 2, 1], [0, 7, 0, 3], [1, 1, 1, 1]]
    else:
        refused(path, words)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ([10**9, 10**9], "4 observation ids for a shape of|3 sample ids for a shape of"),
        ([4, -3], "attribute 'shape' is 4 x -3"),
        ([4, 3, 1], r"attribute 'shape' is int64 \(3,\), expected two whole numbers"),
        ([4.0, 3.0], "attribute 'shape' is float64"),
        ([0, 3], r"the table is empty \(3 samples, 0 features\)"),
        (None, r"is HDF5 but not a BIOM table \(attribute 'shape' is missing\)"),
    ],
)
def test_a_false_shape(shape, words, write_biom):
    path = write_biom()
    with h5py.File(path, "a") as file:
        del file.attrs["shape"]
        if shape is not None:
            file.attrs["shape"] = shape
    refused(path, words)


def test_a_missing_dataset_is_named(write_biom):
    path = write_biom()
    with h5py.File(path, "a") as file:
        del file["observation/matrix"]
    refused(path, "HDF5 without 'observation/matrix/data' \\('observation/matrix' is missing\\)")


def test_a_group_where_data_should_be(write_biom):
    path = write_biom()
    with h5py.File(path, "a") as file:
        del file["sample/ids"]
        file.create_group("sample/ids")
        del file["observation/ids"]
    refused(path, "'sample/ids' is not a dataset")


@pytest.mark.parametrize("place", ["sample", "sample/matrix", "sample/matrix/data"])
@pytest.mark.parametrize("kind", ["external", "soft", "loop"])
def test_links_out_of_the_file_are_not_followed(place, kind, write_biom, tmp_path):
    path = write_biom()
    other = tmp_path / "other.h5"
    other.write_bytes(path.read_bytes())
    with h5py.File(path, "a") as file:
        file.move(place, "elsewhere")
        links = {"external": h5py.ExternalLink(str(other), place), "soft": h5py.SoftLink("/elsewhere")}
        file[place] = links.get(kind, h5py.SoftLink("/" + place))
    refused(path, f"'{place}' is a link to another place")


def test_bytes_of_another_file_are_not_read(write_biom, tmp_path):
    path = write_biom()
    secret = tmp_path / "secret"
    secret.write_bytes(b"p" * 72)
    with h5py.File(path, "a") as file:
        del file["sample/matrix/data"]
        file.create_dataset("sample/matrix/data", shape=(9,), dtype="f8", external=[(str(secret), 0, 72)])
    refused(path, "'sample/matrix/data' keeps its data in another file")


def test_a_virtual_dataset_is_refused(write_biom, tmp_path):
    path = write_biom()
    with h5py.File(tmp_path / "source.h5", "w") as file:
        file["x"] = MATRIX["data"]
    layout = h5py.VirtualLayout(shape=(9,), dtype="f8")
    layout[:] = h5py.VirtualSource(str(tmp_path / "source.h5"), "x", shape=(9,))
    with h5py.File(path, "a") as file:
        del file["sample/matrix/data"]
        file.create_virtual_dataset("sample/matrix/data", layout)
    refused(path, "'sample/matrix/data' is a virtual dataset")


def test_filters(write_biom):
    path = write_biom()
    for options in ({"compression": "lzf"}, {"compression": "gzip", "shuffle": True, "fletcher32": True}):
        replace(path, "sample/matrix/data", np.array(MATRIX["data"]), chunks=(9,), **options)
        assert read_table(path).counts.sum() == 22
    replace(path, "sample/matrix/data", np.array(MATRIX["data"], dtype="i4"), chunks=(9,), scaleoffset=0)
    refused(path, "'sample/matrix/data' uses HDF5 filter 6, expected gzip, lzf, shuffle or fletcher32")


def test_gzip_of_gzip_is_refused(write_biom):
    path = write_biom()
    with h5py.File(path, "a") as file:
        del file["sample/matrix/data"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((9,))
        plist.set_deflate(9)
        plist.set_filter(h5py.h5z.FILTER_DEFLATE, 0, (9,))
        space = h5py.h5s.create_simple((9,))
        h5py.h5d.create(file["sample/matrix"].id, b"data", h5py.h5t.NATIVE_DOUBLE, space, plist)
    refused(path, "uses the same HDF5 filter more than once")


@pytest.mark.parametrize("claimed", [10**7, 2 * 10**9, 10**15])
def test_a_small_file_that_unpacks_to_gigabytes(claimed, write_biom):
    path = write_biom()
    with h5py.File(path, "a") as file:
        for part in ("data", "indices"):
            del file[f"sample/matrix/{part}"]
            file.create_dataset(
                f"sample/matrix/{part}", shape=(claimed,), dtype="f8" if part == "data" else "i4", chunks=(1 << 20,),
                compression="gzip",
            )  # fmt: skip
            file[f"sample/matrix/{part}"][: 1 << 21] = 0
    assert path.stat().st_size < 100_000
    refused(path, "claims .* of data in")


def test_a_huge_chunk_around_little_data(write_biom):
    path = write_biom()
    with h5py.File(path, "a") as file:
        del file["sample/matrix/data"]
        file.create_dataset(
            "sample/matrix/data", shape=(9,), maxshape=(None,), dtype="f8", chunks=(400_000_000,), compression="gzip"
        )
    refused(path, "claims .* of data in")


def test_many_ids_that_share_one_long_text(write_biom):
    """References to the same megabyte, 100,000 times: 100 GB once they are strings."""
    path = write_biom()
    with h5py.File(path, "a") as file:
        del file["sample/ids"]
        ids = file.create_dataset("sample/ids", shape=(100_000,), dtype=h5py.string_dtype(), chunks=(100_000,))
        ids[0] = "x" * 1_000_000
        mask, raw = ids.id.read_direct_chunk((0,))
        ids.id.write_direct_chunk((0,), raw[:16] * 100_000, mask)
        file.attrs["shape"] = [4, 100_000]
    refused(path, "3 sample ids|'sample/ids' claims 100,000,000,000 bytes of text in a file of")


@pytest.mark.parametrize(
    "options", [{}, {"chunks": (2,)}, {"compression": "lzf"}, {"compression": "gzip", "shuffle": True}]
)
@pytest.mark.parametrize("kind", ["variable", "fixed"])
def test_ids_of_every_storage_equal_what_h5py_reads(kind, options, write_biom):
    path = write_biom()
    ids = ["é" * 30, "two words", "s3"]
    stored = np.array([text.encode() for text in ids]) if kind == "fixed" else np.array(ids, dtype=object)
    replace(path, "sample/ids", stored, **options)
    with h5py.File(path) as file:
        assert [raw.decode() for raw in file["sample/ids"][:]] == ids
    assert read_table(path).sample_ids == ids


def test_texts_of_many_heaps_in_any_order(write_biom, monkeypatch):
    """A heap holds 4 kB; texts written in another order than they are read in are looked for in all of them."""
    monkeypatch.setattr(hdf5_strings, "REFERENCES_AT_ONCE", 7)
    rng = np.random.default_rng(0)
    ids = [f"s{number}" + "x" * int(rng.integers(0, 90)) for number in range(500)]
    path = write_biom(np.ones((500, 2)), ids, ["ACGT", "TTTT"])
    with h5py.File(path, "a") as file:
        del file["sample/ids"]
        made = file.create_dataset("sample/ids", shape=500, dtype=h5py.string_dtype())
        for place in rng.permutation(500):
            made[place] = ids[place]
    assert read_table(path).sample_ids == ids


def test_copies_are_compared_in_pieces(write_biom, monkeypatch):
    monkeypatch.setattr(biom_file, "_HASHED_AT_ONCE", 2)
    path = write_biom()
    assert read_table(path).counts.nnz == 9
    replace(path, "observation/matrix/data", [5.0, 1, 7, 1, 2, 1, 1, 3, 2])
    refused(path, "matrices stored by sample and by observation disagree")


def test_an_id_that_is_not_utf8_is_named(write_biom):
    path = write_biom()
    replace(path, "sample/ids", np.array([b"s1", b"caf\xe9", b"s3"], dtype=object), dtype=h5py.string_dtype("ascii"))
    refused(path, r"text number 2 of 'sample/ids' is not UTF-8 \('caf\\\\xe9'\)")


def test_truncated_and_flipped_files(write_biom):
    path = write_biom()
    whole = path.read_bytes()
    for length in (9, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(path, "truncated or damaged HDF5|claims|not where they should be")
    place = whole.rindex(b"TREE")
    path.write_bytes(whole[:place] + b"XXXX" + whole[place + 4 :])
    refused(path, "truncated or damaged HDF5")


def test_three_hundred_damaged_copies_neither_crash_nor_hang_nor_swell(write_biom, tmp_path):
    """Random bytes in place of others; in a process of its own, since libhdf5 could end it."""
    script = textwrap.dedent(
        """
        import sys, random, resource
        from pathlib import Path
        from aam.io.table import read_table
        from aam.errors import InputError

        path = Path(sys.argv[1])
        whole = path.read_bytes()
        draw = random.Random(0)
        base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        refused = 0
        for _ in range(300):
            damaged = bytearray(whole)
            for _ in range(draw.randint(1, 8)):
                damaged[draw.randrange(len(whole))] = draw.randrange(256)
            path.write_bytes(damaged)
            try:
                read_table(path)
            except InputError as refusal:
                assert "\\n" not in str(refusal), refusal
                refused += 1
        print(refused, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base)
        """
    )
    path = write_biom(np.random.default_rng(0).poisson(0.5, (3, 4)) + 1, compress=False)
    run = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    refused, kilobytes = map(int, run.stdout.split())
    assert refused > 100 and kilobytes < 64 << 10
