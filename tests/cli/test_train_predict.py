"""`aam train` and `aam predict` from real command lines: every task and option is trained, reopened and used again."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aam import cli
from aam.atomic import write_record
from aam.checkpoint import open_encoder, open_model
from aam.config import FinetuneConfig, from_options, option_flag
from aam.corpus.study import open_study
from aam.datasets import example
from aam.training.run_files import remember_files
from aam.workflows.baseline import Runs, recorded_config

QUICK = ["--max-steps", "2", "--batch-size", "32", "--draws", "2", "--eval-every", "2", "--device", "cpu"]
QUICK += ["--no-preflight"]
TINY = ["--preset", "tiny", "--branches", "16", "--patch", "25"]


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's ages with made-up columns beside them, all a function of the row."""
    frame = pd.read_csv(example().metadata, sep="\t", dtype=str).set_index("sample-id")
    age, rng = frame["age_months"].astype(float), np.random.default_rng(0)
    frame["weight"] = (age + rng.normal(0, 1, len(frame))).round(3)
    frame.loc[frame.index[:5], "weight"] = np.nan
    frame["grade"] = pd.cut(
        age.fillna(6) + rng.normal(0, 2, len(frame)), [-50, 6, 9, 99], labels=["low", "mid", "high"]
    )
    frame["site"] = rng.choice(["1.10", "1.1", "00123"], len(frame))
    frame["place"] = frame["site"]
    frame["day"] = [f"{10**17 + row}" for row in range(len(frame))]
    frame["reads"] = rng.normal(100, 10, len(frame)).round(2)
    frame["subject"] = [f"s{row // 3}" for row in range(len(frame))]
    frame["same"] = "7"
    frame["alone"] = ["once"] + ["often"] * (len(frame) - 1)
    frame["age_again"] = age * 2
    frame["ratio"] = [*frame["reads"].astype(str)[:-1], "1e300"]
    frame["fold"] = frame["reads"]
    frame["p_b"] = ["a", "b"] * (len(frame) // 2)
    frame["barcode"] = [f"b{row}" for row in range(len(frame))]
    path = tmp_path_factory.mktemp("meta") / "samples.tsv"
    frame.to_csv(path, sep="\t")
    return path


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory, metadata: Path) -> Callable[..., Path]:
    """Run `aam train` on the example with these options, once for all tests that ask for them; returns its folder."""

    @cache
    def run(*options: str) -> Path:
        folder = tmp_path_factory.mktemp("trained") / "run"
        size = [] if "--pretrained" in options else TINY
        asked = ["train", "--example", "--metadata", str(metadata), *size, *QUICK, *options]
        assert cli.main([*asked, "--output-dir", str(folder)]) == 0
        return folder

    return run


@pytest.fixture
def predict(tmp_path: Path) -> Callable[..., pd.DataFrame]:
    """Run `aam predict` on the example; returns what it wrote."""

    def run(model: Path, *options: str) -> pd.DataFrame:
        out = tmp_path / "predicted.tsv"
        assert cli.main(["predict", "--model", str(model), "--example", "--draws", "2", *options, "-o", str(out)]) == 0
        return pd.read_csv(out, sep="\t", index_col=0, dtype={"sample-id": str})

    return run


TASKS = {
    "regression": ["--target", "age_months"],
    "two columns, mae, log": [
        *["--target", "age_months", "--target", "weight", "--loss", "mae", "--target-transform", "log-zscore"]
    ],
    "asymmetric, minmax": [
        *["--target", "weight", "--loss", "asymmetric", "--over-penalty", "3", "--target-transform", "minmax"]
    ],
    "mse, untransformed": ["--target", "weight", "--loss", "mse", "--target-transform", "none"],
    "quantiles": [
        *["--task", "quantiles", "--target", "weight"],
        *["--quantiles", "0.1", "--quantiles", "0.5", "--quantiles", "0.8"],
    ],
    "two classes": ["--task", "classification", "--target", "age_months"],
    "three classes, unweighted": ["--task", "classification", "--target", "site", "--class-weights", "none"],
    "ordinal": [
        *["--task", "ordinal", "--target", "grade", "--class-order", "low", "--class-order", "mid"],
        *["--class-order", "high"],
    ],
}


