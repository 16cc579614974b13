"""read_table: what every format yields, what is left out and told, and what is refused with which words."""

from __future__ import annotations

import json
from pathlib import Path

import biom
import numpy as np
import pytest

from aam.errors import SequenceError, TableError
from aam.io.table import EMPTY_ASVS, EMPTY_SAMPLES, STORED_ZEROS, read_table

SAMPLES = ["s1", "s2", "s3"]
ASVS = ["ACGT", "TTTT", "GGCC", "AACC"]
COUNTS = [[5, 0, 2, 1], [0, 7, 0, 3], [1, 1, 1, 1]]


def as_json(biom_path: Path, dense: bool = False) -> str:
    """The same table as BIOM 1 text, written by `biom`."""
    content = json.loads(biom.load_table(biom_path).to_json("test"))
    if dense:
        content |= {"matrix_type": "dense", "data": np.transpose(COUNTS).tolist()}
    return json.dumps(content)


@pytest.mark.parametrize("kind", ["hdf5", "hdf5-plain", "json", "json-dense", "tsv", "qza"])
def test_every_format_gives_the_same_table(kind, write_biom, write_qza, tmp_path):
    path = write_biom(compress=kind != "hdf5-plain")
    other = tmp_path / "other"
    if kind.startswith("json"):
        other.write_text(as_json(path, dense=kind == "json-dense"))
        path = other
    elif kind == "tsv":
        other.write_text(biom.load_table(path).to_tsv())
        path = other
    elif kind == "qza":
        path = write_qza("FeatureTable[Frequency]", "feature-table.biom", path.read_bytes())
    table = read_table(path)
    assert table.counts.toarray().tolist() == COUNTS
    assert table.counts.dtype == np.int64 and table.counts.has_canonical_format
    assert (table.sample_ids, table.asv_ids, table.sequences) == (SAMPLES, ASVS, ASVS)
    assert table.source == path and table.dropped == {}


@pytest.mark.parametrize("name", ["ibd-2538", "ecam-infants", "udca-gut", "alm-stool-saliva"])
def test_real_tables_equal_biom(name, study):
    path = study(name) / "table.biom"
    table, reference = read_table(path), biom.load_table(path)
    assert table.sample_ids == reference.ids().tolist()
    assert table.asv_ids == table.sequences == reference.ids("observation").tolist()
    assert (table.counts != reference.matrix_data.T.tocsr()).nnz == 0
    assert table.dropped == {}


@pytest.mark.parametrize("name", [pytest.param("ibd-2538", marks=pytest.mark.slow), "ecam-infants"])
def test_real_table_survives_json_and_tsv(name, study, tmp_path):
    path = study(name) / "table.biom"
    table, reference = read_table(path), biom.load_table(path)
    (tmp_path / "table.json").write_text(reference.to_json("test"))
    (tmp_path / "table.tsv").write_text(reference.to_tsv())
    for other in (read_table(tmp_path / "table.json"), read_table(tmp_path / "table.tsv")):
        assert (other.sample_ids, other.asv_ids) == (table.sample_ids, table.asv_ids)
        assert (other.counts != table.counts).nnz == 0


def test_what_is_empty_is_left_out_and_told(write_biom):
    path = write_biom([[5, 0, 2], [0, 0, 0], [1, 0, 0]], asvs=["AC", "GG", "TT"])
    table = read_table(path)
    assert table.counts.toarray().tolist() == [[5, 2], [1, 0]]
    assert (table.sample_ids, table.asv_ids, table.sequences) == (["s1", "s3"], ["AC", "TT"], ["AC", "TT"])
    assert table.dropped == {EMPTY_SAMPLES: ["s2"], EMPTY_ASVS: ["GG"]}


def test_stored_zeros_are_removed_and_their_samples_told(tmp_path):
    content = {
        "rows": [{"id": "AC"}, {"id": "GG"}],
        "columns": [{"id": "a"}, {"id": "b"}],
        "matrix_type": "sparse",
        "shape": [2, 2],
        "data": [[0, 0, 3], [1, 0, 1], [0, 1, 0], [1, 1, 4]],
    }
    (tmp_path / "t.biom").write_text(json.dumps(content))
    table = read_table(tmp_path / "t.biom")
    assert table.counts.nnz == 3
    assert table.dropped == {STORED_ZEROS: ["b"]}


def test_presence_in_place_of_reads_is_doubted(write_biom):
    (text,) = read_table(write_biom([[1, 0], [1, 1]], ["a", "b"], ["AC", "GG"])).doubts()
    assert "every count is 1" in text
    assert read_table(write_biom([[1, 0], [1, 2]], ["a", "b"], ["AC", "GG"])).doubts() == []
    late = [[1] * 1500 + [2]]  # beyond the first thousand counts
    assert (
        read_table(
            write_biom(late, ["a"], [f"{'A' * 20}{n:b}".replace("0", "C").replace("1", "G") for n in range(1501)])
        ).doubts()
        == []
    )


