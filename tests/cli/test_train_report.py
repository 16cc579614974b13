"""`aam train` writes its report; `aam report` writes it again, with baselines and leading ASVs beside it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aam import cli
from aam.datasets import example

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SMALL = ["--preset", "tiny", "--branches", "16", "--patch", "25", "--max-steps", "4", "--device", "cpu"]
OPTIONS = {
    "numbers": ["--target", "weight", "--target", "age_months"],
    "classes": ["--target", "age_months", "--task", "classification", "--folds", "2", "--group-column", "subject"],
}


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame = pd.read_csv(example().metadata, sep="\t", dtype=str).set_index("sample-id")
    frame["weight"] = frame["age_months"].astype(float) + np.arange(len(frame)) % 3
    frame["subject"] = [f"s{row // 3}" for row in range(len(frame))]
    frame["plate"] = [f"p{row % 2}" for row in range(len(frame))]
    path = tmp_path_factory.mktemp("meta") / "samples.tsv"
    frame.to_csv(path, sep="\t")
    return path


@pytest.fixture(scope="module", params=[pytest.param("numbers", marks=pytest.mark.slow), "classes"])
def run(request: pytest.FixtureRequest, metadata: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A run for reading alone, and which of the options it had."""
    folder = tmp_path_factory.mktemp("runs") / request.param
    asked = ["train", "--example", "--metadata", str(metadata), *SMALL, *OPTIONS[request.param]]
    assert cli.main([*asked, "--output-dir", str(folder)]) == 0
    return request.param, folder


def test_the_run_leaves_pictures_and_a_page_of_all_it_knows(run: tuple[str, Path]):
    kind, folder = run
    page = re.sub("<[^>]*>", "", (folder / "report.html").read_text())
    assert (folder / "curves.png").is_file() and (folder / "predictions.png").is_file()
    for words in (
        "Predictions of held-out samples", "Training curves", "Ordination of the samples",
        "Audit: what the embeddings reveal", "plate (batch)", "samples in the metadata",
        "samples with fewer reads than the rarefaction depth", "interventions", "training (samples)", "Health",
    ):  # fmt: skip
        assert words in page, words
    if kind == "classes":
        assert "balanced accuracy" in page and "Folds\n" in page and "fold-2, training (samples)" in page
        assert "subject (subject)" in page
        assert "Principal coordinates of" in page and "(fold 1 was tested on), coloured by age_months" in page
    else:
        assert "weight: mean absolute error" in page and "age_months: R²" in page and "Folds\n" not in page


def test_baselines_and_leading_asvs_are_found_or_given(run: tuple[str, Path], tmp_path: Path):
    kind, folder = run
    if kind == "numbers":
        pytest.skip("one kind of run is enough")
    assert cli.main(["baseline", "--model", str(folder), "-o", str(tmp_path / "found")]) == 0
    (tmp_path / "drivers.tsv").write_text("feature-id\trank\tshare\nACGTACGT\t1\t0.5\n")
    shutil.copy(folder / "curves.png", tmp_path / "drivers.png")
    (tmp_path / "taxonomy.tsv").write_text("Feature ID\tTaxon\tConfidence\nACGTACGT\tk__B; f__F; g__Blautia\t1\n")
    given = ["--baseline", str(tmp_path / "found" / "baselines.json"), "--explain", str(tmp_path / "drivers.tsv")]
    given += ["--taxonomy", str(tmp_path / "taxonomy.tsv")]
    assert cli.main(["report", str(folder), *given, "--color-by", "plate", "-o", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "Comparison with the baselines, on the same folds" in page and "this model minus" in page
    assert (
        "ACGTACGT" in page
        and ">g__Blautia ACGTACGT</td>" in page
        and "What the leading ones do" in page
        and "coloured by plate" in page
    )
    assert "http:" not in page and "https:" not in page


@pytest.mark.parametrize(
    ("option", "content", "message"),
    [
        ("--baseline", '{"mae": 1.0}', "not what `aam baseline` writes"),
        ("--baseline", "{", "not readable"),
        ("--explain", "id\trank\nACGT\t1\n", "the first column is 'id', expected 'feature-id'"),
        ("--taxonomy", "ACGT\tk__B\n", "--taxonomy names the ASVs of the table of `aam explain`, but there is no "),
        ("--explain", "", "not readable (No columns to parse from file)"),
    ],
)
def test_files_of_another_kind_are_refused(run, option: str, content: str, message: str, tmp_path: Path, capsys):
    (tmp_path / "file").write_text(content)
    page = tmp_path / "page.html"
    assert cli.main(["report", str(run[1]), option, str(tmp_path / "file"), "-o", str(page)]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1] and not page.exists()


def test_a_run_whose_data_is_gone_shows_its_predictions(run: tuple[str, Path], metadata: Path, tmp_path: Path):
    hidden = metadata.with_name("hidden")
    metadata.rename(hidden)
    try:
        assert cli.main(["report", str(run[1]), "-o", str(tmp_path / "page.html")]) == 0
    finally:
        hidden.rename(metadata)
    page = (tmp_path / "page.html").read_text()
    assert "Predictions of held-out samples" in page and "cannot be opened" in page and "Ordination of" not in page


@pytest.mark.skipif(CHROMIUM is None, reason="NOT TESTED: the report in a browser, because chromium is absent")
def test_a_browser_shows_it(run: tuple[str, Path], tmp_path: Path):
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=1200,3000", f"--screenshot={tmp_path / 'page.png'}", (run[1] / "report.html").as_uri(),
        ],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.png").stat().st_size > 100_000