DEFAULT = ("regression", "quantiles", "three classes, unweighted")
"""One of each kind of head; the others are slow."""


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=name, marks=() if name in DEFAULT else pytest.mark.slow)
        for name, options in TASKS.items()
    ],
)
def test_what_was_trained_predicts(options: list[str], train, predict):
    folder = train(*options)
    model, config = open_model(folder)
    assert isinstance(config, FinetuneConfig)
    assert not model.training
    table = predict(folder)
    wanted = list(config.target.target)
    assert len(table) == 188  # of 190, two have fewer reads than are drawn
    assert table.notna().all().all()
    if config.target.task in ("classification", "ordinal"):
        chances = table.filter(like="p_")
        assert chances.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-4)
        assert [name.removeprefix("p_") for name in chances] == list(config.schema.classes)
    else:
        for name in wanted:
            assert (table[f"{name}_lower"] <= table[name]).all()
            assert (table[name] <= table[f"{name}_upper"]).all()
            assert 0 < table[name].mean() < 20  # in months or kilograms, whatever scale was learned


def test_covariates_and_values_never_seen(metadata: Path, train, predict, tmp_path: Path, capsys):
    folder = train("--target", "weight", "--covariate", "site", "--covariate", "reads")
    plain = predict(folder, "--metadata", str(metadata))
    assert "read as unknown" not in capsys.readouterr().err
    frame = pd.read_csv(metadata, sep="\t", dtype=str).set_index("sample-id")
    frame.loc[frame.index[:50], "site"] = "elsewhere"  # all other values are numbers
    frame.to_csv(tmp_path / "wrong.tsv", sep="\t")
    asked = ["predict", "--model", str(folder), "--example", "--metadata", str(tmp_path / "wrong.tsv")]
    assert cli.main([*asked, "-o", str(tmp_path / "wrong.out.tsv")]) == 2
    wrong = len(set(plain.index) & set(frame.index[:50]))  # of the samples that are deep enough
    assert f"covariate 'site' has {wrong} of {len(plain)} values that are not numbers" in capsys.readouterr().err
    frame.loc[frame.index[:50], "site"] = None
    frame.to_csv(tmp_path / "new.tsv", sep="\t")
    (tmp_path / "predicted.tsv").unlink()
    (tmp_path / "predicted.refused.tsv").unlink()
    strange = predict(folder, "--metadata", str(tmp_path / "new.tsv"))
    told = f"covariate 'site': {len(set(plain.index) & set(frame.index[:50]))} samples with a missing or new value"
    assert told in capsys.readouterr().err
    changed = {sample for sample in plain.index if plain.loc[sample, "weight"] != strange.loc[sample, "weight"]}
    assert changed
    assert changed <= set(frame.index[:50])


def test_a_frozen_encoder_stays(pretrained: Path, train, predict, capsys):
    before = open_encoder(pretrained)[0].state_dict()
    folder = train("--target", "age_months", "--pretrained", str(pretrained), "--freeze", "--where", "same=7")
    frozen = open_encoder(folder)[0].state_dict()
    assert all((frozen[name] == before[name]).all() for name in before)
    assert len(predict(folder)) == 188
    told = capsys.readouterr().err
    assert "100% of the 310 ASVs were in the labelled samples of training\n" in told
    assert "the model has learned from samples with same=7 alone\n" in told


@pytest.mark.slow
def test_a_free_encoder_moves_and_a_part_of_it_can_stay(pretrained: Path, tmp_path: Path):
    before = open_encoder(pretrained)[0].state_dict()
    for number, option in enumerate(([], ["--freeze-asvs"])):
        again = tmp_path / str(number)
        asked = ["train", "--example", "--target", "age_months", "--pretrained", str(pretrained), *QUICK]
        assert cli.main([*asked, *option, "--output-dir", str(again)]) == 0
        after = open_encoder(again)[0].state_dict()
        moved = {name.split(".")[0] for name in before if not (after[name] == before[name]).all()}
        assert moved == {"sample_encoder"} | ({"asv_encoder"} if not option else set())