def test_select_orders_rows_and_columns_and_keeps_empty_ones(write_biom):
    table = read_table(write_biom()).select(np.array([1, 0]), np.array([2, 0]))
    # row s2 has neither GGCC nor ACGT; row s1 has 2 and 5
    assert table.counts.toarray().tolist() == [[0, 0], [2, 5]]
    assert (table.sample_ids, table.asv_ids, table.sequences) == (["s2", "s1"], ["GGCC", "ACGT"], ["GGCC", "ACGT"])
    assert table.counts.has_canonical_format
    whole = read_table(table.source).select()
    assert whole.counts.toarray().tolist() == COUNTS and whole.asv_ids == ASVS


def test_a_table_accounts_for_the_samples_that_it_loses(write_biom):
    """In the table that is returned; the one it came from stays as it was."""
    table = read_table(write_biom())
    kept = table.keep(table.depths() > 7, "few").keep(np.array([True, False]), "chosen")
    assert table.depths().tolist() == [8, 10, 4] and table.dropped == {}
    assert kept.sample_ids == ["s1"] and kept.dropped == {"few": ["s3"], "chosen": ["s2"]}
    assert kept.keep(np.array([True]), "nothing") is kept


def test_lower_case_and_rna_are_dna_and_ids_stay_as_written(write_biom):
    table = read_table(write_biom([[1, 2]], ["s"], ["acgu", "ACNR"]))
    assert table.asv_ids == ["acgu", "ACNR"]
    assert table.sequences == ["ACGT", "ACNR"]


def test_ids_that_look_like_paths_or_numbers_are_text(write_biom, tmp_path):
    ids = ["../../x", "/etc/passwd", "1.10", "NA", "00123"]
    path = write_biom(np.eye(5), ids, ["A", "C", "G", "T", "AA"])
    assert read_table(path).sample_ids == ids
    (tmp_path / "t.tsv").write_text(biom.load_table(path).to_tsv())
    assert read_table(tmp_path / "t.tsv").sample_ids == ids


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "2 of 9 counts are NaN, first nan in sample 's2', feature 'TTTT'.*replace missing"),
        (np.inf, "2 of 9 counts are infinite, first inf in sample 's2', feature 'TTTT'"),
        (-2, "2 of 9 counts are negative, first -2.0 in sample 's2', feature 'TTTT'.*before any transformation"),
        (0.25, "2 of 9 counts are fractional, first 0.25 in sample 's2', feature 'TTTT'.*not relative abundances"),
        (1e300, "2 of 9 counts are above 999,999,999, first 1e\\+300 in sample 's2', feature 'TTTT'"),
    ],
)
def test_values_that_are_no_counts_are_refused_by_place(value, words, write_biom):
    path = write_biom([[5, 0, 2, 1], [0, value, 0, 3], [1, 1, value, 1]])
    with pytest.raises(TableError, match=f"table.biom: {words}") as refusal:
        read_table(path)
    assert "\n" not in str(refusal.value)


def test_a_sample_with_more_reads_than_rarefaction_can_draw_is_refused(write_biom):
    path = write_biom([[6e8, 6e8]], ["s"], ["A", "C"])
    with pytest.raises(TableError, match="sample 's' has 1,200,000,000 reads in all, at most 999,999,999"):
        read_table(path)


@pytest.mark.parametrize(
    ("samples", "asvs", "words"),
    [
        (["s1", "s1", "s3"], ASVS, "1 sample id found more than once, first 's1'; ids must be unique"),
        (SAMPLES, ["AC", "AC", "GG", "GG"], "2 feature ids found more than once, first 'AC'"),
        (["s1", "", "s3"], ASVS, "sample id number 2 is empty"),
        (["s1", "s\t2", "s3"], ASVS, r"sample id 's\\t2' \(number 2\) holds the control character '\\t'"),
        (["s1", "s2", "s\n3"], ASVS, r"sample id 's\\n3' \(number 3\) holds the control character '\\n'"),
        (["s1", "s2", "x" * 2000], ASVS, "has 2,000 characters, at most 1,024 are allowed"),
        (SAMPLES, ["AC", "GG", "CC", "A" * 1_000_000], "has 1,000,000 characters, at most 65,536"),
    ],
)
def test_bad_ids_are_refused(samples, asvs, words, tmp_path):
    content = {
        "rows": [{"id": text} for text in asvs],
        "columns": [{"id": text} for text in samples],
        "matrix_type": "dense",
        "shape": [4, 3],
        "data": np.transpose(COUNTS).tolist(),
    }
    (tmp_path / "t.json").write_text(json.dumps(content))
    with pytest.raises(TableError, match=f"t.json: .*{words}") as refusal:
        read_table(tmp_path / "t.json")
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 400


