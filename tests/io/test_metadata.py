"""Metadata: ids stay text, and scikit-bio's refusals arrive in one line with the file's name."""

from __future__ import annotations

import pytest

from aam.errors import MetadataError
from aam.io.metadata import read_groups, read_metadata, select_column
from aam.io.table import read_table


def test_ids_stay_text_and_columns_get_their_type(tmp_path):
    path = tmp_path / "m.tsv"
    path.write_text(
        "\ufeff#SampleID\tage\tsite\n1.10\t3\tgut\n1.1\t4.5\t\n00123\t\tskin\nNA\t1\tgut\n", encoding="utf-8"
    )
    frame = read_metadata(path)
    assert frame.index.tolist() == ["1.10", "1.1", "00123", "NA"]
    assert frame["age"].tolist()[:2] == [3.0, 4.5] and frame["age"].isna().tolist() == [False, False, True, False]
    assert frame["site"].isna().tolist() == [False, True, False, False]


@pytest.mark.parametrize("name", ["ibd-2538", "ecam-infants"])
def test_real_metadata_covers_its_table(name, study):
    frame = read_metadata(study(name) / "metadata.tsv")
    samples = read_table(study(name) / "table.biom").sample_ids
    groups = read_groups(study(name) / "metadata.tsv", "host_subject_id", samples)
    assert set(samples) <= set(frame.index) and set(groups) <= set(frame.index)
    assert len(set(groups.values())) == frame["host_subject_id"].nunique() < len(samples)


def test_groups_are_text_as_written_and_missing_ones_are_left_out(tmp_path):
    path = tmp_path / "m.tsv"
    rows = ["sample-id\tsubject\tsite", "a\t01\tgut", "b\t1\tgut", "c\t\t", "d\t2\tskin"]
    unknown = ["e\tNot Collected\tnan", "f\tmissing: control sample\t n/a"]
    path.write_text("\n".join([*rows, *unknown]) + "\n")
    assert read_groups(path, "subject", ["a"]) == {"a": "01", "b": "1", "d": "2"}
    assert read_groups(path, "site", ["x", "b"]) == {"a": "gut", "b": "gut", "d": "skin"}


def test_a_number_that_was_not_collected_leaves_its_column_one_of_numbers(tmp_path):
    path = tmp_path / "m.tsv"
    path.write_text("sample-id\tage\tsite\na\t3\tgut\nb\tnot collected\tNot Applicable\nc\t4.5\tNA\n")
    frame = read_metadata(path)
    assert frame["age"].dropna().tolist() == [3.0, 4.5] and frame["site"].dropna().tolist() == ["gut"]


def test_metadata_of_another_table_are_told_by_both_ids(tmp_path):
    path = tmp_path / "m.tsv"
    path.write_text("sample-id\tsubject\nMC001\t01\nMC002\t01\n")
    words = r"m.tsv: none of its 2 samples is among the 1 of the table \(metadata: 'MC001', table: '11402.MC001'\)"
    with pytest.raises(MetadataError, match=words):
        read_groups(path, "subject", ["11402.MC001"])


def test_a_column_that_is_not_there_gets_a_hint(tmp_path):
    path = tmp_path / "m.tsv"
    path.write_text("sample-id\thost_subject_id\tage\na\tx\t1\n")
    frame = read_metadata(path)
    with pytest.raises(MetadataError, match="m.tsv has no column 'host_subject'; did you mean 'host_subject_id'?"):
        select_column(frame, "host_subject", path)
    with pytest.raises(MetadataError, match="has no column 'xyz'; it has 'host_subject_id', 'age'"):
        read_groups(path, "xyz", ["a"])
    assert select_column(frame, "age", path).tolist() == [1.0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"sample-id\ta\ns\t1\ns\t2\n", "must be unique.*'s'"),
        (b"sample-id\ta\ta\ns\t1\t2\n", "Column names must be unique.*'a'"),
        (b"sample-id\ta\ns\t1\t2\n", "row contains more cells than are declared by the header.*3 cells"),
        (b"name\ta\ns\t1\n", "the first column is named 'name', expected 'sample-id'; rename it"),
        (b"\ta\ns\t1\n", "the first column is named '', expected 'sample-id'; rename it"),
        (b"sample-id\tid\ns\t1\n", "a column is named 'id', which is kept for the ids; rename it"),
        (b'sample-id\ta\ns\t"1\n', "unexpected end of data"),
        (b"sample-id\ta\n", "must contain at least one ID"),
        (b"sample-id\ta\nok\t1\ncaf\xe9\t2\n", "line 3 is not UTF-8 .byte 0xe9 at column 4.; save the file as UTF-8"),
        (b"\xef\xbb\xbfsample-id,a\r\ns,1\r\n", "the first line, 'sample-id,a', has ',' and no tab; .*tab-separated"),
        (b"sample-id;a\ns;1,5\n", "has ';' and no tab"),
        (b"(" + b"ACGT" * 99 + b":1):2;", "has ';' and no tab"),
        (b"x" * 999 + b"\ta\n", f"named '{'x' * 39}…', expected"),
        (
            "sample-id\ta\ns\t1\n".encode("utf-16-le"),
            "is text in UTF-16 or UTF-32, expected text; save it as UTF-8",
        ),
        (b"", "is an empty file"),
        (b"PK\x03\x04rest", "is a zip archive, expected text; unzip it first"),
        (b"\x1f\x8b\x08rest", "is packed by gzip"),
    ],
)
def test_refusals_are_one_line(content, words, tmp_path):
    (tmp_path / "m.tsv").write_bytes(content)
    with pytest.raises(MetadataError, match=f"m.tsv.*{words}") as refusal:
        read_metadata(tmp_path / "m.tsv")
    assert "\n" not in str(refusal.value) and "Keemei" not in str(refusal.value)


def test_missing_file_and_directory(tmp_path):
    with pytest.raises(MetadataError, match="none.tsv does not exist; check the path given as --metadata"):
        read_metadata(tmp_path / "none.tsv")
    with pytest.raises(MetadataError, match="is a directory, expected a file; give --metadata"):
        read_metadata(tmp_path)
