"""The folder of a reference: what is in it comes back, and what has changed in it is noticed."""

from __future__ import annotations

import json
import lzma
import shutil
from pathlib import Path

import numpy as np
import pytest
from mutated_genes import mutated_genes

from aam.errors import ReferenceFolderError
from aam.placement.reference import Reference
from aam.placement.store import open_reference, write_reference

NAMES = ["it's", "d__A; p__B", "a(b)[c]:1,2", "under_score", "plain"]


@pytest.fixture
def reference() -> Reference:
    """Five tips on columns 611 to 759, some without a base."""
    genes = mutated_genes(NAMES, first=611, last=759)
    codes = genes.codes.T.copy()
    codes[3:7, 1] = 4
    lineages = [f"d__Bacteria; p__{name}" if name != "plain" else "" for name in genes.tree.tip_names]
    return Reference(genes.tree, codes, 611, lineages)


@pytest.fixture
def folder(reference: Reference, tmp_path: Path) -> Path:
    """The folder of `reference`."""
    folder = tmp_path / "reference"
    folder.mkdir()
    (folder / "left-out.tsv").write_text("id\treason\n")
    about = {"region": "611:759", "counts": {}, "left_out": {}, "sources": {}}
    write_reference(folder, reference, np.ascontiguousarray(reference.codes.T), about, 1)
    return folder


def assert_same(found: Reference, expected: Reference) -> None:
    np.testing.assert_array_equal(found.codes, expected.codes)
    assert found.codes.flags.c_contiguous and found.first == expected.first
    assert list(found.tree.tip_names) == list(expected.tree.tip_names)
    for name in ("first", "last", "length", "parent"):
        array, other = getattr(found.tree, name), getattr(expected.tree, name)
        np.testing.assert_array_equal(array, other)
        assert array.dtype == other.dtype
    assert found.lineages == expected.lineages


def test_what_is_written_comes_back_from_files_and_from_the_cache(folder, reference):
    assert_same(open_reference(folder), reference)
    for name in ("alignment.txt.xz", "tree.nwk.xz", "taxonomy.tsv.xz"):
        (folder / name).unlink()  # the cache alone
    assert_same(open_reference(folder), reference)


def test_codes_are_mapped_and_cannot_be_changed(folder):
    codes = open_reference(folder).codes
    assert isinstance(codes.base, np.memmap) and not codes.flags.writeable


def test_the_alignment_is_text_in_the_order_of_the_tree(folder, reference):
    lines = lzma.decompress((folder / "alignment.txt.xz").read_bytes()).decode().splitlines()
    assert lines == ["".join("ACGT-"[code] for code in row) for row in reference.codes.T]


def test_a_reference_without_lineages(reference, tmp_path):
    bare = Reference(reference.tree, reference.codes, reference.first)
    (tmp_path / "left-out.tsv").write_text("")
    rows = np.ascontiguousarray(reference.codes.T)
    write_reference(tmp_path, bare, rows, {"region": "", "counts": {}, "left_out": {}, "sources": {}}, 1)
    for _ in ("files", "cache"):
        assert open_reference(tmp_path).lineages is None


@pytest.mark.parametrize("name", ["alignment.txt.xz", "tree.nwk.xz", "taxonomy.tsv.xz", "left-out.tsv"])
def test_a_changed_or_missing_file_is_named(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    words = f"{name} has SHA-256 .*…, expected .*…: it has changed since it was written; fetch it again, or remove"
    with pytest.raises(ReferenceFolderError, match=words):
        open_reference(folder)
    (folder / name).unlink()
    with pytest.raises(ReferenceFolderError, match=f"{name} is missing; fetch it again"):
        open_reference(folder)


def change_record(folder: Path, **values: object) -> None:
    record = json.loads((folder / "reference.json").read_text())
    (folder / "reference.json").write_text(json.dumps(record | values))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"format": "aam reference 0"}, "is of format 'aam reference 0', expected 'aam reference 1' .aam .*run `aam"),
        ({"profile": "16S-other"}, "is on the columns of profile '16S-other', expected '16S-gg85'"),
        ({"first": 612}, "holds files that do not fit"),
        ({"last": 758}, "holds files that do not fit"),
    ],
)
def test_records_of_other_versions_and_wrong_ones_are_refused(folder, values, words):
    change_record(folder, **values)
    with pytest.raises(ReferenceFolderError, match=words) as caught:
        open_reference(folder)
    assert "\n" not in str(caught.value)


def test_what_is_no_reference_is_refused(folder, tmp_path):
    for absent in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(
            ReferenceFolderError, match="is no finished reference .reference.json is missing.; make one"
        ):
            open_reference(absent)
    for text in ("[]", "{", '{"format": "aam reference 1", "profile": "16S-gg85"}'):
        (folder / "reference.json").write_text(text)
        with pytest.raises(ReferenceFolderError, match="reference.json (is no record|lacks)"):
            open_reference(folder)


def test_a_damaged_cache_is_made_anew(folder, reference):
    open_reference(folder)
    for name in ("codes.npy", "names.txt", "cache.json", "length.npy"):
        (folder / "cache" / name).write_bytes(b"x")
        assert_same(open_reference(folder), reference)
        assert (folder / "cache" / name).stat().st_size > 1


def test_the_cache_of_another_reference_is_not_used(folder, reference):
    open_reference(folder)
    other = folder.parent / "other"
    shutil.copytree(folder, other)
    change_record(other, counts={"tips": 5})  # another record: the cache that was copied is not known to be its own
    shutil.rmtree(other / "cache")
    shutil.copytree(folder / "cache", other / "cache")
    np.save(other / "cache" / "codes.npy", np.zeros_like(reference.codes))
    assert_same(open_reference(other), reference)


def test_where_the_folder_cannot_be_written_the_cache_is_that_of_the_user(folder, reference, tmp_path, monkeypatch):
    (folder / "cache").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert_same(open_reference(folder), reference)
    (made,) = (tmp_path / "xdg" / "aam" / "references").iterdir()
    assert (made / "codes.npy").exists()
    (folder / "alignment.txt.xz").unlink()
    assert_same(open_reference(folder), reference)


def test_where_nothing_can_be_written_it_is_opened_all_the_same(folder, reference, tmp_path, monkeypatch):
    (folder / "cache").write_text("")
    (tmp_path / "xdg").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert_same(open_reference(folder), reference)
    assert not list(tmp_path.rglob(".partial-*"))
