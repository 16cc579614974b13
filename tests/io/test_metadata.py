"""Metadata: ids stay text, what a number is, and refusals in one line with file and line."""

from __future__ import annotations

import time

import numpy as np
import pytest

from aam.errors import MetadataError
from aam.io.metadata import Metadata, parse_numbers, read_groups, read_metadata, select_column
from aam.io.metadata_rows import MISSING
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
        (b"sample-id\ta\ns\t1\ns\t2\n", "line 3: 's' stands in line 2 too; ids must be unique"),
        (b"sample-id\ta\ta\ns\t1\t2\n", "line 1: found more than once: 'a'; column names must be unique"),
        (b"sample-id\ta\ns\t1\t2\n", "line 2 .sample 's'.: found 3 cells, expected at most 2"),
        (b"name\ta\ns\t1\n", "the first column is named 'name', expected 'sample-id'; rename it"),
        (b"\ta\ns\t1\n", "the first column is named '', expected 'sample-id'; rename it"),
        (b"sample-id\tid\ns\t1\n", "a column is named 'id', which is kept for the ids; rename it"),
        (b'sample-id\ta\ns\t"1\n', "line 2: unexpected end of data; correct the quotes"),
        (b'sample-id\ta\ns\t"1\nt\t2\nu\t3\n', "line 2: unexpected end of data; correct the quotes"),
        (b"sample-id\ta\n", "has no sample below its header"),
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
        (
            b"PK\x03\x04rest",
            "is a zip archive, expected sample metadata as tab-separated text; give a feature table as --table",
        ),
        (b"\x1f\x8b\x08rest", "is packed by gzip"),
        (b"# remark\n\n", "has no header; expected a line with 'sample-id'"),
        (b"sample-id\ta\n\t1\n", "line 2: the first cell is empty, expected the id of a sample"),
        (b"sample-id\ta\t\tb\ns\t1\n", "line 1: column 3 has no name"),
        (b"sample-id\ta\nid\t1\n", "line 2: a sample is named 'id', which is kept for the header"),
        (b"sample-id\ta\n#q2:types\tordinal\ns\t1\n", "line 2: column 'a' is of type 'ordinal', expected categ"),
        (b"sample-id\ta\n#q2:units\tkg\ns\t1\n", "line 2: '#q2:units' is not known, expected one of #q2:types"),
        (b"sample-id\ta\ns\t1\n#q2:types\tnumeric\n", "line 3: '#q2:types' stands below samples"),
        (b"sample-id\ta\ns\t" + b"x" * 200_000 + b"\n", "line 2: field larger than field limit"),
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


def test_remarks_types_quotes_and_cells_over_several_lines_are_read_as_qiime_2_does(tmp_path):
    path = tmp_path / "m.tsv"
    path.write_text(
        "# remark\n\nSample-ID\tstage\tnote\tage\t\n#q2:types\tCategorical\t\tnumeric\n# remark\n"
        's1\t1\t"two\nlines, a ""quote"""\t 3 \t\t\n\t\t\ns2\t2\n'
    )
    frame, source, entries, types, _ = Metadata.read(path)
    assert frame.index.tolist() == ["s1", "s2"] and frame.columns.tolist() == ["stage", "note", "age"]
    assert (
        frame.loc["s1"].tolist() == ["1", 'two\nlines, a "quote"', "3"]
        and frame.loc["s2", ["note", "age"]].isna().all()
    )
    assert (source, entries, types) == (path, 2, {"stage": "categorical", "age": "numeric"})
    typed = read_metadata(path)
    assert typed["stage"].tolist() == ["1", "2"] and typed["age"].dtype == float


def test_real_files_are_read_as_scikit_bio_reads_them(tmp_path):
    """The same ids, columns and texts, but for the words of missing values, which are more here."""
    from skbio.metadata import SampleMetadata

    from aam.datasets import example

    path = example().metadata
    ours = Metadata.read(path).frame
    theirs = SampleMetadata.load(str(path), column_types=dict.fromkeys(ours.columns, "categorical")).to_dataframe()
    theirs = theirs.map(lambda cell: None if cell is None or str(cell).lower() in MISSING else cell)
    assert ours.index.tolist() == theirs.index.tolist() and ours.columns.tolist() == theirs.columns.tolist()
    assert ours.astype(object).where(ours.notna(), None).equals(theirs.astype(object).where(theirs.notna(), None))


@pytest.mark.parametrize("text", ["3", "+3", "-3.5", ".5", "5.", "1e5", "1E-5", " 7 ", "007", "1e-400"])
def test_numbers(text):
    assert parse_numbers([text])[0] == float(text)


NO_NUMBERS = [
    *(
        "２５",
        "١٢",
        "۱۲.۵",
        "१२",
        "𝟙𝟚",
        "²",
        "½",
        "Ⅷ",
        "−5",
        "\u200b5",
        "1,000",
        "1 000",
        "1\u00a0000",
        "20,5",
    ),
    *(
        "1_000",
        "0x10",
        "0b1",
        "1d5",
        "inf",
        "-Infinity",
        "nan",
        "1e400",
        "3.5e38",
        "1e",
        "e5",
        ".",
        "+",
        "--5",
        "1.2.3",
    ),
    *("<18.5", "25 kg", "n.d.", "5%", "True", "½", "1/2", "2020-01-01", "1:30", "Ⅻ", "五"),
]


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_no_number_is_text(text, tmp_path):
    """Neither the digits of other scripts, which Python reads, nor what it reads besides: `1_000`, `inf`."""
    assert np.isnan(parse_numbers([text])[0])
    path = tmp_path / "m.tsv"
    path.write_text(f"sample-id\ta\tb\ns1\t{text}\t1\ns2\t3\t2\n", encoding="utf-8")
    frame = read_metadata(path)
    assert frame["a"].tolist()[0] == text.strip() or text == "nan"
    assert frame["b"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(("rows", "columns"), [(10_000, 40), (20, 20_000)])
def test_large_metadata_takes_seconds(rows, columns, tmp_path):
    path = tmp_path / "m.tsv"
    lines = [
        "\t".join([f"s{row}", *(f"{(row * 7 + column) % 1000 / 10}" for column in range(columns))])
        for row in range(rows)
    ]
    path.write_text(
        "\n".join(["\t".join(["sample-id", *map(str, range(columns))]).replace("\t0\t", "\tzero\t"), *lines])
    )
    start = time.process_time()
    assert Metadata.read(path).frame.shape == (rows, columns)
    assert time.process_time() - start < 5, "about 0.3 s on an idle machine"
