"""`aam report` of a run directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from trained_run import save_run

from aam.cli import main
from aam.health.ledger import FILE_NAME, Ledger


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = save_run(tmp_path / "my-run")
    (folder / "manifest.json").write_text(json.dumps({"asvs": 310, "samples": {"train": 150}}))
    (folder / "metrics.json").write_text(json.dumps({"unifrac_r2": 0.5, "unifrac_mae": 0.1, "unifrac_pearson": 0.7}))
    return folder


def test_a_run_is_reported_with_ordinations_and_ledger(run: Path, capsys):
    ledger = Ledger(run / FILE_NAME)
    ledger.enter("data", "sample", ["a", "b"])
    ledger.quarantine("data", "sample", ["b"], "too shallow", planned=True)
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "<h1>my-run</h1>" in page and "0.500" in page and "data: too shallow: b" in page
    assert "Ordination of the samples" in page and "coloured by age_months" in page
    assert main(["report", str(run)]) == 0  # its own report is replaced


def test_a_run_whose_data_is_gone_is_reported_without_ordinations(tmp_path: Path):
    run = save_run(tmp_path / "run", example=False, table="gone.biom", tree="gone.nwk")
    (run / "manifest.json").write_text("{}")
    assert main(["report", str(run), "-o", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "gone.biom does not exist" in page and "data:image/png" not in page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "page.pdf"], "found the ending '.pdf', expected .html"),
        (["--color-by", "agee"], "has no column 'agee'"),
        (["--metadata", "nowhere.tsv"], "nowhere.tsv does not exist"),
        (["--metadata", "others.tsv"], "others.tsv: none of its 1 sample is among the 38 of the table"),
    ],
)
def test_refused_with_code_2_and_nothing_written(run: Path, options: list[str], message: str, capsys, monkeypatch):
    monkeypatch.chdir(run)
    (run / "others.tsv").write_text("sample-id\tage\nX1\t6\n")
    assert main(["report", str(run), *options]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (run / "report.html").exists()


def test_a_checkpoint_in_a_run_stands_for_it(run: Path):
    assert main(["report", str(run / "best")]) == 0
    assert "<h1>my-run</h1>" in (run / "report.html").read_text()


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "no manifest.json here" in capsys.readouterr().err
