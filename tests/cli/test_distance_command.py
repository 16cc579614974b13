"""`aam distance` from files to files, with and without a tree."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from trained_run import save_run

from aam import datasets
from aam.cli import main
from aam.cli.distance import score_table
from aam.folders import BEST
from aam.inference.known_asvs import KNOWN, hashes_of, sketch_asvs, write_known
from aam.inference.scales import GROWN, SCALES, read_scales, write_scales
from aam.io.matrix import read_matrix
from aam.io.sequences import tokenize
from aam.io.table import read_table
from aam.phylogeny import upgma


def aam_distance(run: Path, *options: str) -> int:
    model = [] if "--model" in options else ["--model", str(run)]
    return main(["distance", *model, "--table", "table.tsv", *options])


@pytest.mark.parametrize("name", ["d.tsv", "d.h5", "d.npy"])
def test_without_a_tree_there_are_distances_and_diversities(run: Path, folder: Path, name: str):
    before = set(folder.iterdir())
    assert aam_distance(run, "-o", name) == 0
    record = read_matrix(folder / name, largest=1.0)  # checks symmetry and the diagonal
    assert record.ids == ["s1", "s2", "s3"] and record.values.max() > 0
    written = {path.name for path in set(folder.iterdir()) - before}
    assert written == {name, "d.faith_pd.tsv"} | ({"d.ids.txt"} if name == "d.npy" else set())
    assert (pd.read_csv("d.faith_pd.tsv", sep="\t", index_col="sample-id")["faith_pd"] > 0).all()


def test_with_a_tree_the_truth_and_the_figures_stand_beside(run: Path, folder: Path, capsys):
    assert aam_distance(run, "--tree", "tree.nwk", "-o", "d.tsv") == 0
    assert read_matrix(folder / "d.true.tsv").values[0, 1] == pytest.approx(8 / 11.5, abs=1e-12)
    diversity = pd.read_csv("d.faith_pd.tsv", sep="\t", index_col="sample-id")
    assert list(diversity["true_faith_pd"]) == [4.5, 10.5, 14.5]
    figures = json.loads((folder / "d.json").read_text())
    predicted, true = (read_matrix(folder / name).values for name in ("d.tsv", "d.true.tsv"))
    pairs = np.triu_indices(3, 1)
    assert figures["unifrac_mae"] == pytest.approx(np.abs(predicted - true)[pairs].mean(), rel=1e-9)
    shown = capsys.readouterr().out
    assert "calibrated Jaccard" in shown and "calibrated UPGMA" in shown
    assert "fitted on the scored pairs" in " ".join(shown.split())


@pytest.fixture(scope="module")
def finished(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining on the example that came to its end, if soon."""
    return shutil.copytree(pretrained, tmp_path_factory.mktemp("finished") / "run")


def test_a_finished_run_tells_faith_pd_in_the_units_of_its_tree(finished: Path, tmp_path: Path, capsys):
    """The latent tree has hardly learned anything, but how long it is in all is known from training samples."""
    out = tmp_path / "d.tsv"
    assert main(["distance", "--model", str(finished), "--example", "--rarefy-depth", "auto", "-o", str(out)]) == 0
    told = capsys.readouterr()
    assert "line fitted on training samples" in told.out and "Faith PD is by the head" not in told.err
    assert "Warning: 150 of the 188 samples that were scored had been trained on, so these" in told.err
    assert "no training samples" not in told.out
    diversity = pd.read_csv(tmp_path / "d.faith_pd.tsv", sep="\t", index_col="sample-id")
    assert diversity["faith_pd"].mean() == pytest.approx(diversity["true_faith_pd"].mean(), rel=0.2)
    figures = json.loads((tmp_path / "d.json").read_text())
    assert figures["baseline_jaccard_carried_r2"] <= figures["baseline_jaccard_r2"] + 1e-3
    scales = read_scales(finished / "best")
    metrics = json.loads((finished / "metrics.json").read_text())
    assert scales.lines["upgma"] == (metrics["baseline_upgma_slope"], metrics["baseline_upgma_intercept"])
    assert scales.faith_pd is not None
    write_scales(finished / "best", replace(scales, faith_pd=2 * scales.faith_pd))
    assert main(["distance", "--model", str(finished), "--example", "-o", str(tmp_path / "twice.tsv")]) == 0
    write_scales(finished / "best", scales)
    assert main(["distance", "--model", str(finished), "--example", "-o", str(tmp_path / "once.tsv")]) == 0
    once, twice = (
        pd.read_csv(tmp_path / f"{name}.faith_pd.tsv", sep="\t", index_col=0)["faith_pd"] for name in ("once", "twice")
    )
    assert twice.to_numpy() == pytest.approx(2 * once.to_numpy(), rel=1e-6)


