"""A cross-validation that was killed in the middle of a fold goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from processes import wait_for

from aam import cli

ASKED = [
    "train", "--example", "--target", "age_months", "--preset", "tiny", "--branches", "16", "--patch", "25",
    "--folds", "3", "--max-steps", "12", "--eval-every", "4", "--draws", "1", "--token-limit", "8", "--device", "cpu",
]  # fmt: skip


def killed_in(folder: Path, fold: str) -> None:
    """Start the run in a process of its own and kill it as soon as this fold has a checkpoint."""
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-m", "aam", *ASKED, "--output-dir", str(folder)],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for((folder / fold / "last").exists, process)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def steps_done(folder: Path) -> int:
    return json.loads((folder / "last" / "state.json").read_text())["train"]["step"]


@pytest.mark.slow
def test_killed_in_the_second_fold_of_three_it_ends_as_the_one_that_was_not(tmp_path: Path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert cli.main([*ASKED, "--output-dir", str(whole)]) == 0
    killed_in(broken, "fold-2")
    assert steps_done(broken / "fold-1") == 12 and steps_done(broken / "fold-2") < 12
    assert not (broken / "fold-3").exists() and not (broken / "metrics.json").exists()
    with (broken / "fold-2" / "log.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')  # a line that was being written
    assert cli.main(["train", "--resume", "--output-dir", str(broken)]) == 0
    tables = [pd.read_csv(run / "predictions.tsv", sep="\t") for run in (whole, broken)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    figures = [json.loads((run / "metrics.json").read_text()) for run in (whole, broken)]
    for found in figures:
        found.pop("seconds")
    assert figures[0] == figures[1] and figures[0]["steps"] == 36
    logs = [(run / "fold-2" / "log.jsonl").read_text().splitlines() for run in (whole, broken)]
    scores = [
        {line["step"]: line["loss"] for line in map(json.loads, log) if line["kind"] == "validation"} for log in logs
    ]
    assert scores[0] == scores[1] and len(scores[0]) == 3
    assert (broken / "report.html").is_file()
