"""The ways in which R, mothur, spreadsheets and vsearch write one table all give the same counts, or are refused."""

from __future__ import annotations

import pytest

from aam.errors import InputError, MatrixError, SequenceError, TableError
from aam.io.matrix import read_matrix
from aam.io.sequences import read_sequences
from aam.io.table import read_table
from aam.io.totals import TOTAL_FEATURES, TOTAL_SAMPLES

A, B = "ACGTACGTACGTACGTACGTACGTA", "TTGCACGTACGTACGTACGTACGTA"
COUNTS = [[1, 3], [2, 4]]
"""[samples S1 and S2, ASVs A and B] of each file that is read below."""


def table_of(tmp_path, text: str, sequences: str | None = None):
    (tmp_path / "t.txt").write_bytes(text.encode())
    if sequences is not None:
        (tmp_path / "s.fasta").write_text(sequences)
    return read_table(tmp_path / "t.txt", None if sequences is None else tmp_path / "s.fasta")


SAME = {
    "R without corner": f"S1\tS2\n{A}\t1\t2\n{B}\t3\t4\n",
    "R without corner, quoted": f'"S1"\t"S2"\n"{A}"\t1\t2\n"{B}"\t3\t4\n',
    "R with empty corner, quoted": f'""\t"S1"\t"S2"\n"{A}"\t1\t2\n"{B}"\t3\t4\n',
    "R between blanks": f'"S1" "S2"\n"{A}" 1 2\n"{B}" 3 4\n',
    "R between blanks, unquoted": f"S1 S2\n{A} 1 2\n{B} 3 4\n",
    "R, csv": f'"","S1","S2"\n"{A}",1,2\n"{B}",3,4\n',
    "csv": f"#OTU ID,S1,S2\n{A},1,2\n{B},3,4\n",
    "csv after a comment": f"# Constructed from biom file\n#OTU ID,S1,S2\n{A},1,2\n{B},3,4\n",
    "csv of semicolons": f"id;S1;S2\n{A};1;2\n{B};3;4\n",
    "csv, Windows": f"\ufeffid,S1,S2\r\n{A},1,2\r\n{B},3,4\r\n",
    "DADA2, samples as rows": f"{A}\t{B}\nS1\t1\t3\nS2\t2\t4\n",
    "DADA2, samples as rows, corner": f"\t{A}\t{B}\nS1\t1\t3\nS2\t2\t4\n",
    "DADA2, quoted csv": f'"","{A}","{B}"\n"S1",1,3\n"S2",2,4\n',
    "numbers in other notations": f"#OTU ID\tS1\tS2\n{A}\t1.0\t2e0\n{B}\t+3\t0.4E1\n",
    "taxonomy first": f"#OTU ID\ttaxonomy\tS1\tS2\n{A}\tk__Bacteria; p__\t1\t2\n{B}\t\t3\t4\n",
    "Consensus Lineage": f"#OTU ID\tS1\tS2\tConsensus Lineage\n{A}\t1\t2\tk__A\n{B}\t3\t4\t5\n",
    "ConsensusLineage quoted": f'"id"\t"S1"\t"S2"\t"Consensus.Lineage"\n"{A}"\t1\t2\t"k__A, x"\n"{B}"\t3\t4\t"-"\n',
    "trailing tabs": f"#OTU ID\tS1\tS2\t\n{A}\t1\t2\t\n{B}\t3\t4\t\n",
    "trailing tabs of rows": f"#OTU ID\tS1\tS2\n{A}\t1\t2\t\n{B}\t3\t4\t\n",
    "a lone quote in a comment": f'# "old\n"S1"\t"S2"\n"{A}"\t1\t2\n"{B}"\t3\t4\n',
    "total": f"#OTU ID\tS1\tS2\tTotal\n{A}\t1\t2\t3\n{B}\t3\t4\t7\n",
    "total first": f"id\tsum\tS1\tS2\n{A}\t3\t1\t2\n{B}\t7\t3\t4\n",
    "totals on both margins": f"id\tS1\tS2\tTotal\n{A}\t1\t2\t3\n{B}\t3\t4\t7\nTotal\t4\t6\t10\n",
    "row of totals": f"id\tS1\tS2\n{A}\t1\t2\n{B}\t3\t4\ncolsums\t4\t6\n",
    "two totals": f"id\tS1\tS2\ttotal\tSum\n{A}\t1\t2\t3\t3\n{B}\t3\t4\t7\t7\n",
    "mothur": f"Representative_Sequence\ttotal\tS1\tS2\n{A}\t3\t1\t2\n{B}\t7\t3\t4\n",
    "mothur, trailing tabs": f"Representative_Sequence\ttotal\tS1\tS2\t\n{A}\t3\t1\t2\t\n{B}\t7\t3\t4\t\n",
    "mothur, compressed": (
        "#Compressed Format: groupIndex,abundance. For example 1,6 would mean the read has an abundance of 6 for group "
        f"S1.\n#1,S1\t2,S2\nRepresentative_Sequence\ttotal\tS1\tS2\n{A}\t3\t1,1\t2,2\n{B}\t7\t2,4\t1,3\n"
    ),
    "mothur, shared": f"label\tGroup\tnumOtus\t{A}\t{B}\n0.03\tS1\t2\t1\t3\n0.03\tS2\t2\t2\t4\n",
    "mothur, shared, trailing tabs": f"label\tGroup\tnumASVs\t{A}\t{B}\t\nASV\tS1\t2\t1\t3\t\nASV\tS2\t2\t2\t4\t\n",
    "vsearch": f"#OTU ID\tS1\tS2\n{A};size=4;\t1\t2\n{B};size=6\t3\t4\n",
    "usearch": f"#OTU ID\tS1\tS2\n{A};size=4;ee=0.1;length=25;\t1\t2\n{B}\t3\t4\n",
    "vsearch, csv": f"#OTU ID,S1,S2\n{A};size=4;,1,2\n{B};size=6;,3,4\n",
}