def test_folds_by_group_predict_together(pretrained: Path, train, predict):
    folder = train(
        *["--target", "age_months", "--pretrained", str(pretrained), "--freeze", "--folds", "3"],
        *["--group-column", "subject", "--selection-fraction", "0.2"],
    )
    table = pd.read_csv(folder / "predictions.tsv", sep="\t", index_col=0)
    assert table.index.is_unique
    assert sorted(table["fold"].unique()) == [1, 2, 3]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["samples_tested"] == len(table) == 184
    assert metrics["mae_low"] <= metrics["mae"] <= metrics["mae_high"]
    assert metrics["mae"] == pytest.approx((table["age_months"] - table["age_months_true"]).abs().mean(), rel=1e-4)
    assert 0 <= metrics["interval_coverage"] <= 1
    true = table["age_months_true"]
    medians = table["fold"].map(lambda fold: true[table["fold"] != fold].median())  # of the samples to train on
    assert metrics["constant_mae"] == pytest.approx((medians - true).abs().mean())
    told = (folder / "summary.txt").read_text()
    assert told.startswith("Networks on embeddings of ASVs predict age_months of 184 samples whose labels they had not")
    report = re.sub("<[^>]*>", "", (folder / "report.html").read_text())
    assert " ".join(told.split("\n\n")[0].split()) in report
    assert "baseline: the median" in told and f"{metrics['constant_mae']:.3f}" in told
    assert f"aam baseline --model {folder}" in told
    subjects = pd.read_csv(json.loads((folder / "manifest.json").read_text())["data"]["metadata"]["path"], sep="\t")
    of = dict(zip(subjects["sample-id"], subjects["subject"], strict=True))
    assert table.groupby(lambda sample: of[sample])["fold"].nunique().max() == 1
    alone = predict(folder / "fold-2")
    assert "age_months_lower" in alone  # calibration of the run serves its folds
    assert set(table.index) < set(alone.index)


@pytest.mark.slow
def test_an_interrupted_cross_validation_goes_on(train, metadata: Path):
    options = ["--target", "age_months", "--folds", "2"]
    folder = train(*options)
    before = (folder / "predictions.tsv").read_text()
    again = ["train", "--resume", "--output-dir", str(folder)]
    assert cli.main(again) == 0
    assert (folder / "predictions.tsv").read_text() == before
    shutil.rmtree(folder / "fold-1")
    shutil.rmtree(folder / "fold-2")  # as if it had ended before its first checkpoint
    assert cli.main(again) == 0
    assert (folder / "predictions.tsv").read_text() == before


