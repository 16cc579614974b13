"""Run directories that an earlier version wrote: they open, are used and are resumed as before.

`tests/golden/old_runs` was written before the modules moved: a pretraining of 4 steps and a cross-validation of 2 folds
on the embedded example, with the embeddings and predictions of all reads that were made with them before draws of
reads hung on the ids of samples.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import aam
from aam.cli import main

OLD = Path(__file__).parents[1] / "golden" / "old_runs"


@pytest.fixture
def old(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of an old run, which may be written to."""
    return lambda name: Path(shutil.copytree(OLD / name, tmp_path / name))


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the old cross-validation whose report was made again; look, but do not touch."""
    run = Path(shutil.copytree(OLD / "trained", tmp_path_factory.mktemp("reported") / "trained"))
    assert main(["report", str(run)]) == 0
    return run


def test_embeddings_of_an_old_encoder_are_as_they_were() -> None:
    then = pd.read_csv(OLD / "embeddings.tsv", sep="\t", index_col=0)
    now = aam.embed(example=True, model=OLD / "pretrained")
    pd.testing.assert_frame_equal(now.astype(float), then.astype(float), atol=1e-5, rtol=1e-5)


def test_predictions_of_an_old_model_are_as_they_were() -> None:
    then = pd.read_csv(OLD / "predictions.tsv", sep="\t", index_col=0)
    with pytest.warns(UserWarning, match="had been trained on"):
        now = aam.predict(example=True, model=OLD / "trained", rarefy_depth="none")
    pd.testing.assert_frame_equal(now.astype(float), then.astype(float), atol=1e-4, rtol=1e-4)


def test_an_old_pretraining_is_resumed(old: Callable[[str], Path]) -> None:
    run = old("pretrained")
    assert main(["pretrain", "--resume", "--output-dir", str(run), "--max-steps", "6"]) == 0
    opened = aam.Run.open(run)
    assert opened.metrics["steps"] == 6
    steps = opened.history.query("kind == 'validation'")["step"].tolist()
    assert steps == [2, 4, 6], "readings of both versions stand in one log"


@pytest.mark.parametrize("name", [pytest.param("pretrained", marks=pytest.mark.slow), "trained"])
def test_the_report_of_an_old_run_is_made_again(old: Callable[[str], Path], reported: Path, name: str) -> None:
    run = reported
    if name == "pretrained":
        run = old(name)
        assert main(["report", str(run)]) == 0
    text = (run / "report.html").read_text()
    assert "Ordination" in text and "Health" in text


def test_differences_under_their_old_name_are_read(reported: Path) -> None:
    written = json.loads((reported / "baselines.json").read_text())
    assert "model_less_this" in written["age_months"]["knn"]
    assert "model minus" in (reported / "report.html").read_text().casefold()


def test_the_ledger_of_an_old_run_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", str(OLD / "pretrained")]) == 0
    assert "samples" in capsys.readouterr().out
