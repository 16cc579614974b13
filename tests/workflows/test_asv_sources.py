"""`aam.place` on the objects of a notebook: each gives the same ASVs, and unusable ones are refused in one line."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import biom
import numpy as np
import pandas as pd
import pytest
from generated_reference import random_reference, read_of, save_reference
from skbio import TreeNode

import aam
from aam.errors import InputError
from aam.observer import Observer
from aam.workflows.asv_sources import asvs_of

SEQUENCES = {"a": "ACGTACGT", "b": "acguu", "c": "GGGG"}
PLAIN = ["ACGTACGT", "ACGTT", "GGGG"]


def test_all_kinds_of_sources(tmp_path: Path):
    fasta, table = tmp_path / "s.fasta", tmp_path / "t.tsv"
    fasta.write_text("".join(f">{name} text\n{read}\n" for name, read in SEQUENCES.items()))
    table.write_text("#OTU ID\ts1\na\t1\nb\t2\nc\t3\n")
    counts = np.ones((3, 2))
    by_id = [
        (SEQUENCES, None),
        (None, SEQUENCES),
        (fasta, None),
        (None, str(fasta)),
        (table, fasta),
        (pd.DataFrame(counts.T, columns=list("abc")), SEQUENCES),
        (biom.Table(counts, list("abc"), ["s1", "s2"]), fasta),
    ]
    for source, sequences in by_id:
        found = asvs_of(source, sequences, Observer())
        assert (list(found.ids), list(found.sequences)) == (["a", "b", "c"], PLAIN)
    for source in (PLAIN, [*PLAIN, "GGGG"], pd.DataFrame(counts.T, columns=PLAIN), iter(PLAIN)):
        found = asvs_of(source, None, Observer())
        assert list(found.ids) == list(found.sequences) == PLAIN


@pytest.mark.parametrize(
    ("source", "sequences", "message"),
    [
        (None, None, "no feature table; give --table FILE"),
        ("nowhere.fasta", None, "nowhere.fasta does not exist"),
        ([], None, "found an empty list, expected a table, a FASTA file or sequences as text"),
        (StringIO("ACGT"), None, "found StringIO, expected a table, a FASTA file or sequences as text"),
        ({"a": 1}, None, "the mapping of sequences: that of 'a' is int, expected DNA as text"),
        (
            pd.DataFrame(np.ones((1, 2)), columns=pd.MultiIndex.from_product([["gut"], PLAIN[:2]])),
            None,
            "the columns of the DataFrame have 2 levels, expected one with the DNA or the ids of ASVs",
        ),
        ([1, 2], None, "found list, expected a table"),
        (["ACGT", "hello"], None, "1 of 2 feature ids are not DNA, first 'hello'"),
        ({"a": "AC-GT"}, None, "1 of 1 sequences are not DNA, first that of 'a': '-' at position 3"),
        (pd.DataFrame(np.ones((1, 2)), columns=["a", "x"]), SEQUENCES, "sequences lacks 1 of 2 ASVs"),
        ("table.tsv", SEQUENCES, "sequences is a mapping beside a table file"),
    ],
)
def test_unusable_ones_are_refused(source, sequences, message: str):
    with pytest.raises(InputError, match="^[^\n]*$") as caught:
        asvs_of(source, sequences, Observer())
    assert message in str(caught.value)


def test_place_returns_tree_taxonomy_and_placements(tmp_path: Path):
    reference = random_reference(20)
    saved = save_reference(tmp_path / "reference", reference)
    reads = [read_of(reference, tip) for tip in (0, 7, 12)]
    found = aam.place(reads, reference=saved, confidence=0.8)
    assert isinstance(found, aam.Placement) and isinstance(found.tree, TreeNode)
    assert {tip.name for tip in found.tree.tips()} == set(reads)
    assert list(found.taxonomy.index) == list(found.placements.index) == list(found.nearest.index) == reads
    assert found.taxonomy.loc[reads[0], "Taxon"].endswith("g__G0")
    assert found.nearest.loc[reads[1], "nearest"].split("; ")[0] == reference.tree.tip_names[7]
    counts = pd.DataFrame([[1, 2, 0], [0, 3, 3]], index=["s1", "s2"], columns=reads).T
    counts.to_csv(tmp_path / "table.tsv", sep="\t", index_label="#OTU ID")
    unifrac = aam.distance(tmp_path / "table.tsv", method="placement", reference=saved)
    diversity = aam.distance(tmp_path / "table.tsv", reference=saved, metric="faith_pd")
    assert unifrac.ids == ("s1", "s2") and 0 < unifrac["s1", "s2"] < 1
    assert list(diversity.index) == ["s1", "s2"] and (diversity > 0).all()
    with pytest.raises(InputError, match="aam.place: unknown option 'metric'"):
        aam.place(reads, metric="weighted")
