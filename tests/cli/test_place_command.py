"""`aam place` and `aam distance --method placement` from files to files, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from generated_reference import random_reference, read_of, save_reference
from skbio import DistanceMatrix, TreeNode
from skbio.diversity import alpha_diversity, beta_diversity

from aam.cli import main
from aam.models.placer import Placer
from aam.placement import shipped
from aam.placement.learned import LearnedPlacer
from aam.placement.placer_file import write_placer
from aam.placement.reference import Reference

FILES = ["insertion-tree.nwk", "placements.jplace", "placements.tsv", "taxonomy-ranks.tsv", "taxonomy.tsv"]
NO_16S = "ACGT" * 40


@pytest.fixture(scope="module")
def reference() -> Reference:
    return random_reference(40)


@pytest.fixture(scope="module")
def saved(reference: Reference, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_reference(tmp_path_factory.mktemp("references") / "whole", reference)


@pytest.fixture
def study(reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Counts [ASVs, samples] of table.tsv; asvs.fasta has the sequences. The last ASV is no 16S."""
    monkeypatch.chdir(tmp_path)
    counts = pd.DataFrame(
        np.random.default_rng(0).integers(0, 20, (12, 5)),
        index=[f"asv_{row}" for row in range(12)],
        columns=[f"s{column}" for column in range(5)],
    )
    reads = [*(read_of(reference, 3 * row) for row in range(11)), NO_16S]
    Path("asvs.fasta").write_text("".join(f">{name}\n{read}\n" for name, read in zip(counts.index, reads, strict=True)))
    counts.to_csv("table.tsv", sep="\t", index_label="#OTU ID")
    return counts


def aam(command: str, *options: str | Path) -> int:
    return main([command, *map(str, options)])


INPUT = ("--table", "table.tsv", "--sequences", "asvs.fasta")


def test_place_writes_five_files_that_agree(study: pd.DataFrame, saved: Path, reference: Reference, capsys):
    assert aam("place", *INPUT, "--reference", saved, "-o", "placed") == 0
    told = capsys.readouterr()
    assert "left out: 1 ASV not of 16S (asv_11)" in told.err
    assert told.out.startswith("11 ASVs placed in ") and " s; 1 left out (1 not 16S); written to placed: " in told.out
    assert sorted(path.name for path in Path("placed").iterdir()) == FILES
    tree = TreeNode.read("placed/insertion-tree.nwk", format="newick")
    assert {tip.name for tip in tree.tips()} == set(study.index[:11])
    rows = pd.read_csv("placed/placements.tsv", sep="\t", index_col="feature-id", keep_default_na=False)
    assert list(rows.index) == list(study.index)
    assert rows.loc["asv_2", "nearest"].split("; ")[0] == reference.tree.tip_names[6]
    assert rows.loc["asv_11", "fate"] == "not 16S" and rows.loc["asv_11", "distance"] == ""
    taxa = pd.read_csv("placed/taxonomy.tsv", sep="\t", index_col="Feature ID")
    assert list(taxa.columns) == ["Taxon", "Confidence"] and list(taxa.index) == list(study.index)
    assert taxa.loc["asv_0", "Taxon"] == "k__Bacteria; p__P0; c__; o__; f__F0; g__G0"
    assert taxa.loc["asv_11", "Taxon"] == "Unassigned"
    places = json.loads(Path("placed/placements.jplace").read_text())["placements"]
    assert [entry["n"] for entry in places] == [[name] for name in study.index[:11]]
    assert aam("unifrac", *INPUT, "--tree", "placed/insertion-tree.nwk", "-o", "u.tsv") == 0


def test_a_fasta_file_alone_and_the_tips_of_the_reference(study: pd.DataFrame, saved: Path, monkeypatch):
    monkeypatch.setenv(shipped.VARIABLE, str(saved))
    assert aam("place", "--sequences", "asvs.fasta", "--tree", "reference", "-o", "placed") == 0
    tree = TreeNode.read("placed/insertion-tree.nwk", format="newick")
    assert {tip.name for tip in tree.tips()} == set(study.index[:11]) | {f"t{number}" for number in range(40)}