def test_a_sequence_of_ten_thousand_bases_may_be_an_id(write_biom):
    assert read_table(write_biom([[1, 2]], ["s"], ["A" * 10_000, "C"])).sequences[0] == "A" * 10_000


def test_hashed_ids_point_to_the_option(write_biom):
    hashes = ["4b5eeb300368260019c1fbc7a3c718fc", "0E1FA0B1C2D3E4F5061728394A5B6C7D"]
    path = write_biom([[1, 2]], ["s"], hashes)
    words = r"2 of 2 feature ids are not DNA \(they look like MD5 hashes\), first '4b5eeb.*--sequences FILE"
    with pytest.raises(SequenceError, match=words):
        read_table(path)


@pytest.mark.parametrize("taxon", ["k__Bacteria;p__Firmicutes", "d__Bacteria", "Bacteria;Firmicutes", "g__"])
def test_a_table_of_taxa_is_told_from_one_of_hashes(write_biom, taxon):
    words = "not DNA .they look like taxa.*; give the table of ASVs from before it was collapsed"
    with pytest.raises(SequenceError, match=words):
        read_table(write_biom([[1, 2]], ["s"], [taxon, f"{taxon};x"]))


def test_ids_that_are_no_dna_are_counted_and_the_first_is_named(write_biom):
    path = write_biom(asvs=["ACGT", "ACG!T", "OTU_1", "GG"])
    words = r"table.biom: 2 of 4 feature ids are not DNA, first 'ACG!T' \('!' at position 4\)"
    with pytest.raises(SequenceError, match=words):
        read_table(path)


def test_sequences_come_from_fasta_by_id(write_biom, tmp_path):
    fasta = tmp_path / "rep.fasta"
    fasta.write_text(">h2 some text\nACGU\nacg\n>h1\nTTTT\n>unused\nnot dna\n")
    table = read_table(write_biom([[1, 2]], ["s"], ["h1", "h2"]), fasta)
    assert table.asv_ids == ["h1", "h2"]
    assert table.sequences == ["TTTT", "ACGTACG"]


def test_a_transposed_table_is_told_so(write_biom):
    path = write_biom([[1, 2], [3, 4]], ["ACGT" * 25, "GGTT" * 25], ["sample_1", "sample_2"])
    with pytest.raises(TableError, match="sample ids are DNA and feature ids are not; transpose the table"):
        read_table(path)


def test_empty_tables_are_refused(write_biom, tmp_path):
    with pytest.raises(TableError, match=r"the table is empty \(0 samples, 0 features\)"):
        read_table(write_biom(np.zeros((0, 0)), [], []))
    with pytest.raises(TableError, match=r"all 3 samples are empty \(no count > 0\)"):
        read_table(write_biom(np.zeros((3, 4))))
    (tmp_path / "t.tsv").write_text("#OTU ID\ts1\n")
    with pytest.raises(TableError, match=r"the table is empty \(1 samples, 0 features\)"):
        read_table(tmp_path / "t.tsv")


def test_what_is_no_table_file_is_refused_by_what_it_is(tmp_path, write_qza):
    cases = {
        "missing.biom": (None, "missing.biom does not exist; check the path given as --table"),
        "empty.biom": (b"", "empty.biom is an empty file"),
        "packed.biom": (b"\x1f\x8b\x08rest", "packed.biom is a damaged gzip file"),
        "image.biom": (b"\x89PNG\r\n\x1a\n\0\0", "is an image, expected BIOM"),
        "array.biom": (b"\x93NUMPY\x01\0", "is an array of NumPy .*, expected BIOM"),
        "notes.biom": (b"Dear diary,\n", "notes.biom is not a table: no header of tab-separated ids found"),
        "reads.biom": (b">s1\nACGT\n", "reads.biom is FASTA .sequences., expected BIOM .*; give it as --sequences"),
    }
    for name, (content, words) in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(TableError, match=words):
            read_table(tmp_path / name)
    with pytest.raises(TableError, match="is a directory, expected a file; give --table the path of the file"):
        read_table(tmp_path)
    with pytest.raises(
        TableError, match=r"artifact.qza is a Phylogeny\[Rooted\], expected a FeatureTable\[Frequency\]"
    ):
        read_table(write_qza("Phylogeny[Rooted]", "tree.nwk", b"(a,b);"))
