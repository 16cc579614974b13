"""Lineages as the references of the field write them."""

from __future__ import annotations

import gzip

import pytest

from aam.errors import TaxonomyError
from aam.io.taxonomy import join_ranks, read_taxonomy

FORMS = {
    "Greengenes": "228054\tk__Bacteria; p__Cyanobacteria; g__; s__\n",
    "QIIME 2": "Feature ID\tTaxon\tConfidence\n#q2:types\tcategorical\tnumeric\n"
    "228054\tk__Bacteria; p__Cyanobacteria; g__; s__\t0.99\n",
    "GTDB": "228054\tk__Bacteria;p__Cyanobacteria;g__;s__\n",
    "SILVA": "228054\tk__Bacteria;p__Cyanobacteria;g__;s__;\r\n",
    "an old table": "#OTU ID\ttaxonomy\n228054\tk__Bacteria; p__Cyanobacteria; g__; s__\n\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_one_lineage(form, tmp_path):
    path = tmp_path / "taxonomy.tsv"
    for content in (FORMS[form].encode(), gzip.compress(FORMS[form].encode())):
        path.write_bytes(content)
        assert read_taxonomy(path) == {"228054": "k__Bacteria; p__Cyanobacteria; g__; s__"}


def test_an_artifact(write_qza):
    path = write_qza("FeatureData[Taxonomy]", "taxonomy.tsv", FORMS["QIIME 2"].encode())
    assert list(read_taxonomy(path)) == ["228054"]
    path = write_qza("FeatureData[Sequence]", "dna-sequences.fasta", b">a\nA\n")
    with pytest.raises(TaxonomyError, match=r"is a FeatureData\[Sequence\], expected a FeatureData\[Taxonomy\]"):
        read_taxonomy(path)


def test_ranks_keep_their_blanks_and_lose_empty_ends():
    assert join_ranks("d__Bacteria;p__Candidatus  Falkowbacteria ;;") == "d__Bacteria; p__Candidatus Falkowbacteria"
    assert join_ranks("") == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b c\n", "line 1 is 'a b c', expected an id, a tab and ranks between ';'"),
        ("a\tx\na\ty\n", "line 2 repeats the id 'a'; keep one lineage of each"),
        ("Feature ID\tTaxon\n", "holds no lineages"),
        ("\tx\n", "line 1 is '.*', expected an id"),
    ],
)
def test_what_is_no_taxonomy(text, words, tmp_path):
    (tmp_path / "t.tsv").write_text(text)
    with pytest.raises(TaxonomyError, match=f"t.tsv.*{words}"):
        read_taxonomy(tmp_path / "t.tsv")
    with pytest.raises(TaxonomyError, match="none.tsv does not exist; check the path given as --taxonomy"):
        read_taxonomy(tmp_path / "none.tsv")
