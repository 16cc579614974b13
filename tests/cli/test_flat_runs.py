"""A pretraining that ends early says so where it happens, at its end, and in the files of the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from generated_samples import community, write_files

from aam import cli

SIZE = ["--preset", "tiny", "--branches", "16", "--patch", "25", "--batch-size", "4", "--device", "cpu"]
WHY = "held-out loss flat for 2 evaluations"


def test_a_run_that_ended_early_says_so_and_can_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """At this learning rate nothing is learned: flat at steps 2 and 3, and a fifth of 3 steps, rounded up, follows."""
    write_files(community(samples=12, asvs=30, richness=8), tmp_path)
    run = tmp_path / "run"
    length = ["--max-steps", "9", "--eval-every", "1", "--patience", "2", "--lr", "1e-7"]
    data = ["--table", str(tmp_path / "table.tsv"), "--tree", str(tmp_path / "tree.nwk"), "--no-preflight", *SIZE]
    assert cli.main(["pretrain", *data, *length, "--output-dir", str(run)]) == 0
    said, ended = capsys.readouterr(), f"ended early, at step 4: {WHY}; --resume --patience 0 trains on\n"
    assert f"step      3  {WHY}: ends early, at step 4, as the learning rate falls to 0\n" in said.err
    assert ended in said.err and ended in said.out and ended in (run / "summary.txt").read_text()
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["steps"] == 4 and metrics["early_end"] == f"ended early, at step 4: {WHY}"
    assert cli.main(["pretrain", "--output-dir", str(run), "--resume", "--patience", "0"]) == 0
    said = capsys.readouterr()
    assert "ended early" not in said.err + said.out
    assert json.loads((run / "metrics.json").read_text())["steps"] == 9
