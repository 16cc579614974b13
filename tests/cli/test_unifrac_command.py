"""`aam unifrac` from files to files: what it writes, what it refuses, and that it leaves nothing half done."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from skbio import DistanceMatrix

from aam.cli import main
from aam.io.matrix import read_matrix

# s1 {A, C} and s2 {C, G}: alone A 1, G 4 and 3 above it; in both C 2, 1 above it, stem 0.5
S1_S2 = 8 / 11.5


def aam_unifrac(*options: str) -> int:
    return main(["unifrac", "--table", "table.tsv", "--tree", "tree.nwk", *options])


@pytest.mark.parametrize("name", ["d.tsv", "d.h5", "d.npy"])
def test_a_matrix_reads_back_by_id(folder: Path, name: str):
    assert aam_unifrac("-o", name) == 0
    record = read_matrix(folder / name)
    assert record.ids == ["s1", "s2", "s3"]
    assert record.values[0, 1] == record.values[1, 0] == pytest.approx(S1_S2, abs=1e-15)
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith((".", "d"))) == (
        ["d.ids.txt", "d.npy"] if name == "d.npy" else [name]
    )


@pytest.mark.parametrize("name", ["d.tsv", "d.h5", "d.npy"])
def test_a_file_that_finds_no_room_is_not_there(folder: Path, name: str, capsys):
    """No file may have more than 8 kB here, and distances of 60 samples need 29; HDF5 would not notice, or crash."""
    ids = [f"s{number}" for number in range(60)]
    rows = [["#OTU ID", *ids], *([asv, *map(str, range(1, 61))] for asv in ("AAAA", "CCCC", "GGGG", "TTTT"))]
    (folder / "table.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    before = set(folder.iterdir())
    room, largest = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 * 1024, largest))
    try:
        code = aam_unifrac("-o", name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, largest))
    said = capsys.readouterr().err
    assert code == 1 and said.splitlines()[-1].startswith("Error: File too large: "), said
    assert set(folder.iterdir()) == before


def test_text_is_what_scikit_bio_reads(folder: Path):
    assert aam_unifrac("-o", "d.tsv") == 0
    assert DistanceMatrix.read(str(folder / "d.tsv"))["s1", "s2"] == pytest.approx(S1_S2, abs=1e-15)


def test_faith_pd_is_a_metadata_column(folder: Path):
    assert aam_unifrac("--metric", "faith_pd", "-o", "pd.tsv") == 0
    values = pd.read_csv(folder / "pd.tsv", sep="\t", index_col="sample-id")["faith_pd"]
    assert values.to_dict() == {"s1": 4.5, "s2": 10.5, "s3": 1 + 1 + 4 + 5 + 3 + 0.5}


@pytest.mark.parametrize("engine", ["torch", "skbio"])
def test_engines_and_metrics_reach_the_kernel(folder: Path, engine: str):
    assert aam_unifrac("--metric", "weighted_normalized", "--engine", engine, "-o", "d.npy") == 0
    assert read_matrix(folder / "d.npy").values[0, 1] == pytest.approx(5.25 / 8.25, abs=1e-12)


def test_rarefaction_drops_shallow_samples_by_name_and_repeats_with_the_seed(folder: Path, capsys):
    for name, seed in (("a.npy", "1"), ("b.npy", "1"), ("c.npy", "2")):
        assert aam_unifrac("--metric", "weighted", "--rarefy-depth", "4", "--seed", seed, "-o", name) == 0
    assert "left out: 1 sample with fewer reads than the rarefaction depth (s2)" in capsys.readouterr().err
    a, b, c = (read_matrix(folder / f"{name}.npy") for name in "abc")
    assert a.ids == ["s1", "s3"]
    assert np.array_equal(a.values, b.values)
    assert not np.array_equal(a.values, c.values)


def test_presence_in_place_of_reads_is_told(folder: Path, capsys):
    (folder / "table.tsv").write_text("#OTU ID\ts1\ts2\nAAAA\t1\t1\nCCCC\t0\t1\n")
    assert aam_unifrac("-o", "d.npy") == 0
    assert "Warning: table.tsv: every count is 1" in capsys.readouterr().err


def test_asvs_absent_from_the_tree_are_told_or_refused(folder: Path, capsys):
    (folder / "tree.nwk").write_text("((AAAA:1,CCCC:2):1,GGGG:4):0.5;")
    assert aam_unifrac("-o", "d.npy") == 2
    assert "1 of 4 ASVs (25.0%, allowed 10.0%) are no tips of the tree, e.g. 'TTTT'" in capsys.readouterr().err
    assert not (folder / "d.npy").exists()
    assert aam_unifrac("--max-missing", "0.25", "-o", "d.npy") == 0
    assert "left out: 1 ASV absent from the tree (TTTT)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "d.xlsx"], "--output d.xlsx: found the ending '.xlsx', expected .tsv or .h5 or .npy"),
        (["-o", "nowhere/d.tsv"], "the folder nowhere does not exist"),
        (["-o", "table.tsv"], "--output table.tsv: the file exists and is not overwritten"),
        (["-o", "ids.npy"], "--output ids.ids.txt: the file exists and is not overwritten"),
        (["--metric", "faith_pd", "-o", "d.h5"], "found the ending '.h5', expected .tsv"),
        (["--rarefy-depth", "1000", "-o", "d.tsv"], "drawing 1,000 reads of each drops all 3 samples"),
        (["--alpha", "1.5", "-o", "d.tsv"], "--alpha is 1.5, expected at least 0 and at most 1"),
        (["--seed", "-1", "--rarefy-depth", "4", "-o", "d.tsv"], "--seed is -1, expected at least 0 and at most"),
        (["--metric", "generalized", "--engine", "skbio", "-o", "d.tsv"], "scikit-bio has no generalized UniFrac"),
    ],
)
def test_refused_with_code_2_and_nothing_written(folder: Path, refusal, options: list[str], message: str):
    (folder / "ids.ids.txt").write_text("x\n")
    assert message in refusal("unifrac", options, table="table.tsv", tree="tree.nwk")


def test_a_tree_is_needed(refusal):
    assert "no tree; give --tree FILE" in refusal("unifrac", ["--table", "table.tsv", "-o", "d.tsv"])


def test_depths_that_differ_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """2,200 reads and 200: 11 times; drawn to one depth, nothing is left to say."""
    (tmp_path / "t.tsv").write_text("#OTU ID\tdeep\tshallow\nAAAA\t2000\t100\nCCCC\t200\t100\n")
    (tmp_path / "tree.nwk").write_text("(AAAA:1,CCCC:2);")
    asked = ["unifrac", "--table", str(tmp_path / "t.tsv"), "--tree", str(tmp_path / "tree.nwk")]
    assert main([*asked, "-o", str(tmp_path / "all.tsv")]) == 0
    assert (
        "Warning: the deepest sample has 11 times the reads of the shallowest, and Faith PD and unweighted UniFrac "
        "depend on depth; --rarefy-depth auto draws equally many from each and leaves out the shallowest\n"
    ) in capsys.readouterr().err
    assert main([*asked, "--rarefy-depth", "auto", "-o", str(tmp_path / "some.tsv")]) == 0
    assert "the deepest sample" not in capsys.readouterr().err