REFUSED = {
    "missing column": (["--target", "age"], "has no column 'age'; it has 'age_months'"),
    "no target": ([], "no target; give --target COLUMN"),
    "constant": (["--target", "same"], "'same' is 7 for all 188"),
    "not numeric": (["--target", "grade"], "190 values that are not numbers, first "),
    "one class": (["--task", "classification", "--target", "same"], "has one class, '7'"),
    "one sample a class": (["--task", "classification", "--target", "alone"], "classes with one sample, first 'once'"),
    "target as covariate": (["--target", "weight", "--covariate", "weight"], "is the target itself"),
    "leak": (["--target", "age_months", "--covariate", "age_again"], "gives the target 'age_months' away"),
    "leaking category": (
        ["--task", "classification", "--target", "age_months", "--covariate", "age_again"],
        "gives the target 'age_months' away",
    ),
    "id as covariate": (
        ["--target", "weight", "--covariate", "barcode"],
        "'barcode' is another in each of the 179 samples",
    ),
    "target as group": (
        ["--target", "age_months", "--group-column", "age_months"],
        "--target and --group-column are both 'age_months': no sample to test has a value of training",
    ),
    "no spread": (
        ["--target", "day"],
        "'day' lies between 1e+17 and 1e+17, too close together for arithmetic; subtract",
    ),
    "classes by group": (
        ["--task", "classification", "--target", "site", "--group-column", "place", "--folds", "2"],
        "alone, expected at least two classes",
    ),
    "classes never trained on": (
        ["--task", "classification", "--target", "site", "--group-column", "place", "--folds", "3"],
        "no held-out sample is of a class of site that its training samples have, so all would be predicted wrongly; "
        "give another --group-column than place",
    ),
    "class of a name in use": (["--task", "classification", "--target", "p_b"], "two columns named 'p_b'"),
    "number too large": (["--target", "ratio"], "1 of 190 values that are not numbers below 3e38, first '1e300'"),
    "covariate too large": (["--target", "weight", "--covariate", "ratio"], "'ratio' has 1 of 190 values that are not"),
    "target twice": (["--target", "weight", "--target", "weight"], "--target names a column twice (weight weight)"),
    "target of a name in use": (["--target", "fold"], "two columns named 'fold'"),
    "too few of a class": (
        ["--task", "classification", "--target", "age_months", "--validation-fraction", "0.001"],
        "holds out one of 1000 like parts, but there are ",
    ),
    "too few labels": (["--target", "weight", "--label-fraction", "0.001"], "has 1 sample to train on, expected at"),
    "order unknown": (["--task", "ordinal", "--target", "grade"], "say so with --class-order"),
    "loss of another task": (["--target", "weight", "--loss", "pinball"], "--loss pinball cannot score"),
    "freeze nothing": (["--target", "weight", "--freeze"], "give --pretrained RUN"),
    "nothing fits": (["--target", "weight", "--where", "site=4"], "no sample of the table has site = '4'"),
    "no groups": (["--target", "weight", "--leave-one-group-out"], "need groups"),
    "no checkpoint": (["--target", "weight", "--pretrained", "nowhere"], "no checkpoint here"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_bad_input_is_one_line_and_code_2(options, message, metadata, tmp_path, capsys):
    folder = tmp_path / "run"
    asked = ["train", "--example", "--metadata", str(metadata), "--preset", "tiny", "--output-dir", str(folder)]
    if "--pretrained" in options:
        asked = [option for option in asked if option not in ("--preset", "tiny")]
    assert cli.main([*asked, *options]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert not folder.exists()


def test_ids_and_classes_stay_text(train, predict):
    folder = train(*TASKS["three classes, unweighted"])
    _, config = open_model(folder)
    assert sorted(config.schema.classes) == ["00123", "1.1", "1.10"]
    with (folder / "predictions.tsv").open(encoding="utf-8") as handle:
        said = {row["site"] for row in csv.DictReader(handle, delimiter="\t")}
    assert said <= {"00123", "1.1", "1.10"}


def test_overlap_and_missing_targets_are_counted(train, capsys):
    train("--target", "weight")
    told = capsys.readouterr().err
    assert "190 samples in the table, 190 in the metadata, 190 in both" in told
    assert "181 have a target" in told  # five were blanked, four ages are not known
    assert "left out: 9 samples without a target" in told
    assert "values of 'subject' sit on both sides of a split" in told


def test_samples_it_cannot_take_are_listed_with_reasons(train, predict, tmp_path: Path, capsys):
    predict(train(*TASKS["regression"]))
    assert (
        "Warning: 2 of 190 samples cannot be predicted: 11402.MC051: 2921 reads, fewer than the"
    ) in capsys.readouterr().err
    refused = pd.read_csv(tmp_path / "predicted.refused.tsv", sep="\t", index_col=0)
    assert list(refused.index) == ["11402.MC051", "11402.MC116"]
    assert (
        refused.loc["11402.MC051", "reason"] == "2921 reads, fewer than the 5000 drawn of each sample (--rarefy-depth)"
    )


def test_a_pretrained_encoder_predicts_nothing(pretrained: Path, tmp_path: Path, capsys):
    assert cli.main(["predict", "--model", str(pretrained), "--example", "-o", str(tmp_path / "p.tsv")]) == 2
    assert "found a model of `aam pretrain`, expected one of `aam train`" in capsys.readouterr().err
    assert cli.main(["baseline", "--model", str(pretrained), "-o", str(tmp_path / "b")]) == 2
    assert f"Error: {pretrained}: a run of `aam pretrain`, expected one of `aam train`" in capsys.readouterr().err
    assert cli.main(["baseline", "--model", str(tmp_path)]) == 2
    assert "no manifest.json here, expected the output directory of a run" in capsys.readouterr().err


def test_the_plan_writes_nothing(metadata: Path, tmp_path: Path, capsys):
    asked = ["train", "--example", "--metadata", str(metadata), "--target", "age_months", "--task", "classification"]
    assert cli.main([*asked, "--preset", "tiny", "--folds", "3", "--dry-run", "--output-dir", str(tmp_path / "x")]) == 0
    told = capsys.readouterr().out
    assert "fold 3" in told
    assert "class             12: " in told
    assert re.search(r"time +\d+\.\d minutes at \d+\.\d\d s a step, on cpu", told) and "memory" in told
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_baselines_and_another_run_are_compared_sample_by_sample(train, tmp_path: Path, capsys):
    options = ["--task", "classification", "--target", "age_months", "--folds", "2", "--group-column", "subject"]
    first, second = train(*options), train(*options, "--lr", "1e-5").rename(tmp_path / "slow")
    assert cli.main(["baseline", "--model", str(first), "--against", str(second)]) == 0
    found = json.loads((first / "baselines.json").read_text())["age_months"]
    assert set(found) == {
        *("random_forest", "logistic_l1", "logistic_l2", "within_ridge_presence", "knn", "constant"),
        *("model", "slow"),
    }
    ours, theirs = (json.loads((run / "metrics.json").read_text())["balanced_accuracy"] for run in (first, second))
    values = {name: figures["balanced_accuracy"]["value"] for name, figures in found.items()}
    assert (values["model"], values["slow"]) == (pytest.approx(ours), pytest.approx(theirs))
    for name in ("random_forest", "slow"):
        difference = found[name]["model_minus_baseline"]["balanced_accuracy"]["value"]
        assert difference == pytest.approx(values["model"] - values[name])
    table = pd.read_csv(first / "baseline_predictions.tsv", sep="\t", index_col=0)
    predicted = pd.read_csv(first / "predictions.tsv", sep="\t", index_col=0).loc[table.index]
    assert (table["age_months_true"] == predicted["age_months_true"]).all()
    assert cli.main(["baseline", "--model", str(first), "--baseline", "gradient_boosting"]) == 0
    assert json.loads((first / "baselines.json").read_text())["age_months"].items() > found.items()
    both = pd.read_csv(first / "baseline_predictions.tsv", sep="\t", index_col=0)
    pd.testing.assert_frame_equal(both[list(table)], table)
    assert "age_months_gradient_boosting" in both
    assert "gradient boosting on relative abundance" in (first / "report.html").read_text()
    capsys.readouterr()
    assert cli.main(["baseline", "--model", str(first), "--against", str(first)]) == 2
    assert "the run of --model itself; give another run" in capsys.readouterr().err
    assert cli.main(["baseline", "--model", str(first), "-o", str(first)]) == 2
    assert "exists and is not overwritten" in capsys.readouterr().err
    changed = json.loads((first / "baselines.json").read_text())
    changed["age_months"]["model"]["macro_f1"]["value"] += 0.1  # as if the run had gone on since
    write_record(first / "baselines.json", changed)
    remember_files(first, ["baselines.json"])
    assert cli.main(["baseline", "--model", str(first), "--baseline", "constant"]) == 0
    assert (
        "earlier baselines are left out: they were compared with other predictions of this run"
        in capsys.readouterr().err
    )
    assert set(json.loads((first / "baselines.json").read_text())["age_months"]) == {"constant", "model"}
    apart = train(*TASKS["two classes"])
    assert cli.main(["baseline", "--model", str(first), "--against", str(apart), "-o", str(tmp_path / "x")]) == 2
    assert "its folds are not those of" in capsys.readouterr().err
    assert cli.main(["baseline", "--example", *options, "--against", str(second), "-o", str(tmp_path / "x")]) == 2
    assert "there is nothing to compare it with; give --model RUN" in capsys.readouterr().err


def test_baselines_need_no_model(metadata: Path, tmp_path: Path):
    asked = ["baseline", "--example", "--metadata", str(metadata), "--target", "weight", "--folds", "2"]
    assert cli.main([*asked, "-o", str(tmp_path / "found")]) == 0
    found = json.loads((tmp_path / "found" / "baselines.json").read_text())["weight"]
    assert found["random_forest"]["mae"]["value"] < found["constant"]["mae"]["value"]


def test_a_model_of_few_labels_and_its_baselines_learn_from_the_same_samples(train):
    options = {"task": "classification", "target": "age_months", "folds": "2", "label_fraction": "0.2"}
    folder = train(
        *chain.from_iterable((option_flag(name), value) for name, value in options.items()), "--batch-size", "8"
    )
    metrics = json.loads((folder / "metrics.json").read_text())
    assert 30 <= metrics["samples_train"] <= 42  # a fifth of each half of those with reads enough, rounded up
    assert metrics["samples_tested"] > 180
    configs = recorded_config(folder, {}), from_options(FinetuneConfig, {"example": True, **options})
    study = open_study(configs[0].data, configs[0].target)
    with_model, alone = (Runs(run).folds(own, study) for run, own in zip((folder, None), configs, strict=True))
    assert [fold.train.tolist() for fold in with_model] == [fold.train.tolist() for fold in alone]
    assert sum(len(fold.train) for fold in alone) == metrics["samples_train"]
