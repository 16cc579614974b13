"""Signals to the process group of a command: exit code 4 in one line, in time, and `--resume` goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from processes import Copy, Started, wait_for

from aam import cli
from aam.__main__ import run
from aam.gene import layout

SMALL = [
    "--example", "--preset", "tiny", "--max-bp", "20", "--token-limit", "8", "--batch-size", "8", "--device", "cpu",
    "--num-workers", "2",
]  # fmt: skip
TARGET = ["--target", "age_months", "--branches", "16", "--folds", "2", "--draws", "1"]
ADAPT = [*SMALL[:1], *SMALL[5:], *TARGET[:2], *TARGET[4:], "--no-preflight", "--adapt-steps", "100000"]
ENDLESS, SHORT = ["--max-steps", "1000000", "--no-preflight"], ["--max-steps", "2", "--no-preflight"]
NAMES = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"]
STATES: dict[str, tuple[list[str], str]] = {
    "start": (ENDLESS, ""),
    "reading": (ENDLESS, "reading the data"),
    "preflight": (ENDLESS[:2], "preflight"),
    "first batch": (ENDLESS, "manifest.json"),
    "step": (ENDLESS, "step "),
    "accumulation": ([*ENDLESS, "--accumulate", "50"], "step "),
    "evaluation": ([*ENDLESS, "--eval-every", "1"], "last"),
    "save": ([*ENDLESS, "--eval-every", "1"], "last.partial"),
    "scoring": (SHORT, "scoring held-out"),
    "baselines": (SHORT, "scoring baselines"),
    "report": (SHORT, "drawing"),
}
"""Options of a run, and the line on stderr or the file in its folder that shows that it is in a state."""
UNBEGUN = ("start", "reading", "preflight")
SIGNALS = [(name, state) for state in STATES for name in NAMES] + [("SIGUSR2", "step")]
Ended = tuple[int, float, str]


def started(command: Sequence[str], errors: Path) -> subprocess.Popen:
    """The command, as a user starts it."""
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    with errors.open("w") as stderr:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "aam", *command],
            env=environment, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True,
        )  # fmt: skip


def copied(command: Sequence[str], errors: Path) -> Copy:
    """The same in a copy of this process, which has imported everything, but read nothing."""

    def work() -> int:
        os.setsid()
        for number, path in ((1, os.devnull), (2, str(errors))):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", 1, encoding="utf-8") for number in (1, 2))
        warnings.resetwarnings()
        warnings.simplefilter("ignore")
        sys.argv = ["aam", *command]
        torch.set_num_threads(1)
        layout._look_at.cache_clear()  # or it reads the example in no time
        return run()

    errors.write_text("")
    return Copy(work)


def is_there(group: int) -> bool:
    """Whether a process of this group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def stopped(process: Started, folder: Path, sign: str, name: str, times: int = 1) -> Ended:
    """Wait for a sign, send signals to the group that a process leads; exit code, seconds, and stderr."""
    errors = folder.with_suffix(".err")
    try:
        time.sleep(0.3)  # Python itself has to start: before that, a signal is its own
        wait_for(lambda: sign in errors.read_text() or (folder / (sign or ".")).exists() or not sign, process)
        begun = time.monotonic()
        for _ in range(times):
            os.killpg(process.pid, getattr(signal, name))
            time.sleep(0.3)
        while (code := process.poll()) is None and time.monotonic() < begun + 60:
            time.sleep(0.02)
        seconds = time.monotonic() - begun
        while is_there(process.pid) and time.monotonic() < begun + 60:  # its workers
            time.sleep(0.02)
        assert code is not None and not is_there(process.pid)
        return code, seconds, errors.read_text()
    finally:
        if is_there(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
            process.poll()


def assert_ended(ended: Ended, name: str) -> str:
    """The last line of a command that was ended by a signal."""
    code, seconds, told = ended
    assert (code, seconds < 30, "Traceback" in told) == (4, True, False), told
    last = told.splitlines()[-1]
    assert last.startswith(f"Error: interrupted by {name}")
    return last


def assert_goes_on(command: str, folder: Path, said: str, sign: str, *more: str) -> None:
    """The resumed run goes on after the step that it was `said` to have done, and comes to a sign or its end."""
    errors = folder.with_suffix(".again")
    process = copied([command, "--resume", "--output-dir", str(folder), *more], errors)
    try:
        wait_for(lambda: (sign and sign in errors.read_text()) or process.poll() == 0, process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.kill()
    if "after step" in said:  # else it was ended before its first
        assert f"goes on after step {said.split('after step ')[1].split(';')[0]} " in errors.read_text()


@pytest.mark.parametrize(
    ("name", "times"),
    [("SIGTERM", 1), *(pytest.param(*one, marks=pytest.mark.slow) for one in [("SIGINT", 2), ("SIGUSR1", 1)])],
)
def test_a_run_that_trains_saves_and_goes_on(name: str, times: int, tmp_path: Path):
    folder = tmp_path / "run"
    process = started(["pretrain", *SMALL, *ENDLESS, "--output-dir", str(folder)], tmp_path / "run.err")
    last = assert_ended(stopped(process, folder, "step ", name, times), name)
    assert "go on with --resume" in last and (folder / "last").is_dir()
    done = int(last.split("after step ")[1].split(";")[0])
    again = ["pretrain", "--resume", "--output-dir", str(folder), "--max-steps", str(done + 1), "--num-workers", "0"]
    assert cli.main(again) == 0


@pytest.mark.parametrize("after", [0.3, 1.5])
def test_a_signal_while_it_starts_is_one_line(after: float, tmp_path: Path):
    folder = tmp_path / "run"
    process = started(["pretrain", *SMALL, *ENDLESS, "--output-dir", str(folder)], tmp_path / "run.err")
    time.sleep(after - 0.3)
    code, _, told = stopped(process, folder, "", "SIGINT")
    lines = [line for line in told.splitlines() if line.strip() and not line.startswith("starting")]
    assert code == 4 and "start again" in told and len(lines) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("name", "state"), SIGNALS)
def test_any_signal_in_any_state(name: str, state: str, tmp_path: Path):
    options, sign = STATES[state]
    folder = tmp_path / "run"
    process = copied(["pretrain", *SMALL, *options, "--output-dir", str(folder)], tmp_path / "run.err")
    last = assert_ended(stopped(process, folder, sign, name), name)
    if state in UNBEGUN:
        assert last.endswith("start again") and not (folder / "manifest.json").exists()
        return
    assert "go on with --resume" in last
    step = int(last.split("after step ")[1].split(";")[0]) if "after step" in last else 1
    more = ["--max-steps", str(step + 1)]
    assert_goes_on("pretrain", folder, last, "" if options == SHORT else "scoring held-out", *more)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_any_signal_in_an_adaptation(pretrained: Path, name: str, tmp_path: Path):
    folder = tmp_path / "run"
    command = ["train", *ADAPT, "--pretrained", str(pretrained), "--output-dir", str(folder)]
    last = assert_ended(stopped(copied(command, tmp_path / "run.err"), folder, "step ", name), name)
    assert "go on with --resume" in last and (folder / "fold-1" / "adapted" / "last").is_dir()
    assert_goes_on("train", folder, last, "step ")


@pytest.mark.slow
@pytest.mark.parametrize("sign", ["step ", "fold-2/last", "predicting", "scoring"])
def test_a_cross_validation_between_and_in_its_folds(sign: str, tmp_path: Path):
    folder = tmp_path / "run"
    steps = ["--max-steps", "40", "--no-preflight", "--eval-every", "20"]
    command = ["train", *SMALL, *TARGET, *steps, "--output-dir", str(folder)]
    last = assert_ended(stopped(copied(command, tmp_path / "run.err"), folder, sign, "SIGTERM"), "SIGTERM")
    assert "go on with --resume" in last
    assert_goes_on("train", folder, last, "")


@pytest.mark.slow
def test_nohup_goes_on(tmp_path: Path):
    folder = tmp_path / "run"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as a child of nohup finds it
    try:
        process = started(["pretrain", *SMALL, *SHORT, "--output-dir", str(folder)], tmp_path / "run.err")
    finally:
        signal.signal(signal.SIGHUP, before)
    code, _, told = stopped(process, folder, "step ", "SIGHUP")
    assert code == 0 and "interrupted" not in told