def test_a_reference_without_taxonomy_gives_none(study: pd.DataFrame, tmp_path: Path, capsys):
    bare = save_reference(tmp_path / "bare", random_reference(20, taxonomy=False))
    assert aam("place", *INPUT, "--reference", bare, "-o", "placed") == 0
    assert "the reference has no taxonomy" in capsys.readouterr().err
    assert sorted(path.name for path in Path("placed").iterdir()) == FILES[:3]


def test_distances_are_those_of_the_insertion_tree(study: pd.DataFrame, saved: Path, capsys):
    """scikit-bio computes them from the tree that is written; the ASV without a place counts nowhere."""
    options = ("--method", "placement", "--reference", saved)
    for metric in ("unweighted", "weighted_normalized", "faith_pd"):
        assert aam("distance", *INPUT, *options, "--metric", metric, "-o", f"{metric}.tsv") == 0
    assert (
        aam("distance", *INPUT, "--reference", saved, "--metric", "generalized", "--write-tree", "t.nwk", "-o", "g.tsv")
        == 0
    )
    told = capsys.readouterr().err
    assert f"distances are in units of the tree of the reference {saved} (40 tips)" in told
    tree, placed = TreeNode.read("t.nwk", format="newick"), study.iloc[:11]
    given = {"taxa": list(placed.index), "tree": tree, "ids": list(study.columns)}
    for metric, name, more in (
        ("unweighted", "unweighted_unifrac", {}),
        ("weighted_normalized", "weighted_unifrac", {"normalized": True}),
    ):
        expected = beta_diversity(name, placed.T.to_numpy(), **given, **more)
        found = DistanceMatrix.read(f"{metric}.tsv")
        assert found.ids == expected.ids
        np.testing.assert_allclose(found.data, expected.data, atol=1e-12)
    expected = alpha_diversity("faith_pd", placed.T.to_numpy(), **given)
    for name in ("faith_pd.tsv", "unweighted.faith_pd.tsv"):
        found = pd.read_csv(name, sep="\t", index_col="sample-id")["faith_pd"]
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_distances_of_a_part_are_those_of_the_table_unless_joint(reference: Reference, study, tmp_path, capsys):
    """12 relatives far from the reference (10 to 20 of 150 bases changed); half of them are in two of five samples.

    Placed alone the distance of these two is the same without the others, and a warning names `--joint`; with it, not.
    """
    torch.manual_seed(0)
    folder = save_reference(tmp_path / "learned", reference)
    write_placer(folder, LearnedPlacer(Placer(1739, 16, 2, 1).eval(), 8))
    rng = np.random.default_rng(0)
    with Path("asvs.fasta").open("w") as file:
        for name in study.index:
            read = np.array(list(read_of(reference, 5)))
            read[rng.choice(150, rng.integers(16, 25), replace=False)] = "A"
            file.write(f">{name}\n{''.join(read)}\n")
    study.iloc[1::2, :2], study.iloc[::2, 2:] = 0, 0
    study.to_csv("table.tsv", sep="\t", index_label="#OTU ID")
    study.iloc[::2, :2].to_csv("part.tsv", sep="\t", index_label="#OTU ID")
    options = ("--sequences", "asvs.fasta", "--reference", folder, "--metric", "unweighted")
    moved = {}
    for joint in ((), ("--joint",)):
        for table in ("table", "part"):
            assert aam("distance", "--table", f"{table}.tsv", *options, *joint, "-o", f"{table}{len(joint)}.tsv") == 0
            assert ("--joint lets them share one" in capsys.readouterr().err) == (not joint)
        whole, part = (DistanceMatrix.read(f"{table}{len(joint)}.tsv") for table in ("table", "part"))
        moved[bool(joint)] = abs(part.data - whole.filter(part.ids).data).max()
    assert moved[False] < 1e-9 < 1e-6 < moved[True]


def test_joint_needs_a_reference_that_has_learned(study: pd.DataFrame, saved: Path, capsys):
    assert aam("place", *INPUT, "--reference", saved, "--joint", "-o", "placed") == 2
    assert f"--joint: the reference {saved} has learned no placement" in capsys.readouterr().err


