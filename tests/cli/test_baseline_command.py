"""`aam baseline` from files to files: which methods run, on what, and how they are compared within studies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from clade_studies import options_of, write_clade_studies
from sklearn.metrics import roc_auc_score

import aam
from aam.cli import main
from aam.errors import ConfigError
from aam.placement import shipped

CLASSES = ("--target", "state", "--task", "classification", "--rarefy-depth", "none")
NAMES = ("north", "south", "west")


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clade_studies(tmp_path_factory.mktemp("studies"), dict.fromkeys(NAMES, 12))


@pytest.fixture(scope="module")
def run(studies: Path) -> Path:
    """A run on clades with all usual baselines beside it."""
    options = [*options_of(studies, *NAMES), *CLASSES, "--leave-one-study-out", "--output-dir", str(studies / "run")]
    assert main(["train", *options]) == 0
    assert main(["baseline", "--model", str(studies / "run")]) == 0
    return studies / "run"


def found_in(folder: Path, target: str = "state") -> dict[str, Any]:
    return json.loads((folder / "baselines.json").read_text())[target]


def test_all_usual_baselines_are_scored_within_studies_and_compared_in_pairs(run: Path):
    found = found_in(run)
    assert list(found) == [
        *("random_forest", "random_forest_weighted", "study_forests", "logistic_l1", "logistic_l2"),
        *("within_ridge_clades", "within_ridge_presence", "knn", "constant", "model"),
    ]
    mean = {name: metrics["auc_mean_over_studies"]["value"] for name, metrics in found.items()}
    assert mean["constant"] == 0.5 and mean["within_ridge_clades"] > 0.75
    for name in set(found) - {"model"}:
        paired = found[name]["model_minus_baseline"]["auc_mean_over_studies"]
        assert paired["value"] == pytest.approx(mean["model"] - mean[name])
        assert paired["low"] <= paired["value"] <= paired["high"]


def test_scores_of_subjects_make_the_auc(run: Path, studies: Path):
    """The AUC of a study is that of the means of its subjects, from what a baseline of Python says."""
    config = {"table": [studies / f"{name}.tsv" for name in NAMES], "group_column": "subject", "rarefy_depth": "none"}
    config |= {"metadata": [studies / f"{name}-metadata.tsv" for name in NAMES], "leave_one_study_out": True}
    config |= {"target": "state", "task": "classification", "baseline": "logistic_l2"}
    result = aam.baseline(**config)
    assert set(result.metrics["state"]) == {"logistic_l2"}
    table = result.predictions
    assert list(table) == ["state_true", "state_logistic_l2", "state_logistic_l2_log_odds"]
    table["subject"] = [sample.split(".")[0] + str(int(sample.split(".")[1]) // 2) for sample in table.index]
    means = table.groupby("subject").agg({"state_true": "first", "state_logistic_l2_log_odds": "mean"})
    for name in NAMES:
        own = means[means.index.str.startswith(name)]
        auc = roc_auc_score(own["state_true"] == "ill", own["state_logistic_l2_log_odds"])
        assert result.metrics["state"]["logistic_l2"][f"auc_{name}"]["value"] == pytest.approx(auc)


def test_one_study_without_a_reference(studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    plain = options_of(studies, "north")[:6]
    assert "--reference" not in plain
    assert main(["baseline", *plain, *CLASSES, "--folds", "2", "-o", str(tmp_path)]) == 0
    assert set(found_in(tmp_path)) == {
        *("random_forest", "logistic_l1", "logistic_l2", "within_ridge_presence", "constant"),
    }
    figures = found_in(tmp_path)["logistic_l2"]["auc_over_subjects"]
    table = pd.read_csv(tmp_path / "baseline_predictions.tsv", sep="\t", index_col=0)
    subjects = table.groupby([int(sample.split(".")[1]) // 2 for sample in table.index])
    odds = subjects["state_logistic_l2_log_odds"].mean()
    assert figures["value"] == pytest.approx(roc_auc_score(subjects["state_true"].first() == "ill", odds))
    assert figures["low"] <= figures["value"] <= figures["high"]
    printed = capsys.readouterr()
    assert "auc_over_subjects" in printed.out
    assert "By balanced accuracy, of which more is better, the best baseline is " in " ".join(printed.out.split())
    told = printed.err
    assert "not made: random_forest_weighted, study_forests: the samples are of one study" in told
    assert "not made: knn: there is no UniFrac; give --tree, or --reference (the word shipped, or a folder)" in told


@pytest.mark.slow
def test_numbers_on_a_reference(studies: Path, tmp_path: Path):
    chosen = ["within_ridge_clades", "linear", "knn", "gradient_boosting", "constant"]
    options = [*options_of(studies, *NAMES), "--target", "level", "--rarefy-depth", "none", "--leave-one-study-out"]
    for name in chosen:
        options += ["--baseline", name]
    assert main(["baseline", *options, "-o", str(tmp_path)]) == 0
    found = found_in(tmp_path, "level")
    assert list(found) == ["gradient_boosting", "linear", "within_ridge_clades", "knn", "constant"]
    assert found["within_ridge_clades"]["spearman_mean_over_studies"]["value"] > 0.4
    assert found["within_ridge_clades"]["mae"]["value"] < found["constant"]["mae"]["value"]
    table = pd.read_csv(tmp_path / "baseline_predictions.tsv", sep="\t", index_col=0)
    assert list(table) == ["level_true", *(f"level_{name}" for name in found)]


def test_sequences_without_a_place_leave_clades_out(
    studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Several studies are placed by default; that nothing has a place is an error only if clades are asked for."""
    monkeypatch.setenv(shipped.VARIABLE, str(studies / "reference"))
    options = []
    for name in ("north", "south"):
        frame = pd.read_csv(studies / f"{name}.tsv", sep="\t", index_col=0)
        frame.index = [f"{'ACGT' * 30}{'CGTA' * row}" for row in range(1, len(frame) + 1)]
        frame.rename_axis("#OTU ID").to_csv(tmp_path / f"{name}.tsv", sep="\t")
        options += ["--table", str(tmp_path / f"{name}.tsv"), "--metadata", str(studies / f"{name}-metadata.tsv")]
    options += [*CLASSES, "--leave-one-study-out", "--group-column", "subject"]
    assert main(["baseline", *options, "-o", str(tmp_path / "b")]) == 0
    assert "within_ridge_clades" not in found_in(tmp_path / "b") and "study_forests" in found_in(tmp_path / "b")
    assert "nothing on clades: " in capsys.readouterr().err
    assert main(["baseline", *options, "--baseline", "within_ridge_clades", "-o", str(tmp_path / "c")]) == 2
    assert "can be placed" in capsys.readouterr().err


def test_what_cannot_be_scored_is_refused(studies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    plain = [*options_of(studies, "north")[:6], *CLASSES, "--folds", "2", "-o", str(tmp_path / "b")]
    assert main(["baseline", *plain, "--baseline", "study_forests"]) == 2
    told = capsys.readouterr().err
    assert (
        "--baseline study_forests: the samples are of one study; leave it out, or choose one of random_forest" in told
    )
    assert main(["baseline", *plain, "--baseline", "linear"]) == 2
    assert "--baseline linear: it predicts numbers" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="^baseline is 'forest', expected one of random_forest, "):
        aam.baseline(table=[studies / "north.tsv"], target="state", baseline="forest")
    assert not (tmp_path / "b").exists()
