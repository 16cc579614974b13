"""Runs that begin with the encoder of another: `aam pretrain --pretrained` and `aam train --adapt-steps`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from aam import cli
from aam.checkpoint import load_checkpoint, open_encoder
from aam.config import FinetuneConfig, from_options
from aam.corpus.study import open_study
from aam.workflows.adapt import build_unlabelled_corpus

WHOLE = ["--device", "cpu", "--no-preflight"]
QUICK = [*WHOLE, "--token-limit", "16"]
STILL = ["--lr", "1e-12"]
"""A rate at which nothing moves: what a run ends with is what it began with."""
LABELS = ["--target", "age_months", "--task", "classification", "--folds", "2", "--draws", "1", "--freeze"]


def encoder_of(run: Path) -> torch.Tensor:
    """The weights of its ASV encoder, in one row."""
    encoder, _ = open_encoder(run)
    return torch.cat([weights.flatten() for weights in encoder.asv_encoder.parameters()])


@pytest.fixture(scope="module")
def run(pretrained: Path) -> Path:
    """A pretraining; look, but do not touch."""
    return pretrained


def test_goes_on_where_the_other_run_ended(run: Path, tmp_path: Path):
    asked = ["pretrain", "--example", *WHOLE, "--max-steps", "1", *STILL]
    assert cli.main([*asked, "--pretrained", str(run), "--output-dir", str(tmp_path / "on")]) == 0
    began, ended = (load_checkpoint(folder / "best").model for folder in (run, tmp_path / "on"))
    for name, weights in began.items():
        torch.testing.assert_close(ended[name], weights, atol=1e-6, rtol=0)
    figures = [json.loads((folder / "metrics.json").read_text()) for folder in (run, tmp_path / "on")]
    assert figures[1]["unifrac_r2"] == pytest.approx(figures[0]["unifrac_r2"], abs=1e-4)


@pytest.mark.slow
def test_once_begun_it_no_longer_needs_the_other_run(run: Path, tmp_path: Path):
    copy, own = tmp_path / "copy", tmp_path / "own"
    shutil.copytree(run, copy)
    asked = ["pretrain", "--example", *QUICK, "--max-bp", "60", "--pretrained", str(copy), "--output-dir", str(own)]
    assert cli.main([*asked, "--max-steps", "2"]) == 0
    shutil.rmtree(copy)
    assert cli.main(["pretrain", "--output-dir", str(own), "--resume", "--max-steps", "3"]) == 0
    assert json.loads((own / "metrics.json").read_text())["steps"] == 3


def test_a_frozen_asv_encoder_stays_and_the_sample_encoder_learns(run: Path, tmp_path: Path, capsys):
    folder = tmp_path / "frozen"
    asked = ["pretrain", "--example", *QUICK, "--max-steps", "4", "--freeze-asvs"]
    assert cli.main([*asked, "--pretrained", str(run), "--output-dir", str(folder)]) == 0
    began, ended = (load_checkpoint(path / "best").model for path in (run, folder))
    same = {name for name in began if torch.equal(began[name], ended[name])}
    assert {name for name in began if name.startswith("asv_encoder.")} <= same
    assert not {name for name in began if name.startswith(("sample_encoder.transformer", "latent_tree."))} & same
    assert cli.main([*asked, "--output-dir", str(tmp_path / "no")]) == 2
    assert (
        "--freeze-asvs keeps a pretrained ASV encoder, but there is none; give --pretrained RUN"
        in capsys.readouterr().err
    )


def test_the_sample_encoder_begins_anew_on_the_asvs_of_another_run(run: Path, tmp_path: Path, capsys):
    folder = tmp_path / "anew"
    asked = ["pretrain", "--example", *QUICK, "--max-steps", "2", "--pretrained", str(run)]
    more = ["--restart-samples", "--mean-features", "32", "--sample-layers", "2"]
    assert cli.main([*asked, *more, "--freeze-asvs", "--output-dir", str(folder)]) == 0
    began, ended = (load_checkpoint(path / "best").model for path in (run, folder))
    for name in began:
        if name.startswith("asv_encoder."):
            assert torch.equal(began[name], ended[name]), name
    assert ended["sample_encoder.mean.project.weight"].shape == (32, 32)
    assert any(name.startswith("sample_encoder.transformer.blocks.1") for name in ended)
    assert cli.main([*asked, "--mean-features", "32", "--output-dir", str(tmp_path / "no")]) == 2
    assert "--mean-features is fixed by the encoder of --pretrained" in capsys.readouterr().err
    assert cli.main([*asked[:-2], "--restart-samples", "--output-dir", str(tmp_path / "no")]) == 2
    assert "--restart-samples keeps a pretrained ASV encoder, but there is none" in capsys.readouterr().err


def test_its_size_is_that_of_the_encoder(run: Path, tmp_path: Path, capsys):
    asked = ["pretrain", "--example", "--pretrained", str(run), "--output-dir", str(tmp_path / "no")]
    assert cli.main([*asked, "--dim", "64"]) == 2
    assert f"--dim is fixed by the encoder of --pretrained {run}; leave it out" in capsys.readouterr().err
    assert cli.main([*asked, "--max-bp", "200"]) == 2
    assert "--max-bp is 200, but the encoder of --pretrained reads at most 150 bases" in capsys.readouterr().err
    assert cli.main(["pretrain", "--example", "--pretrained", str(tmp_path), "--output-dir", str(tmp_path / "no")]) == 2
    assert "no checkpoint here" in capsys.readouterr().err


def test_each_fold_has_an_encoder_that_read_its_training_samples(run: Path, tmp_path: Path):
    folder = tmp_path / "adapted"
    asked = ["train", "--example", *QUICK, *LABELS, "--pretrained", str(run), "--adapt-steps", "3", "--max-steps", "4"]
    assert cli.main([*asked, "--output-dir", str(folder)]) == 0
    start, folds = encoder_of(run), [folder / "fold-1", folder / "fold-2"]
    adapted = [encoder_of(fold / "adapted") for fold in folds]
    assert all(torch.equal(encoder_of(fold), own) for fold, own in zip(folds, adapted, strict=True))
    assert not torch.equal(adapted[0], start) and not torch.equal(adapted[0], adapted[1])
    assert cli.main(["predict", "--model", str(folder), "--example", "-o", str(tmp_path / "predictions.tsv")]) == 0


def test_the_corpus_of_a_fold_holds_no_other_sample():
    config = from_options(FinetuneConfig, {"example": True, "target": ("age_months",), "task": "classification"})
    study = open_study(config.data, config.target)
    rows = torch.arange(0, len(study.table.sample_ids), 3).numpy()
    corpus = build_unlabelled_corpus(config, study, rows)
    assert study.dropped and not corpus.dropped
    assert corpus.table.sample_ids == [study.table.sample_ids[row] for row in rows]
    assert corpus.split.train == corpus.table.sample_ids and corpus.split.validation == []
    carried = (study.table.counts[rows] > 0).sum(axis=0).nonzero()[0]
    assert corpus.table.sequences == [study.table.sequences[column] for column in carried]


@pytest.mark.parametrize(
    ("asked", "missing"),
    [
        (["--example"], "--pretrained RUN"),
        (["--table", "table.biom", "--metadata", "m.tsv", "--pretrained", "shipped"], "--tree FILE"),
    ],
)
def test_adapting_needs_an_encoder_and_a_tree(asked: list[str], missing: str, tmp_path: Path, capsys):
    refused = ["train", *asked, "--target", "age_months", "--adapt-steps", "5", "--output-dir", str(tmp_path / "no")]
    assert cli.main(refused) == 2
    text = f"--adapt-steps goes on with pretraining, which needs an encoder and a tree; give {missing}"
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["train", "--target", "age_months", "--draws", "1"], id="all"),
        pytest.param(["train", "--target", "age_months", "--freeze-asvs"], id="samples", marks=pytest.mark.slow),
        pytest.param(["pretrain", "--freeze-asvs"], id="pretrain", marks=pytest.mark.slow),
    ],
)
def test_the_shipped_encoder_passes_the_preflight(options: list[str], tmp_path: Path):
    """Its kernel mean has weights that nothing learns."""
    asked = ["--example", "--device", "cpu", "--token-limit", "16", "--max-steps", "1", "--pretrained", "shipped"]
    assert cli.main([*options, *asked, "--output-dir", str(tmp_path / "run")]) == 0