def test_a_checkpoint_without_scales_falls_back_on_the_head(run: Path, folder: Path, capsys):
    assert aam_distance(run, "-o", "d.tsv") == 0
    assert "Faith PD is by the head on sample embeddings" in capsys.readouterr().err


def test_a_run_that_learned_no_faith_pd_writes_none(folder: Path, tmp_path: Path):
    run = save_run(tmp_path / "run", faith_pd_weight=0.0, unifrac_head="euclidean")
    assert aam_distance(run, "-o", "d.tsv") == 0
    assert not (folder / "d.faith_pd.tsv").exists()
    assert read_matrix(folder / "d.tsv").values.shape == (3, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "d.txt"], "found the ending '.txt', expected .tsv or .h5 or .npy"),
        (["-o", "there.tsv"], "--output there.faith_pd.tsv: the file exists"),
        (["--tree", "tree.nwk", "-o", "scored.tsv"], "--output scored.json: the file exists"),
        (["--tree", "other.nwk", "-o", "d.tsv"], "none of the 4 ASVs is a tip of the tree"),
        (["--model", "nowhere", "-o", "d.tsv"], "nowhere: no checkpoint here"),
    ],
)
def test_refused_with_code_2_and_nothing_written(run: Path, folder: Path, refusal, options: list[str], message: str):
    (folder / "there.faith_pd.tsv").write_text("x\n")
    (folder / "scored.json").write_text("x\n")
    (folder / "other.nwk").write_text("(x:1,y:1);")
    assert message in refusal("distance", options, model=run, table="table.tsv")


def test_a_tree_grown_from_learned_distances_is_another_way(run: Path, folder: Path, capsys):
    assert aam_distance(run, "--method", "latent-tree", "-o", "latent.tsv") == 0
    assert aam_distance(run, "--method", "grown-tree", "-o", "grown.tsv") == 0
    latent, grown = (read_matrix(folder / f"{name}.tsv").values for name in ("latent", "grown"))
    assert grown.shape == latent.shape and not np.allclose(grown, latent)
    assert ((grown >= 0) & (grown <= 1)).all()
    assert "this checkpoint does not have the line" in capsys.readouterr().err
    told = shutil.copytree(run, folder / "run")
    (told / BEST / SCALES).write_text(json.dumps({"faith_pd": None, "lines": {GROWN: [0.5, 0.1]}}))
    assert aam_distance(told, "--method", "grown-tree", "-o", "scaled.tsv") == 0
    pairs = ~np.eye(len(grown), dtype=bool)
    scaled = read_matrix(folder / "scaled.tsv").values
    assert scaled[pairs] == pytest.approx(0.5 * grown[pairs] + 0.1, abs=1e-6)
    assert (scaled[~pairs] == 0).all()


LEARNED = {
    "the same": ([[3, 1, 0, 0], [0, 1, 1, 0], [1, 0, 2, 3]], "100%", "1.00", "latent"),
    "another": ([[0, 0, 0, 9], [0, 1, 0, 9], [0, 0, 0, 9]], "50%", "0.53", "grown"),
}
"""Counts of the table's ASVs in training samples. Prevalences of the table are 2/3, 2/3, 2/3 and 1/3; a pair of its
samples shares 1 ASV on average, so their squares sum to 1. The other study has 1/3 and 1, and 5/9 over root 10/9."""


