"""Entries 1 to 37: feature tables that are damaged, false or made to do harm."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import biom
import h5py
import numpy as np
from attempts import Attempt, Case, Entries, hold
from parsers import ASVS, COUNTS, SAMPLES, TSV

entry = Entries()
TREE = "((ACGT:1,TTTT:2):1,(GGCC:4,AACC:5):3.5):0.5;"
LENGTH = 9
"""Stored counts of the table by sample."""


def unifrac(folder: Path, words: str, code: int = 2, name: str = "table.biom", tree: str = TREE) -> Attempt:
    """An attempt to compute UniFrac of the table in the folder."""
    (folder / "tree.nwk").write_text(tree)
    (folder / "out.tsv").unlink(missing_ok=True)
    options = ["--table", folder / name, "--tree", folder / "tree.nwk", "-o", folder / "out.tsv"]
    return Attempt(["unifrac", *options], words, folder / name if code else "", code)


def table(
    folder: Path, counts: Any = COUNTS, samples: Any = SAMPLES, asvs: Any = ASVS, compress: bool = True
) -> h5py.File:
    """A BIOM 2.1 table of counts [samples, ASVs], open to be changed."""
    path = folder / "table.biom"
    with h5py.File(path, "w") as file:
        biom.Table(np.asarray(counts, dtype=float).T, asvs, samples).to_hdf5(file, "test", compress=compress)
    return h5py.File(path, "a")


def put(file: h5py.File, name: str, values: Any, **options: Any) -> None:
    """Put another dataset in the place of one."""
    del file[name]
    file.create_dataset(name, data=values, **options)


def with_first_count(folder: Path, value: float) -> None:
    """A table whose first count is another, in both of its matrices (ACGT of s1 is the first of both)."""
    with table(folder) as file:
        for axis in ("sample", "observation"):
            data = file[f"{axis}/matrix/data"][:]
            put(file, f"{axis}/matrix/data", np.r_[value, data[1:]])


def json_table(folder: Path, **changes: Any) -> Path:
    """A BIOM 1 table with some keys of it changed."""
    content = json.loads(biom.Table(COUNTS.T, ASVS, SAMPLES).to_json("test")) | changes
    (folder / "table.biom").write_text(json.dumps(content))
    return folder / "table.biom"


@entry(1)
def empty_file(folder: Path) -> Iterator[Attempt]:
    for content in (b"", gzip.compress(b"")):
        (folder / "table.biom").write_bytes(content)
        yield unifrac(folder, "is an empty file|is packed by gzip|unpack")


@entry(2)
def truncated(folder: Path) -> Iterator[Attempt]:
    with table(folder):
        pass
    whole = (folder / "table.biom").read_bytes()
    for length in (9, 100, len(whole) // 2, len(whole) - 1):
        (folder / "table.biom").write_bytes(whole[:length])
        yield unifrac(folder, "truncated or damaged HDF5|claims|not where they should be")


def flipped(folder: Path, compress: bool, bit: int) -> Attempt:
    """A table with one bit of its stored counts by sample flipped."""
    with table(folder, compress=compress) as file:
        data = file["sample/matrix/data"]
        place = data.id.get_offset() if data.chunks is None else data.id.get_chunk_info(0).byte_offset
    damaged = bytearray((folder / "table.biom").read_bytes())
    damaged[place + 6] ^= bit
    (folder / "table.biom").write_bytes(damaged)
    return unifrac(folder, "damaged HDF5|disagree|counts are|is above|reads in all")


@entry(3)
def flipped_bit_in_gzip(folder: Path) -> Attempt:
    return flipped(folder, True, 8)


@entry(4)
def flipped_bit(folder: Path) -> Iterator[Attempt]:
    for bit in (1, 8, 16, 128):
        yield flipped(folder, False, bit)


@entry("5 to 9")
def counts_that_are_none(folder: Path) -> Iterator[Attempt]:
    cases = {np.nan: "NaN", np.inf: "infinite", -2.0: "negative", 0.5: "fractional", 1e300: "above 999,999,999"}
    for value, what in cases.items():
        with_first_count(folder, value)
        yield unifrac(folder, f"1 of 9 counts are {what}, first .* in sample 's1', feature 'ACGT'; .*; ")


@entry(10)
def stored_zeros(folder: Path) -> Attempt:
    with_first_count(folder, 0.0)
    return unifrac(folder, r"1 samples? with stored zeros, which were removed \(s1\)", 0)


@entry(11)
def sample_without_reads(folder: Path) -> Attempt:
    table(folder, np.r_[COUNTS, np.zeros((1, 4))], [*SAMPLES, "blank"]).close()
    return unifrac(folder, r"1 samples? without reads \(blank\)", 0)


@entry(12)
def no_samples(folder: Path) -> Attempt:
    return unifrac(folder, r"empty \(0 samples, 0 features\)", name=json_table(
        folder, rows=[], columns=[], shape=[0, 0], data=[]).name)  # fmt: skip


@entry(13)
def repeated_sample(folder: Path) -> Attempt:
    with table(folder) as file:
        put(file, "sample/ids", np.array(["s1", "s1", "s3"], dtype=object))
    return unifrac(folder, "1 sample id found more than once, first 's1'")


@entry(14)
def repeated_asv(folder: Path) -> Attempt:
    with table(folder) as file:
        put(file, "observation/ids", np.array(["ACGT", "ACGT", "GGCC", "AACC"], dtype=object))
    return unifrac(folder, "1 feature id found more than once, first 'ACGT'")


@entry("15 to 17")
def places_outside_of_the_matrix(folder: Path) -> Iterator[Attempt]:
    cases = [
        ("indices", [0, 2, 3, 1, 3, 0, 1, 2, 99], r"sample/matrix/indices holds 1 numbers outside 0..3, first 99"),
        ("indices", [0, 2, 3, 1, 3, -7, 1, 2, 3], r"sample/matrix/indices holds 1 numbers outside 0..3, first -7"),
        ("indptr", [0, 5, 3, 9], "sample/matrix/indptr falls at entry 2"),
    ]
    for part, values, words in cases:
        with table(folder) as file:
            put(file, f"sample/matrix/{part}", values)
        yield unifrac(folder, words)


@entry(18)
def false_shape(folder: Path) -> Attempt:
    with table(folder) as file:
        file.attrs["shape"] = [10**9, 10**9]
    return unifrac(folder, "ids for a shape of")


@entry(19)
def id_that_is_not_utf8(folder: Path) -> Attempt:
    with table(folder) as file:
        put(file, "sample/ids", np.array([b"s1", b"caf\xe9", b"s3"], object), dtype=h5py.string_dtype("ascii"))
    return unifrac(folder, "text number 2 of 'sample/ids' is not UTF-8")


@entry(20)
def id_with_control_characters(folder: Path) -> Iterator[Attempt]:
    for name in ("s\t2", "s\n2", "s\x1b[31m2"):
        table(folder, samples=["s1", name, "s3"]).close()
        yield unifrac(folder, r"sample id 's.*2' \(number 2\) holds the control character '.*'; rename it")


@entry(21)
def id_of_a_megabyte(folder: Path) -> Attempt:
    table(folder, samples=["s1", "x" * 2**20, "s3"]).close()
    return unifrac(folder, r"sample id 'xx*…' \(number 2\) has 1,048,576 characters, at most 1,024 are allowed")


@entry(22)
def id_that_looks_like_a_path(folder: Path) -> Attempt:
    table(folder, samples=["../../x", "/etc/passwd", "s3"]).close()
    return unifrac(folder, "3 samples with 4 ASVs", 0)


@entry("23 24 27")
def links(folder: Path) -> Iterator[Attempt]:
    for place in ("sample/matrix/data", "sample/matrix", "sample"):
        for kind in ("external", "loop"):
            with table(folder) as file:
                file.move(place, "elsewhere")
                external = h5py.ExternalLink(str(folder / "other.h5"), place)
                file[place] = external if kind == "external" else h5py.SoftLink("/" + place)
            yield unifrac(folder, f"'{place}' is a link to another place")


@entry(25)
def bytes_of_another_file(folder: Path) -> Attempt:
    (folder / "secret").write_bytes(b"p" * 8 * LENGTH)
    with table(folder) as file:
        del file["sample/matrix/data"]
        outside = [(str(folder / "secret"), 0, 8 * LENGTH)]
        file.create_dataset("sample/matrix/data", shape=(LENGTH,), dtype="f8", external=outside)
    return unifrac(folder, "'sample/matrix/data' keeps its data in another file")


@entry(26)
def virtual_dataset(folder: Path) -> Attempt:
    with h5py.File(folder / "other.h5", "w") as file:
        file["x"] = np.ones(LENGTH)
    layout = h5py.VirtualLayout(shape=(LENGTH,), dtype="f8")
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "x", shape=(LENGTH,))
    with table(folder) as file:
        del file["sample/matrix/data"]
        file.create_virtual_dataset("sample/matrix/data", layout)
    return unifrac(folder, "'sample/matrix/data' is a virtual dataset")


@entry(28)
def bombs(folder: Path) -> Iterator[Attempt]:
    with table(folder) as file:
        del file["sample/matrix/data"]
        file.create_dataset("sample/matrix/data", shape=(2 * 10**9,), dtype="f8", chunks=(1 << 20,), compression="gzip")
        file["sample/matrix/data"][: 1 << 20] = 0
    yield unifrac(folder, "claims .* of data in")
    (folder / "table.tsv").write_bytes(gzip.compress(b"\0" * (80 << 20)))
    yield unifrac(folder, "unpacks to more than|is packed by gzip", name="table.tsv")


@entry(29)
def unknown_filter(folder: Path) -> Attempt:
    with table(folder) as file:
        put(file, "sample/matrix/data", np.ones(LENGTH, dtype="i4"), chunks=(LENGTH,), scaleoffset=0)
    return unifrac(folder, "uses HDF5 filter 6, expected gzip, lzf, shuffle or fletcher32")


@entry(30)
def deep_json(folder: Path) -> Iterator[Attempt]:
    for text in ('{"a": ' * 100_000, '{"data": ' + "[" * 100_000 + "]" * 100_000 + "}"):
        (folder / "table.biom").write_text(text)
        yield unifrac(folder, "is damaged JSON")


@entry(31)
def json_nan(folder: Path) -> Attempt:
    return unifrac(folder, "a count is NaN", name=json_table(folder, data=[[0, 0, float("nan")]]).name)


@entry(32)
def json_cell_given_twice(folder: Path) -> Attempt:
    path = json_table(folder, data=[[0, 0, 3], [0, 0, 2]])
    return unifrac(folder, "1 cells are given more than once, first sample 's1', feature 'ACGT'", name=path.name)


@entry(33)
def text_called_biom(folder: Path) -> Attempt:
    """Read, because the content decides and not the name."""
    (folder / "table.biom").write_bytes(TSV)
    return unifrac(folder, "2 samples with 2 ASVs", 0)


@entry(34)
def no_file(folder: Path) -> Iterator[Attempt]:
    yield unifrac(folder, "does not exist; check the path given as --table", name="absent.biom")
    (folder / "folder").mkdir()
    yield unifrac(folder, "is a directory, expected a file", name="folder")


@entry(35)
def matrices_that_disagree(folder: Path) -> Attempt:
    with table(folder) as file:
        data = file["sample/matrix/data"][:]
        put(file, "sample/matrix/data", np.r_[data[:-1], 2.0])
    return unifrac(folder, "matrices stored by sample and by observation disagree")


@entry(36)
def sequences_of_all_kinds(folder: Path) -> Iterator[Attempt]:
    table(folder, asvs=["TTTT", "", "GGCC", "AACC"]).close()
    yield unifrac(folder, "feature id number 2 is empty")
    long = "ACGT" * 2500
    for asv in ("aacc", "A", long):
        table(folder, asvs=["ACGT", "TTTT", "GGCC", asv]).close()
        yield unifrac(folder, "3 samples with 4 ASVs", 0, tree=TREE.replace("AACC", asv))


def test_biom(case: Case, tmp_path: Path) -> None:
    hold(case, tmp_path)


test_biom = entry.parametrize()(test_biom)
