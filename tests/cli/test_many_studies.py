"""Several studies in one training from the command line: folds, contributions, metrics, baselines, report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import aam
from aam import cli
from aam.config import FinetuneConfig, StudiesConfig, from_dict, from_options
from aam.corpus.study import open_study
from aam.workflows.folds import inner_split, study_folds
from tests.generated_studies import study_options, write_studies

QUICK = [
    "--learner",
    "network",
    "--preset",
    "tiny",
    "--branches",
    "16",
    "--max-steps",
    "2",
    "--draws",
    "1",
    "--device",
    "cpu",
]
QUICK += ["--batch-size", "8", "--no-preflight", "--rarefy-depth", "none", "--learner", "network"]
TARGET = ["--target", "disease", "--task", "classification", "--group-column", "subject"]
IBD = ["--as-class", "IBD=CD", "--as-class", "IBD=UC", "--as-class", "control=control"]
CLASSES = {
    "alpha": ["CD", "CD", "control", "control"] * 3,
    "beta": ["control", "control", "UC", "UC"] * 3,
    "gamma": ["UC"] * 4,
}


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_studies(tmp_path_factory.mktemp("studies"), CLASSES)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, studies: list[Path]) -> Path:
    """A finished run that leaves one study out in turn."""
    folder = tmp_path_factory.mktemp("run") / "run"
    asked = ["train", *study_options(studies), *TARGET, *IBD, "--leave-one-study-out", *QUICK]
    assert cli.main([*asked, "--output-dir", str(folder)]) == 0
    return folder


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def test_folds_are_the_studies_with_two_classes(run: Path):
    folds = read(run / "manifest.json")["folds"]
    assert list(folds) == ["alpha", "beta"]
    assert folds["alpha"] == sorted(f"alpha.s{row}" for row in range(12))  # in the order of ids
    predicted = pd.read_csv(run / "predictions.tsv", sep="\t", index_col=0)
    assert (predicted["fold"] == predicted["study"]).all() and len(predicted) == 24
    assert set(predicted["disease_true"]) == {"IBD", "control"}


def test_what_each_study_contributes_is_recorded_and_shown(run: Path):
    assert read(run / "manifest.json")["studies"] == [
        {"study": "alpha", "samples": 12, "subjects": 6, "classes": {"IBD": 6, "control": 6}, "medians": {}},
        {"study": "beta", "samples": 12, "subjects": 6, "classes": {"IBD": 6, "control": 6}, "medians": {}},
        {"study": "gamma", "samples": 4, "subjects": 2, "classes": {"IBD": 4}, "medians": {}},
    ]
    summary, report = (run / "summary.txt").read_text(), (run / "report.html").read_text()
    assert "gamma        4         2             IBD 4" in summary and "auc_mean_over_studies" in summary
    assert "<h2>Studies" in report and "IBD 6, control 6" in report and "no contrast" in report


def test_auc_of_a_study_is_that_of_its_subjects(run: Path):
    metrics = read(run / "metrics.json")
    predicted = pd.read_csv(run / "predictions.tsv", sep="\t", index_col=0)
    predicted["odds"] = np.log(predicted["p_control"] / predicted["p_IBD"])
    predicted["pair"] = np.arange(24) // 2  # two samples of each subject, in a row
    subjects = predicted.groupby(["study", "pair"]).agg({"odds": "mean", "disease_true": "first"}).reset_index()
    own = {
        study: roc_auc_score(rows["disease_true"] == "control", rows["odds"])
        for study, rows in subjects.groupby("study")
    }
    assert metrics["auc_alpha"] == own["alpha"] and metrics["auc_beta"] == own["beta"]
    assert metrics["auc_mean_over_studies"] == (own["alpha"] + own["beta"]) / 2
    assert metrics["auc_alpha_low"] <= metrics["auc_alpha"] <= metrics["auc_alpha_high"]
    assert "auc_gamma" not in metrics


def test_the_run_opens_and_predicts_and_is_resumed(run: Path, studies: list[Path], tmp_path: Path):
    config = from_dict(FinetuneConfig, read(run / "manifest.json")["config"])
    assert config.data.table == tuple(folder / "table.tsv" for folder in studies)
    out = tmp_path / "predicted.tsv"
    given = ["--table", str(studies[0] / "table.tsv"), "--metadata", str(studies[0] / "metadata.tsv")]
    assert cli.main(["predict", "--model", str(run), *given, "-o", str(out)]) == 0
    assert list(pd.read_csv(out, sep="\t"))[:4] == ["sample-id", "disease", "disease_sd", "p_IBD"]
    assert cli.main(["report", str(run), "-o", str(tmp_path / "report.html")]) == 0
    assert "coloured by disease" in (tmp_path / "report.html").read_text()
    assert cli.main(["train", "--resume", "--output-dir", str(run), "--max-steps", "2"]) == 0


def test_baselines_are_scored_in_each_study_and_compared_in_pairs(run: Path, capsys: pytest.CaptureFixture[str]):
    chosen = ["--baseline", "random_forest", "--baseline", "constant"]
    assert cli.main(["baseline", "--model", str(run), *chosen]) == 0
    found = read(run / "baselines.json")["disease"]
    model, metrics = found["model"], read(run / "metrics.json")
    assert model["auc_mean_over_studies"]["value"] == metrics["auc_mean_over_studies"]
    assert model["auc_alpha"]["low"] == metrics["auc_alpha_low"]
    assert found["constant"]["auc_beta"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    forest = found["random_forest"]
    assert forest["auc_mean_over_studies"]["value"] > 0.9  # the first ASVs have three times the reads
    difference = forest["model_minus_baseline"]["auc_mean_over_studies"]
    assert difference["value"] == pytest.approx(
        model["auc_mean_over_studies"]["value"] - forest["auc_mean_over_studies"]["value"]
    )
    assert "auc_mean_over_studies" in capsys.readouterr().out


def test_baselines_of_studies_without_a_run(studies: list[Path], tmp_path: Path):
    asked = ["baseline", *study_options(studies), "--target", "bmi", "--folds", "2", "--rarefy-depth", "none"]
    asked += ["--group-column", "subject", "--baseline", "random_forest"]
    assert cli.main([*asked, "-o", str(tmp_path)]) == 0
    found = read(tmp_path / "baselines.json")["bmi"]["random_forest"]
    assert {"spearman_alpha", "mae_gamma", "spearman_mean_over_studies", "mae_mean_over_studies"} <= set(found)


def test_a_plan_and_a_config_file_with_lists(studies: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    lists = {name: [str(folder / f"{name}.tsv") for folder in studies] for name in ("table", "metadata")}
    (tmp_path / "c.yaml").write_text(json.dumps(lists))
    asked = ["train", "--config", str(tmp_path / "c.yaml"), *TARGET, *IBD, "--leave-one-study-out", *QUICK]
    assert cli.main([*asked, "--dry-run", "--output-dir", str(tmp_path / "r")]) == 0
    plan = capsys.readouterr().out
    assert "study             beta: 12 samples of 6 subjects: IBD 6, control 6" in plan
    assert "fold alpha        16 to train on, 12 to test" in plan
    assert "1 study with one class alone" in plan and "gamma (IBD 4)" in plan


def test_lists_of_python(studies: list[Path], tmp_path: Path):
    with pytest.raises(aam.errors.ConfigError, match="the samples with a label are of 1 study"):
        aam.train(
            [str(studies[0] / "table.tsv")], [studies[0] / "metadata.tsv"], "disease", tmp_path / "r",
            task="classification", leave_one_study_out=True,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--leave-one-study-out", "--folds", "2"], "found both --leave-one-study-out and --folds"),
        (["--leave-one-study-out", "--leave-one-group-out"], "found both --leave-one-study-out and --leave-one-group"),
    ],
)
def test_folds_of_two_kinds_are_refused(
    studies: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
):
    asked = ["train", *study_options(studies), *TARGET, *IBD, *QUICK, *more, "--output-dir", str(tmp_path / "r")]
    assert cli.main(asked) == 2
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said and not (tmp_path / "r").exists()


def test_studies_of_one_class_each_cannot_be_left_out(
    studies: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    only = ["--where", "disease=CD", "--where", "disease=UC", "--target", "disease", "--task", "classification"]
    asked = ["train", *study_options(studies), *only, *QUICK, "--leave-one-study-out"]
    assert cli.main([*asked, "--output-dir", str(tmp_path / "r")]) == 2
    assert "none of the 3 studies has samples of two classes" in capsys.readouterr().err


@pytest.mark.parametrize("stored", ["a.biom", None, ["a.biom"], ["a.biom", "b.biom"]])
def test_stored_inputs_of_any_version_open(stored: str | list[str] | None):
    found = from_dict(StudiesConfig, {"table": stored, "metadata": stored})
    given = [stored] if isinstance(stored, str) else stored or []
    assert found.table == found.metadata == tuple(map(Path, given))


def test_no_subject_is_on_both_sides_of_any_split(studies: list[Path]):
    """--selection-fraction and --label-fraction within training studies; --folds and --validation-fraction over all."""
    tables, metadata = ([folder / name for folder in studies] for name in ("table.tsv", "metadata.tsv"))
    given = {
        "table": tables,
        "metadata": metadata,
        "target": "disease",
        "task": "classification",
        "rarefy_depth": "none",
    }
    given |= {"group_column": "subject", "as_class": IBD[1::2]}
    study = open_study(from_options(FinetuneConfig, given).data, from_options(FinetuneConfig, given).target)
    groups = np.array(study.labels.groups)
    inner = {"leave_one_study_out": True, "selection_fraction": 0.3, "label_fraction": 0.8}
    for more in (inner, {"folds": 3}, {"validation_fraction": 0.34}):
        config = from_options(FinetuneConfig, given | more)
        folds = study_folds(config, study)
        for fold in folds + [inner_split(config, study, fold) for fold in folds]:
            assert set(groups[fold.train]).isdisjoint(groups[fold.test])
    (alpha, beta) = study_folds(from_options(FinetuneConfig, given | inner), study)
    assert (alpha.name, beta.name) == ("alpha", "beta") and len(alpha.train) < 16
    assert set(np.array(study.labels.studies)[beta.train]) == {"alpha", "gamma"}


def test_more_than_two_classes_have_no_auc(studies: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    asked = ["baseline", *study_options(studies), *TARGET, "--folds", "2", "--rarefy-depth", "none"]
    asked += ["--baseline", "logistic_l2"]
    assert cli.main([*asked, "-o", str(tmp_path)]) == 0
    assert "no AUC within studies: 3 classes; --as-class makes two of them" in capsys.readouterr().err
    assert "auc_alpha" not in read(tmp_path / "baselines.json")["disease"]["logistic_l2"]