def learn(run: Path, folder: Path, train: list[list[int]]) -> Path:
    """A copy of a run that has learned from such samples."""
    told = shutil.copytree(run, folder / "run")
    tokens = tokenize(["AAAA", "CCCC", "GGGG", "TTTT"], 150)
    write_known(told / BEST, sketch_asvs(tokens, csr_array(np.array(train)), np.arange(len(train))))
    return told


@pytest.mark.parametrize("case", LEARNED)
def test_how_like_the_samples_are_to_those_of_training_decides(run: Path, folder: Path, case: str, capsys):
    train, part, like, way = LEARNED[case]
    told = learn(run, folder, train)
    assert aam_distance(told, "-o", "auto.tsv") == 0
    said = f"{part} of the 4 ASVs were in training; similarity to the nearest study of training {like}"
    assert said in capsys.readouterr().err
    for method in ("latent", "grown"):
        assert aam_distance(told, "--method", f"{method}-tree", "-o", f"{method}.tsv") == 0
        same = (folder / "auto.tsv").read_text() == (folder / f"{method}.tsv").read_text()
        assert same == (method == way)
    assert "were in training" not in capsys.readouterr().err


def test_where_nothing_tells_what_is_known_the_learned_tree_is_taken(run: Path, folder: Path, capsys):
    assert aam_distance(run, "-o", "auto.tsv") == 0
    assert "this checkpoint does not list the ASVs of training" in capsys.readouterr().err
    assert aam_distance(run, "--method", "latent-tree", "-o", "latent.tsv") == 0
    assert (folder / "auto.tsv").read_text() == (folder / "latent.tsv").read_text()


def test_too_many_new_asvs_for_a_tree_of_all_pairs_are_warned_of(run: Path, folder: Path, monkeypatch, capsys):
    told = learn(run, folder, LEARNED["another"][0])
    monkeypatch.setattr(upgma, "MAX_ASVS", 3)
    assert aam_distance(told, "-o", "auto.tsv") == 0
    found = capsys.readouterr().err
    assert "Warning: 50% of the 4 ASVs" in found
    assert "but 4 ASVs are too many for a grown tree (at most 3): UniFrac is computed on the latent tree" in found


def test_a_finished_run_knows_the_asvs_of_its_training_samples(finished: Path, tmp_path: Path, capsys):
    """And how many of these carry each, as read from the files that the run left and read."""
    example = read_table(datasets.example().table)
    train = set((finished / "samples_train.txt").read_text().split())
    rows = [row for row, sample in enumerate(example.sample_ids) if sample in train]
    carriers = np.bincount(example.counts[rows].indices, minlength=310)
    hashes = hashes_of(tokenize(example.sequences, 150))
    known = {hashes[column]: carriers[column] / len(rows) for column in np.flatnonzero(carriers)}
    found = np.load(finished / BEST / KNOWN, allow_pickle=False)
    assert dict(zip(found["hash"].tolist(), found["prevalence"].tolist(), strict=True)) == pytest.approx(known)
    assert main(["embed", "--model", str(finished), "--example", "-o", str(tmp_path / "e.tsv")]) == 0
    assert "100% of the 310 ASVs were in training" in capsys.readouterr().err


def test_a_tree_of_another_scale_is_called_that_before_any_r2(run: Path, folder: Path, capsys):
    """Longer terminal branches leave the order of the distances as it is, and stretch their range."""
    assert aam_distance(run, "--tree", "tree.nwk", "-o", "d.tsv") == 0
    figures = json.loads((folder / "d.json").read_text())
    capsys.readouterr()
    same = figures | {"unifrac_r2": 0.81, "unifrac_r2_calibrated": 0.82}
    other = figures | {"unifrac_r2": -1.4, "unifrac_r2_calibrated": 0.82, "unifrac_pearson": 0.9, "unifrac_mantel": 0.8}
    assert "scale" not in score_table(same, placed=False)
    assert "scale" not in score_table(other | {"unifrac_pearson": 0.1}, placed=False)  # nothing agrees there
    told = score_table(other, placed=False)
    assert "(Pearson r 0.900, Mantel r 0.800), but not on the scale" in told
    assert told.index("not on the scale") < told.index("R2 with a fitted line") < told.index("-1.400")