def test_with_a_tree_of_the_study_the_distances_are_scored(study: pd.DataFrame, saved: Path, capsys):
    assert aam("place", *INPUT, "--reference", saved, "-o", "placed") == 0
    tree = ("--tree", "placed/insertion-tree.nwk")
    assert aam("distance", *INPUT, *tree, "--reference", saved, "-o", "d.tsv") == 0
    assert "this model" not in capsys.readouterr().out
    figures = json.loads(Path("d.json").read_text())
    assert figures["unifrac_r2"] == pytest.approx(1) and figures["faith_pd_mae"] == pytest.approx(0, abs=1e-12)
    assert aam("distance", *INPUT, *tree, "--reference", saved, "--metric", "faith_pd", "-o", "f.tsv") == 0
    assert "Faith PD against that of the tree" in capsys.readouterr().out
    assert list(pd.read_csv("f.tsv", sep="\t").columns) == ["sample-id", "faith_pd", "true_faith_pd"]


def test_a_sample_without_a_placed_asv_is_left_out(study: pd.DataFrame, saved: Path, capsys):
    study["alone"] = [0] * 11 + [5]
    study.to_csv("table.tsv", sep="\t", index_label="#OTU ID")
    assert aam("distance", *INPUT, "--reference", saved, "-o", "d.tsv") == 0
    assert "left out: 1 sample none of whose ASVs has a place (alone)" in capsys.readouterr().err
    assert DistanceMatrix.read("d.tsv").ids == ("s0", "s1", "s2", "s3", "s4")


def test_a_model_hands_its_metric_to_placement_and_no_more(study: pd.DataFrame, saved: Path, run: Path, refusal_of):
    assert aam("distance", "--model", run, *INPUT, "--method", "placement", "--reference", saved, "-o", "d.tsv") == 0
    said = refusal_of("distance", "--model", run, *INPUT, "--metric", "weighted", "-o", "x.tsv")
    assert "--metric is an option of --method placement" in said


@pytest.fixture
def refusal_of(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The error of a call that ends with code 2 and writes nothing."""

    def call(command: str, *options: str | Path) -> str:
        before = set(Path().rglob("*"))
        capsys.readouterr()
        assert aam(command, *options) == 2
        assert set(Path().rglob("*")) == before
        return capsys.readouterr().err.splitlines()[-1]

    return call


def test_refused_in_one_line(study: pd.DataFrame, saved: Path, tmp_path: Path, refusal_of):
    assert "no finished reference" in refusal_of("place", *INPUT, "--reference", "nowhere", "-o", "placed")
    assert "no feature table" in refusal_of("place", "--reference", saved, "-o", "placed")
    assert "--confidence is 2, expected" in refusal_of("place", *INPUT, "--confidence", 2, "-o", "placed")
    assert "table.tsv is a file, expected a folder" in refusal_of("place", *INPUT, "-o", "table.tsv")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "taxonomy.tsv").touch()
    assert "taxonomy.tsv: the file exists" in refusal_of("place", *INPUT, "--reference", saved, "-o", "full")
    Path("bad.fasta").write_text(">a\nACGT-ACGT\n")
    said = refusal_of("place", "--sequences", "bad.fasta", "--reference", saved, "-o", "placed")
    assert "1 of 1 sequences are not DNA, first that of 'a': '-' at position 5" in said


def test_a_table_of_another_region_says_where_it_lies(
    study: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory, reference: Reference, refusal_of
):
    window = Reference(reference.tree, np.ascontiguousarray(reference.codes[20:400]), 21, reference.lineages)
    saved = save_reference(tmp_path_factory.mktemp("window") / "v1-v2", window)
    said = refusal_of("place", *INPUT, "--reference", saved, "-o", "placed")
    assert "none of 12 ASVs can be placed (1 not 16S, 11 not covered by the reference)" in said
    assert "the reads lie on v4 (columns 611 to 760), the reference has v1-v2 (columns 21 to 400)" in said


def test_no_16s_at_all(study: pd.DataFrame, saved: Path, refusal_of):
    Path("asvs.fasta").write_text("".join(f">{name}\n{NO_16S}\n" for name in study.index))
    said = refusal_of("place", *INPUT, "--reference", saved, "-o", "placed")
    assert "none of 12 ASVs can be placed (12 not 16S): none of the sequences fits the 16S gene" in said
