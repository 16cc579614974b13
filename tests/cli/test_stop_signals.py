"""Signals to the process group of a command: exit code 4 in one line, in time, and `--resume` goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from processes import wait_for

from aam import cli

SMALL = [
    "--example", "--preset", "tiny", "--max-bp", "20", "--token-limit", "8", "--batch-size", "8", "--device", "cpu",
    "--num-workers", "2",
]  # fmt: skip
TARGET = ["--target", "age_months", "--branches", "16", "--folds", "2", "--draws", "1"]
ENDLESS, SHORT = ["--max-steps", "1000000", "--no-preflight"], ["--max-steps", "2", "--no-preflight"]
NAMES = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"]
STATES: dict[str, tuple[list[str], str]] = {
    "start": (ENDLESS, ""),
    "reading": (ENDLESS, "reading the data"),
    "preflight": (ENDLESS[:2], "preflight"),
    "first step": (ENDLESS, "manifest.json"),
    "step": (ENDLESS, "step "),
    "accumulation": ([*ENDLESS, "--accumulate", "50"], "step "),
    "evaluation": ([*ENDLESS, "--eval-every", "1"], "last"),
    "scoring": (SHORT, "scoring held-out"),
    "baselines": (SHORT, "scoring baselines"),
    "report": (SHORT, "drawing"),
}
"""Options of a run, and the line on stderr or the file in its folder that shows that it is in a state."""
UNBEGUN = ("start", "reading", "preflight")
Ended = tuple[int, float, str]


def stopped(command: Sequence[str], folder: Path, sign: str, name: str, times: int = 1) -> Ended:
    """Start a command, wait for a sign, send signals to its group; exit code, seconds, and stderr."""
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    errors = folder.with_suffix(".err")
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "aam", *command, "--output-dir", str(folder)],
            env=environment, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True,
        )  # fmt: skip
    try:
        time.sleep(0.3)  # Python itself has to start: before that, a signal is its own
        wait_for(lambda: sign in errors.read_text() or (folder / (sign or ".")).exists() or not sign, process)
        begun = time.monotonic()
        for _ in range(times):
            os.killpg(process.pid, getattr(signal, name))
            time.sleep(0.3)
        code = process.wait(60)
        return code, time.monotonic() - begun, errors.read_text()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def assert_ended(ended: Ended, name: str) -> str:
    """The last line of a command that was ended by a signal."""
    code, seconds, told = ended
    assert (code, seconds < 30, "Traceback" in told) == (4, True, False), told
    last = told.splitlines()[-1]
    assert last.startswith(f"Error: interrupted by {name}")
    return last


@pytest.mark.parametrize(
    ("name", "times"),
    [("SIGTERM", 1), *(pytest.param(*one, marks=pytest.mark.slow) for one in [("SIGINT", 2), ("SIGUSR1", 1)])],
)
def test_a_run_that_trains_saves_and_goes_on(name: str, times: int, tmp_path: Path):
    folder = tmp_path / "run"
    last = assert_ended(stopped(["pretrain", *SMALL, *ENDLESS], folder, "step ", name, times), name)
    assert "go on with --resume" in last and (folder / "last").is_dir()
    done = int(last.split("after step ")[1].split(";")[0])
    again = ["pretrain", "--resume", "--output-dir", str(folder), "--max-steps", str(done + 1), "--num-workers", "0"]
    assert cli.main(again) == 0


@pytest.mark.parametrize("after", [0.3, 1.5])
def test_a_signal_while_it_starts_is_one_line(after: float, tmp_path: Path):
    folder = tmp_path / "run"
    time.sleep(after - 0.3)
    code, _, told = stopped(["pretrain", *SMALL, *ENDLESS], folder, "", "SIGINT")
    lines = [line for line in told.splitlines() if line.strip() and not line.startswith("starting")]
    assert code == 4 and "start again" in told and len(lines) == 1


@pytest.mark.slow
@pytest.mark.parametrize("state", list(STATES))
@pytest.mark.parametrize("name", NAMES)
def test_any_signal_in_any_state(name: str, state: str, tmp_path: Path):
    options, sign = STATES[state]
    folder = tmp_path / "run"
    last = assert_ended(stopped(["pretrain", *SMALL, *options], folder, sign, name), name)
    if state in UNBEGUN:
        assert last.endswith("start again") and not (folder / "manifest.json").exists()
        return
    assert "go on with --resume" in last
    step = int(last.split("after step ")[1].split(";")[0]) if "after step" in last else 1
    assert cli.main(["pretrain", "--resume", "--output-dir", str(folder), "--max-steps", str(step + 1)]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("sign", ["step ", "fold-2/last", "predicting", "scoring"])
def test_a_cross_validation_between_and_in_its_folds(sign: str, tmp_path: Path):
    folder = tmp_path / "run"
    steps = ["--max-steps", "200", "--no-preflight", "--eval-every", "20"]
    last = assert_ended(stopped(["train", *SMALL, *TARGET, *steps], folder, sign, "SIGTERM"), "SIGTERM")
    assert "go on with --resume" in last
    assert cli.main(["train", "--resume", "--output-dir", str(folder)]) == 0


@pytest.mark.slow
def test_nohup_goes_on(tmp_path: Path):
    folder = tmp_path / "run"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as a child of nohup finds it
    try:
        code, _, told = stopped(["pretrain", *SMALL, *SHORT], folder, "step ", "SIGHUP")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert code == 0 and "interrupted" not in told
