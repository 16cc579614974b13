"""After training on several studies: the report again, the transfer card, drivers, and other commands' refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from clade_studies import LONG, options_of, write_clade_studies
from generated_reference import random_reference, read_of

import aam
from aam.atomic import write_record
from aam.cli import main
from aam.learners.transfer import STUDIES

CLASSES = ("--target", "state", "--task", "classification", "--rarefy-depth", "none")


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clade_studies(tmp_path_factory.mktemp("studies"), {"north": 12, "south": 10, "west": 10, "new": 12})


@pytest.fixture(scope="module")
def run(studies: Path) -> Path:
    """A run on three studies, each left out in turn."""
    options = [*options_of(studies, "north", "south", "west"), *CLASSES, "--leave-one-study-out"]
    assert main(["train", *options, "--output-dir", str(studies / "run")]) == 0
    return studies / "run"


def card_of(run: Path, table: Path) -> dict:
    output = table.with_name(f"{table.stem}-predicted.tsv")
    assert main(["predict", "--model", str(run), "--table", str(table), "-o", str(output)]) == 0
    return json.loads(output.with_suffix(".transfer.json").read_text())


def test_what_each_study_is_like_is_stored(run: Path):
    record = json.loads((run / "best" / STUDIES).read_text())
    found = {one["study"]: one for one in record["studies"]}
    metrics = json.loads((run / "metrics.json").read_text())
    assert list(found) == ["north", "south", "west"]
    assert found["north"]["subjects"] == 12 and found["north"]["classes"] == {"healthy": 12, "ill": 12}
    assert found["south"]["scores"]["auc"]["value"] == metrics["auc_south"]
    assert record["scores"]["auc"]["value"] == metrics["auc_mean_over_studies"]
    for one in found.values():
        assert one["reads"]["difference"] < 0.01 and one["reads"]["near"] == 1  # reads are tips of the reference
        assert one["nearest"] != one["study"] and 0 < one["distance"] < 1
    # each lacks a third of the ASVs, all of which the other two have
    assert [one["known"] for one in found.values()] == [1.0, 1.0, 1.0]
    # they lack whole ASVs, so the study shows more clearly than the label
    assert record["study_signal"] > record["label_signal"] > 0.5


def test_the_card_of_a_study_like_those_of_training(run: Path, studies: Path, capsys: pytest.CaptureFixture[str]):
    card = card_of(run, studies / "new.tsv")
    said = capsys.readouterr().err
    assert card["table"]["samples"] == 24 and card["table"]["known"] == 1.0
    # `new` lacks the same ASVs as `north`, and holds the same clades
    assert card["nearest"] == "north" and card["distance"] == min(card["distances"].values())
    assert card["distance"] <= card["farthest_in_training"]
    assert "nearest study: north" in said and "expect: about what studies left out had: auc" in said
    assert "the study of a sample can be told better than its label" in said


def test_a_table_far_from_training_is_warned_of(run: Path, studies: Path, capsys: pytest.CaptureFixture[str]):
    reference, rng = random_reference(40), np.random.default_rng(3)
    reads = [read_of(reference, tip, LONG) for tip in range(8)]  # one corner of the tree alone, at even shares
    ids = [f"f{number}" for number in range(12)]
    pd.DataFrame(rng.poisson(50, (8, 12)), reads, ids).rename_axis("#OTU ID").to_csv(studies / "far.tsv", sep="\t")
    card = card_of(run, studies / "far.tsv")
    assert card["distance"] > card["farthest_in_training"]
    assert any("farther from training" in text for text in card["warnings"])
    assert "expect: less than" in capsys.readouterr().err


def test_reads_of_another_region_are_warned_of(run: Path, studies: Path):
    reference, rng = random_reference(40), np.random.default_rng(3)
    reads = [read_of(reference, tip, slice(1200, 1500)) for tip in range(40)]
    ids = [f"r{number}" for number in range(6)]
    table = pd.DataFrame(rng.poisson(20, (40, 6)), reads, ids).rename_axis("#OTU ID")
    table[~table.index.duplicated()].to_csv(studies / "region.tsv", sep="\t")
    card = card_of(run, studies / "region.tsv")
    assert any("another region" in text for text in card["warnings"])
    assert card["table"]["known"] == 0.0


def test_few_samples_are_not_compared(run: Path, studies: Path):
    table = pd.read_csv(studies / "new.tsv", sep="\t", index_col=0)
    table.iloc[:, :3].to_csv(studies / "three.tsv", sep="\t")
    card = card_of(run, studies / "three.tsv")
    assert card["nearest"] is None and card["distances"] == {}
    assert any("3 samples are too few" in line for line in card["text"])


def test_a_card_is_not_overwritten(run: Path, studies: Path, capsys: pytest.CaptureFixture[str]):
    (studies / "kept.transfer.json").write_text("{}")
    options = ["--model", str(run), "--table", str(studies / "new.tsv"), "-o", str(studies / "kept.tsv")]
    assert main(["predict", *options]) == 2
    assert "kept.transfer.json" in capsys.readouterr().err and not (studies / "kept.tsv").exists()


def test_a_damaged_record_of_studies_is_refused(run: Path, studies: Path, capsys: pytest.CaptureFixture[str]):
    copied = shutil.copytree(run, studies / "damaged")
    (copied / "best" / STUDIES).write_text("{")
    options = ["--model", str(copied), "--table", str(studies / "new.tsv"), "-o", str(studies / "damaged.tsv")]
    assert main(["predict", *options]) == 2
    assert f"{STUDIES}: SHA-256 is" in capsys.readouterr().err


@pytest.mark.slow
def test_the_report_is_made_again_alike(run: Path, studies: Path):
    first = (run / "report.html").read_text()
    for part in ("Transfer: 3 studies of training", "Ordination of the samples, by study", "Audit: what the clades"):
        assert part in first
    assert "Training curves" not in first and "0 steps" not in first
    assert main(["report", str(run)]) == 0
    again = (run / "report.html").read_text()
    assert len(again) == pytest.approx(len(first), rel=0.02)
    for part in ("Ordination of the samples, by study", "Audit: what the clades"):
        assert part in again


def test_a_report_without_the_data_has_the_ordination(run: Path, studies: Path, capsys: pytest.CaptureFixture[str]):
    copied = shutil.copytree(run, studies / "moved")
    manifest = json.loads((copied / "manifest.json").read_text())
    manifest["config"]["data"]["table"] = [f"{path}.gone" for path in manifest["config"]["data"]["table"]]
    write_record(copied / "manifest.json", manifest)  # sealed anew
    assert main(["report", str(copied)]) == 0
    page = (copied / "report.html").read_text()
    assert "Ordination of the samples, by study" in page and "Audit" not in page
    assert "colours and audit: the data of the run cannot be opened" in capsys.readouterr().err


def test_drivers_are_the_clades_that_make_ill(run: Path, studies: Path):
    output = run / "drivers.tsv"
    options = ["--model", str(run), "--table", str(studies / "new.tsv"), "-o", str(output)]
    assert main(["explain", *options]) == 0
    found = pd.read_csv(output, sep="\t", index_col=0)
    assert found["share"].is_monotonic_decreasing and found["share"].sum() == pytest.approx(1.0, abs=1e-3)
    # what is rare among the first half of the tips, phylum P0, is four times as common in those who are ill
    leading = found.head(5)
    assert leading["taxon"].str.contains("p__P0").all()
    assert (leading["attribution"] > 0).all() and (leading["deletion"] < 0).all()
    about = json.loads(output.with_suffix(".json").read_text())
    assert about["explained"] == "log-odds of state being ill" and output.with_suffix(".png").is_file()
    assert main(["report", str(run)]) == 0
    assert "Leading clades and ASVs" in (run / "report.html").read_text()


@pytest.mark.slow
def test_the_other_class_is_driven_the_other_way(run: Path, studies: Path):
    tables = []
    for name in ("ill", "healthy"):
        output = studies / f"drivers-{name}.tsv"
        options = ["--model", str(run), "--table", str(studies / "new.tsv"), "-o", str(output), "--of", name]
        assert main(["explain", *options]) == 0
        tables.append(pd.read_csv(output, sep="\t", index_col=0))
    ill, healthy = tables[0], tables[1].loc[tables[0].index]
    assert np.allclose(ill["attribution"], -healthy["attribution"], atol=1e-5)
    assert np.allclose(ill["deletion"].dropna(), -healthy["deletion"].dropna(), atol=1e-5)


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("embed", ("--table", "new.tsv", "-o", "e.tsv")),
        ("distance", ("--table", "new.tsv", "-o", "d.tsv")),
        ("export", ("-o", "e.pt2")),
    ],
)
def test_what_needs_an_encoder_is_refused(
    run: Path, studies: Path, capsys: pytest.CaptureFixture[str], command: str, more: tuple[str, ...]
):
    more = tuple(str(studies / part) if "." in part else part for part in more)
    assert main([command, "--model", str(run), *more]) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Error")]
    assert "a model of `aam train --learner clades`, which has no encoder" in error


def test_models_lists_it(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(run.parent)
    assert main(["models"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("run ")]
    assert "predicts state from clades" in line and "auc_mean_over_studies" in line


def test_a_saved_model_predicts_as_the_run_and_says_nothing_private(
    run: Path, studies: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(studies)  # where a folder of the name of the reference lies
    saved = aam.save_pretrained(run, studies / "saved", bf16=True)
    text = "".join(path.read_text() for path in saved.glob("*.json"))
    assert str(studies) not in text and "north.tsv" in text
    assert "a ridge and forests" in (saved / "card.md").read_text()
    tables = []
    for model in (run, saved):
        output = studies / f"by-{model.name}.tsv"
        assert main(["predict", "--model", str(model), "--table", str(studies / "new.tsv"), "-o", str(output)]) == 0
        tables.append((output.read_text(), output.with_suffix(".transfer.json").read_text()))
    assert tables[0] == tables[1]
