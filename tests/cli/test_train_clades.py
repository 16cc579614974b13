"""`aam train --learner clades` from files to files: studies left out, predictions of new ones, few labels, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from clade_studies import options_of, write_clade_studies
from scipy.special import logit
from sklearn.metrics import roc_auc_score

from aam.checkpoint import find_members
from aam.cli import main
from aam.learners import ensemble
from aam.stored import read_stored
from aam.workflows.stored_clades import open_clades

CLASSES = ("--target", "state", "--task", "classification")


@pytest.fixture(scope="module")
def small_work() -> None:
    """Nothing is small here: forests of 20 trees are so sure of these classes that chances are written as 0 and 1."""


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clade_studies(tmp_path_factory.mktemp("studies"), {"north": 24, "south": 20, "west": 18, "new": 12})


@pytest.fixture(scope="module")
def run(studies: Path) -> Path:
    """A run on three studies, each left out in turn."""
    options = [*options_of(studies, "north", "south", "west"), *CLASSES, "--leave-one-study-out"]
    assert main(["train", *options, "--output-dir", str(studies / "run")]) == 0
    return studies / "run"


def predict(model: Path, studies: Path, *more: str, name: str = "new") -> pd.DataFrame:
    """What `aam predict` writes for a study."""
    output = studies / f"{model.name}-{name}-{len(more)}.tsv"
    for file in (output, output.with_suffix(".refused.tsv"), output.with_suffix(".transfer.json")):
        file.unlink(missing_ok=True)
    options = ["--model", str(model), "--table", str(studies / f"{name}.tsv"), "-o", str(output), *more]
    assert main(["predict", *options]) == 0
    return pd.read_csv(output, sep="\t", index_col=0)


def true_classes(studies: Path, name: str) -> pd.Series:
    return pd.read_csv(studies / f"{name}-metadata.tsv", sep="\t", index_col=0)["state"]


def test_several_studies_learn_on_clades_and_each_is_predicted_by_the_others(run: Path):
    metrics = json.loads((run / "metrics.json").read_text())
    # No study shares an ASV with its neighbours, so only clades can carry the label over.
    for name in ("auc_north", "auc_south", "auc_west", "auc_mean_over_studies"):
        assert metrics[name] > 0.75
    each = [metrics[f"auc_{name}"] for name in ("north", "south", "west")]
    assert metrics["auc_mean_over_studies"] == pytest.approx(np.mean(each))
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["config"]["learner"]["learner"] == "clades"
    assert (run / "report.html").is_file() and (run / "predictions.png").is_file()
    assert not (run / "curves.png").exists()  # nothing has steps


def test_a_new_study_is_predicted_and_stored_arrays_are_all_it_takes(run: Path, studies: Path):
    found = predict(run, studies)
    true = true_classes(studies, "new").loc[found.index]
    assert roc_auc_score(true == "ill", found["p_ill"]) > 0.8
    assert (found["state"] == true).mean() > 0.65  # half of them are ill, as is assumed of a study of unknown level
    again = predict(run, studies)
    pd.testing.assert_frame_equal(found, again)


def test_prevalence_moves_the_mean_and_keeps_the_ranks(run: Path, studies: Path):
    plain, moved = predict(run, studies), predict(run, studies, "--prevalence", "ill=0.2")
    assert moved["p_ill"].mean() == pytest.approx(0.2, abs=1e-4)
    assert (moved["p_ill"].rank() == plain["p_ill"].rank()).all()
    shift = logit(moved["p_ill"]) - logit(plain["p_ill"])
    assert shift.std() < 0.02  # one number for all, but for the digits of the file


def test_few_labels_start_from_what_other_studies_taught(run: Path, studies: Path):
    options = [*options_of(studies, "new"), *CLASSES, "--folds", "3", "--pretrained", str(run)]
    assert main(["train", *options, "--output-dir", str(studies / "few")]) == 0
    stored = open_clades(read_stored(find_members(studies / "few")[0])).ensemble
    before = open_clades(read_stored(find_members(run)[0])).ensemble
    assert stored.prior is not None
    assert (stored.prior.ridge.coefficients == before.ridge.coefficients).all()
    # twelve subjects beside a prior that weighs as ten
    assert stored.prior_share == pytest.approx(ensemble.PRIOR_SUBJECTS / (ensemble.PRIOR_SUBJECTS + 12))
    assert json.loads((studies / "few" / "metrics.json").read_text())["roc_auc"] > 0.75


@pytest.mark.slow
def test_numbers_are_predicted_in_their_units(studies: Path):
    options = [*options_of(studies, "north", "south"), "--target", "level", "--leave-one-study-out"]
    assert main(["train", *options, "--output-dir", str(studies / "level")]) == 0
    metrics = json.loads((studies / "level" / "metrics.json").read_text())
    assert metrics["spearman_mean_over_studies"] > 0.3 and metrics["mae"] < 2.7  # the classes are 5 apart
    found = predict(studies / "level", studies)
    assert 8 < found["level"].min() < found["level"].max() < 17


def test_the_plan_says_what_is_to_be_placed(studies: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["train", *options_of(studies, "north", "south"), *CLASSES, "--leave-one-study-out", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "ASVs on the reference" in told and "fold north" in told and "steps" not in told


def test_options_of_a_network_alone_are_told(studies: Path, capsys: pytest.CaptureFixture[str]):
    more = ["--dry-run", "--lr", "0.1", "--freeze"]
    assert main(["train", *options_of(studies, "north", "south"), *CLASSES, "--leave-one-study-out", *more]) == 0
    assert "--lr and --freeze have no effect: --learner clades trains no network" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--task", "ordinal"), "found --task ordinal"),
        (("--task", "classification", "--covariate", "level"), "found --covariate"),
        (("--task", "classification", "--pretrained", "shipped"), "found --pretrained with an encoder"),
    ],
)
def test_what_it_cannot_do_is_refused(studies: Path, capsys: pytest.CaptureFixture[str], more, message: str):
    options = [*options_of(studies, "north"), "--target", "state", "--learner", "clades", *more]
    assert main(["train", *options, "--output-dir", str(studies / "refused")]) == 2
    assert message in capsys.readouterr().err
    assert not (studies / "refused" / "manifest.json").exists()


def test_studies_without_a_contrast_are_refused(studies: Path, capsys: pytest.CaptureFixture[str]):
    # of north only those who are ill, of south only the others: what tells the classes apart tells the studies apart
    for name, state in (("north", "ill"), ("south", "healthy")):
        own = pd.read_csv(studies / f"{name}-metadata.tsv", sep="\t", index_col=0)
        own[own["state"] == state].to_csv(studies / f"{name}-half-metadata.tsv", sep="\t")
        (studies / f"{name}-half.tsv").write_bytes((studies / f"{name}.tsv").read_bytes())
    options = [*options_of(studies, "north-half", "south-half"), *CLASSES, "--output-dir", str(studies / "apart")]
    assert main(["train", *options]) == 2
    assert "no study to train on has samples of two classes" in capsys.readouterr().err
    assert not (studies / "apart" / "manifest.json").exists()


def test_another_gene_is_pointed_to_the_network(tmp_path: Path, studies: Path, capsys: pytest.CaptureFixture[str]):
    rng = np.random.default_rng(0)
    ids = pd.read_csv(studies / "north-metadata.tsv", sep="\t", index_col=0).index
    reads = ["".join(row) for row in rng.choice(list("ACGT"), (6, 200))]
    pd.DataFrame(rng.poisson(30, (6, len(ids))), reads, ids).rename_axis("#OTU ID").to_csv(tmp_path / "t.tsv", sep="\t")
    options = ["--table", str(tmp_path / "t.tsv"), "--metadata", str(studies / "north-metadata.tsv"), *CLASSES]
    options += ["--learner", "clades", "--reference", str(studies / "reference"), "--output-dir", str(tmp_path / "r")]
    assert main(["train", *options]) == 2
    told = capsys.readouterr().err
    assert "none of 6 ASVs can be placed (6 not 16S)" in told and "--learner network needs no reference" in told


def test_a_start_of_other_classes_is_refused(run: Path, studies: Path, capsys: pytest.CaptureFixture[str]):
    options = [*options_of(studies, "new"), *CLASSES, "--as-class", "sick=ill", "--as-class", "healthy=healthy"]
    options += ["--pretrained", str(run), "--output-dir", str(studies / "other")]
    assert main(["train", *options]) == 2
    told = capsys.readouterr().err
    assert "has learned the classes healthy, ill, found healthy, sick; name them alike with --as-class" in told


def test_commands_that_need_an_encoder_say_so(run: Path, studies: Path, capsys: pytest.CaptureFixture[str]):
    options = ["--model", str(run), "--table", str(studies / "new.tsv"), "-o", str(studies / "e.tsv")]
    assert main(["embed", *options]) == 2
    assert "a model of `aam train --learner clades`, which has no encoder" in capsys.readouterr().err