@pytest.mark.parametrize("way", SAME)
def test_one_table_however_it_is_written(way, tmp_path):
    table = table_of(tmp_path, SAME[way])
    assert table.counts.toarray().tolist() == COUNTS
    assert (table.sample_ids, table.asv_ids, table.sequences) == (["S1", "S2"], [A, B], [A, B])


REFUSED = {
    "no header": (f"{A}\t1\t2\n{B}\t3\t4\n", "the first line, .* holds numbers, expected ids of columns; add a header"),
    "no header, csv": (f"{A},1,2\n{B},3,4\n", "the first line, .* holds numbers"),
    "header short, but with the name of ids": (f"#OTU ID\tS1\n{A}\t1\t2\n", "rows of 3 fields under a header of 2"),
    "last cell missing, without corner": (f"S1\tS2\n{A}\t1\t\n{B}\t3\t\n", "a cell is empty or missing in row .* 'S2'"),
    "thousands": (f"id\tS1\n{A}\t1,000\n", "'1,000' is not a number in row .* nothing between thousands"),
    "thousands of blanks": (f"id\tS1\n{A}\t1 000\n", "'1 000' is not a number"),
    "thousands, German": (f"id;S1;S2\n{A};1.000;2\n{B};3;4\n", "'1.000' may be thousands or decimals in row"),
    "decimal commas": (f"id;S1;S2\n{A};1,0;2\n{B};3;4\n", "'1,0' is not a number"),
    "underscores": (f"id\tS1\n{A}\t1_000\n", "'1_000' is not a number"),
    "Arabic digits": (f"id\tS1\n{A}\t١٢\n", "'١٢' has digits of another script in row"),
    "full-width digits": (f"id\tS1\n{A}\t１２\n", "'１２' has digits of another script"),
    "hexadecimal": (f"id\tS1\n{A}\t0x10\n", "'0x10' is not a number"),
    "truth values": (f"id\tS1\n{A}\tTRUE\n{B}\tFALSE\n", "'True' is not a number"),
    "total that is none": (f"id\tS1\tTotal\n{A}\t1\t3\n{B}\t3\t7\n", "'Total' is named as a sum but is not the sum"),
    "total alone": (f"Representative_Sequence\ttotal\n{A}\t3\n", "'total' is named as a sum but is the only"),
    "shared of two labels": (
        f"label\tGroup\tnumOtus\t{A}\n0.01\tS1\t1\t1\n0.03\tS1\t1\t1\n", "with 2 labels, such as '0.01' and '0.03'"
    ),
    "compressed, wrong total": (
        f"#Compressed Format: x\n#1,S1\t2,S2\nRepresentative_Sequence\ttotal\n{A}\t9\t1,1\t2,2\n",
        "line 4 has 3 reads in all, expected its total, '9'",
    ),
    "compressed, group twice": (
        f"#Compressed Format: x\n#1,S1\t2,S2\nRepresentative_Sequence\ttotal\n{A}\t3\t1,1\t1,2\n", "4 holds '1,1 1,2'"
    ),
    "compressed, unknown group": (
        f"#Compressed Format: x\n#1,S1\t2,S2\nRepresentative_Sequence\ttotal\n{A}\t3\t3,3\n", "line 4 holds '3,3'"
    ),
    "ids that annotations alone tell apart": (
        f"id\tS1\n{A};size=1;\t1\n{A};size=2;\t1\n", "1 feature id without annotation .* found more than once"
    ),
    "a value in a column without name": (f"id\tS1\t\n{A}\t1\t2\n", "column 3 has no name, but '2' in row"),
    "an open quote": (f'"S1"\t"S2"\n"{A}\t1\t2\n"{B}"\t3\t4\n', "t.txt: "),
}  # fmt: skip


