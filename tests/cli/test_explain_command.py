"""`aam explain` from files to files."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from trained_run import save_run

from aam.cli import main

TABLE = "#OTU ID\ts1\ts2\ts3\nAAAA\t3\t0\t10\nCCCC\t1\t1\t0\nGGGG\t0\t1\t20\nTTTT\t0\t0\t30\n"
TREE = "((TTTT:1,CCCC:2):1,(GGGG:4,AAAA:5):3):0.5;"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("explain") / "run")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "table.tsv").write_text(TABLE)
    (tmp_path / "tree.nwk").write_text(TREE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_table_figure_and_check(run: Path, folder: Path, capsys):
    options = ["--model", str(run), "--table", "table.tsv", "--tree", "tree.nwk", "-o", "drivers.tsv"]
    assert main(["explain", *options]) == 0
    frame = pd.read_csv("drivers.tsv", sep="\t", index_col="feature-id")
    assert list(frame["rank"]) == [1, 2, 3, 4] and frame["share"].is_monotonic_decreasing
    assert frame["share"].sum() == pytest.approx(1, abs=1e-4)
    assert frame["samples"].to_dict() == {"AAAA": 2, "CCCC": 2, "GGGG": 2, "TTTT": 1}
    assert frame["tree_position"].sort_values().index.tolist() == ["TTTT", "CCCC", "GGGG", "AAAA"]
    assert Path("drivers.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(Path("drivers.json").read_text())
    assert list(found["deletion"]) == ["1", "2"] and found["deletion"]["2"]["samples"] == 1
    assert "leading ASVs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "d.csv"], "found the ending '.csv', expected .tsv"),
        (["-o", "there.tsv"], "--output there.png: the file exists"),
        (["-o", "d.tsv", "--max-samples", "0"], "--max-samples is 0, expected at least 1"),
    ],
)
def test_refused_with_code_2_and_nothing_written(run: Path, folder: Path, options: list[str], message: str, capsys):
    (folder / "there.png").write_text("x")
    before = {path: path.read_text() for path in folder.iterdir()}
    assert main(["explain", "--model", str(run), "--table", "table.tsv", *options]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert {path: path.read_text() for path in folder.iterdir()} == before
