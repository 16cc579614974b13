"""`aam pretrain --reference`, alone and beside a table, through the command line; and what the model is good for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from grown_reference import grown_reference

from aam.cli import main
from aam.placement.store import LEFT_OUT, write_reference

SMALL = ["--preset", "tiny", "--branches", "16", "--patch", "25", "--max-steps", "3", "--eval-every", "3",
         "--reference-tips", "32", "--batch-size", "4", "--device", "cpu", "--no-preflight"]  # fmt: skip
TIPS = 120


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small reference of V4."""
    folder = tmp_path_factory.mktemp("reference")
    found = grown_reference(TIPS)
    (folder / LEFT_OUT).write_text("")
    about = {"region": "none", "counts": {}, "left_out": {}, "sources": {}}
    write_reference(folder, found, np.ascontiguousarray(found.codes.T), about, 1)
    return folder


@pytest.fixture(scope="module")
def alone(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining on the reference alone; look, but do not touch."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert main(["pretrain", "--reference", str(reference), *SMALL, "--output-dir", str(folder)]) == 0
    return folder


def test_a_run_alone_has_metrics_report_and_log(alone: Path, reference: Path):
    metrics = json.loads((alone / "metrics.json").read_text())
    for kind in ("reference_tips", "reference_genera"):
        assert f"{kind}_r2" in metrics and f"{kind}_mae_to_0.3" in metrics
    assert metrics["samples_train"] == 512 and metrics["samples_validation"] == 128
    assert "Tree distances of reference tips held out" in (alone / "report.html").read_text()
    summary = (alone / "summary.txt").read_text()
    assert "tips of genera held out" in summary and "128 held-out simulated samples" in summary
    log = [json.loads(line) for line in (alone / "log.jsonl").read_text().splitlines()]
    for kind in ("train", "validation"):
        lines = [line for line in log if line["kind"] == kind]
        assert lines and all({"reference_patristic", "reference_nucleotide"} <= line.keys() for line in lines)
    manifest = json.loads((alone / "manifest.json").read_text())
    assert manifest["data"]["reference"]["path"] == str(reference / "reference.json")


def test_its_model_embeds_and_measures_any_table(alone: Path, tmp_path: Path):
    options = ["--model", str(alone), "--example"]
    assert main(["embed", *options, "-o", str(tmp_path / "embeddings.tsv")]) == 0
    assert main(["distance", *options, "--method", "latent-tree", "-o", str(tmp_path / "distances.tsv")]) == 0
    values = np.loadtxt(tmp_path / "distances.tsv", skiprows=1, usecols=range(1, 11), max_rows=10)
    assert np.isfinite(values).all() and (np.diag(values) == 0).all()
    assert main(["report", str(alone), "-o", str(tmp_path / "report.html")]) == 0  # the data are opened again


@pytest.mark.slow
def test_beside_a_table_and_taken_up_again(reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    options = ["pretrain", "--example", "--reference", str(reference), *SMALL, "--output-dir", str(tmp_path / "run")]
    assert main([*options, "--dry-run"]) == 0
    plan = " ".join(capsys.readouterr().out.split())
    assert "reference 120 tips of 120 have bases on v4 (columns 611 to 7" in plan and "to train on, 32 a batch" in plan
    assert main(options) == 0
    assert main([*options, "--max-steps", "5", "--resume"]) == 0
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["steps"] == 5
    (reference / "reference.json").write_text((reference / "reference.json").read_text() + "\n")
    assert main([*options, "--max-steps", "6", "--resume"]) == 2
    assert "--reference" in (said := capsys.readouterr().err) and "has changed since the run" in said


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--reference", "."], "is no finished reference (reference.json is missing); make one with `aam reference`"),
        (["--reference", "nowhere"], "nowhere is no finished reference"),
        (["--reference", ".", "--tree", "tree.nwk"], "--tree is about a table, but there is no feature table"),
        (["--reference", ".", "--unifrac-head", "euclidean", "--example"], "--reference teaches tree distances"),
    ],
)
def test_refusals_in_one_line(options: list[str], text: str, folder: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["pretrain", *options, "--output-dir", "run"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert text in said[-1] and "Traceback" not in "".join(said) and not Path("run").exists()