@pytest.mark.parametrize("way", REFUSED)
def test_what_is_not_plain_is_refused_with_its_place(way, tmp_path):
    text, words = REFUSED[way]
    with pytest.raises(InputError, match=words) as refusal:
        table_of(tmp_path, text)
    assert "\n" not in str(refusal.value)


def test_what_was_a_sum_is_said(tmp_path):
    table = table_of(tmp_path, SAME["totals on both margins"])
    assert table.dropped == {TOTAL_SAMPLES: ["Total"], TOTAL_FEATURES: ["Total"]}


def test_a_sum_is_known_by_its_counts_too(tmp_path):
    rows = [("ACGT"[k % 4] * (k + 1), k + 1, 2 * k + 1) for k in range(12)]
    text = "id\ta\tpool\tb\n" + "".join(f"{dna}\t{one}\t{one + two}\t{two}\n" for dna, one, two in rows)
    table = table_of(tmp_path, text)
    assert (table.sample_ids, table.dropped) == (["a", "b"], {TOTAL_SAMPLES: ["pool"]})
    assert table.counts.toarray().tolist() == [[one for _, one, _ in rows], [two for _, _, two in rows]]
    few = table_of(tmp_path, "".join(text.splitlines(keepends=True)[:6]))
    assert few.sample_ids == ["a", "pool", "b"], "five features may be chance"


def test_ids_of_sequences_are_matched_without_annotations(tmp_path):
    for ids in (("x", "y"), ("x;size=4;", "y;size=6;"), ("x", "y;size=1;")):
        for records in (("x", "y"), ("x;size=9;", "y;size=7"), ("x;size=4;ee=0.2;", "y")):
            table = table_of(
                tmp_path,
                f"id\tS1\tS2\n{ids[0]}\t1\t2\n{ids[1]}\t3\t4\n",
                f">{records[0]} more\n{A}\n>{records[1]}\n{B}\n",
            )
            assert (table.counts.toarray().tolist(), table.sequences) == (COUNTS, [A, B])
            assert table.asv_ids == ["x", "y"]
    with pytest.raises(SequenceError, match="two records are 'x' without their annotations"):
        table_of(tmp_path, "id\tS1\tS2\nx\t1\t2\n", f">x;size=1;\n{A}\n>x;size=2;\n{B}\n")
    assert list(read_sequences(tmp_path / "s.fasta")) == ["x;size=1;", "x;size=2;"], "ids stay as written elsewhere"


@pytest.mark.parametrize(
    "text",
    [
        "a\tb\na\t0\t0.5\nb\t0.5\t0\n",
        '"a"\t"b"\n"a"\t0\t0.5\n"b"\t0.5\t0\n',
        '"","a","b"\n"a",0,0.5\n"b",0.5,0\n',
        "\ta\tb\na\t0\t5e-1\nb\t.5\t0\n",
        "a b\na 0 0.5\nb 0.5 0\n",
    ],
)
def test_matrices_of_r(text, tmp_path):
    (tmp_path / "m.txt").write_text(text)
    record = read_matrix(tmp_path / "m.txt")
    assert (record.ids, record.values.tolist()) == (["a", "b"], [[0, 0.5], [0.5, 0]])


def test_decimal_commas_of_matrices_are_refused(tmp_path):
    (tmp_path / "m.txt").write_text(";a;b\na;0;0,5\nb;0,5;0\n")
    with pytest.raises(MatrixError, match="'0,5' is not a number in row 'b', column 'a'; .*with '.' for decimals"):
        read_matrix(tmp_path / "m.txt")


def test_totals_in_biom(write_biom):
    table = read_table(write_biom([[1, 3], [2, 4], [3, 7]], ["S1", "S2", "total"], [A, B]))
    assert (table.counts.toarray().tolist(), table.dropped) == (COUNTS, {TOTAL_SAMPLES: ["total"]})
    with pytest.raises(TableError, match="'total' is named as a sum but is not the sum of the others"):
        read_table(write_biom([[1, 3], [2, 4], [3, 8]], ["S1", "S2", "total"], [A, B]))
    kept = read_table(write_biom([[1, 3], [2, 4], [3, 8]], ["S1", "S2", "total_RNA_3"], [A, B]))
    assert kept.counts.toarray().tolist() == [[1, 3], [2, 4], [3, 8]], "a word in a longer name is no sum"
