"""Classic tables as text: headers, ids as text, and every cell that is no number by its place."""

from __future__ import annotations

import pytest

from aam.errors import TableError
from aam.io import tsv
from aam.io.table import read_table

HEADER = "#OTU ID\ta\tb\n"


def table(tmp_path, text: str, encoding: str = "utf-8"):
    path = tmp_path / "t.tsv"
    path.write_bytes(text.encode(encoding))
    return read_table(path)


@pytest.mark.parametrize(
    "text",
    [
        "# Constructed from biom file\n#OTU ID\ta\tb\nAC\t3\t0\nGG\t1\t4\n",
        "#OTU ID\ta\tb\ttaxonomy\nAC\t3\t0\tk__Bacteria; p__\nGG\t1.0\t4\t\n",
        "#OTU ID\ta\tb\tConsensus Lineage\nAC\t3\t0\t7\nGG\t1\t4\t8\n",
        "feature-id\ta\tb\nAC\t3\t0\nGG\t1\t4\n",
        "\ta\tb\r\nAC\t3\t0\r\nGG\t1\t4",
        "\ufeff#OTU ID\ta\tb\n\nAC\t3\t0\n\nGG\t1e0\t 4\n\n",
    ],
)
def test_all_usual_forms_are_the_same_table(text, tmp_path):
    read = table(tmp_path, text)
    assert read.counts.toarray().tolist() == [[3, 1], [0, 4]]
    assert (read.sample_ids, read.asv_ids) == (["a", "b"], ["AC", "GG"])


def test_pieces_do_not_matter(tmp_path, monkeypatch):
    text = HEADER + "".join(f"{'ACGT'[k % 4] * (k + 1)}\t{k}\t{k % 3}\n" for k in range(20))
    whole = table(tmp_path, text)
    monkeypatch.setattr(tsv, "_CELLS_AT_ONCE", 9)  # three rows at a time
    assert (table(tmp_path, text).counts != whole.counts).nnz == 0
    assert whole.counts.sum() == sum(range(20)) + sum(k % 3 for k in range(20))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEADER + "AC\t3\tx\n", "'x' is not a number in row 'AC', column 'b'"),
        (HEADER + "AC\t3\t1\nGG\t\t4\n", "a cell is empty or missing in row 'GG', column 'a'"),
        (HEADER + "AC\t3\t1\nGG\t4\n", "a cell is empty or missing in row 'GG', column 'b'"),
        (HEADER + "AC\t3\tNA\n", "'NA' is not a number in row 'AC', column 'b'"),
        (HEADER + "AC\t3\t1,5\n", "'1,5' is not a number in row 'AC', column 'b'"),
        (
            "sample-id\tsex\tage\ns1\tfemale\t3\n",
            "look like metadata, which are given as --metadata, and the counts as",
        ),
        (HEADER + "AC\t3\t1\t7\n", "rows of 4 fields under a header of 3"),
        (HEADER + "AC\t3\t1\nGG\t1\t2\t7\n", "line 3 has 4 fields under a header of 3; every row needs as many fields"),
        (HEADER + "AC\t3\tinf\n", "1 of 2 counts are infinite, first inf in sample 'b', feature 'AC'"),
        (HEADER + "AC\t3\t99999999999999999999\n", "1 of 2 counts are above 999,999,999"),
        (HEADER + "AC\t3\t-1\n", "1 of 2 counts are negative"),
        (HEADER + "AC\t3\t0.5\n", "1 of 2 counts are fractional, first 0.5 in sample 'b'"),
        (HEADER + "AC\t3\t1\nAC\t3\t1\n", "1 feature id found more than once, first 'AC'"),
        ("#OTU ID\ta\ta\nAC\t3\t1\n", "1 sample id found more than once, first 'a'"),
        ("#OTU ID\ta\t\nAC\t3\t1\n", "column 3 has no name, but '1' in row 'AC'"),
        (HEADER, r"the table is empty \(2 samples, 0 features\)"),
        ("#OTU ID,a,b\n3\n", "is not a table: no header of tab-separated ids found"),
        ("\n\n", "is not a table: no header"),
    ],
)
def test_refusals(text, words, tmp_path):
    with pytest.raises(TableError, match=f"t.tsv.*{words}") as refusal:
        table(tmp_path, text)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("line", "text"), [(1, "#OTU ID\té\tb\nAC\t1\t2\n"), (3, HEADER + "AC\t1\t2\né\t1\t2\n")])
def test_text_that_is_not_utf8_is_refused_with_its_line(line, text, tmp_path):
    with pytest.raises(
        TableError, match=f"t.tsv: line {line} is not UTF-8 .byte 0xe9 at column .*save the file as UTF-8"
    ):
        table(tmp_path, text, "latin-1")
