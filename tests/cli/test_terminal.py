"""What a waiting user sees: percentages and times whole from 60 columns up, the time left from the first reading."""

from __future__ import annotations

import math
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path

import pytest

from aam.cli import terminal
from aam.cli.terminal import ProgressDisplay, TrainingDisplay, clock, console_text

TRAINING = """
import time
from aam.cli.terminal import TrainingDisplay
display = TrainingDisplay(0.5)
values = {"loss": 0.5, "nucleotide": 0.25, "unifrac": 0.125, "samples_per_second": 10.0, "asvs_per_second": 1000.0}
for share in (0.5, 0.6, 0.7):
    time.sleep(0.3)
    display.write("train", round(1000 * share), values, share)
display.write("validation", 700, {"loss": 0.5, "unifrac_r2": 0.9}, 0.7)
time.sleep(0.3)
display.close()
"""


def shown(code: str, columns: int) -> str:
    """What a program writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    done = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env=environment | {"TERM": "xterm"})
    os.close(theirs)
    text = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        text += piece
    os.close(ours)
    assert done.wait() == 0
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.decode())


@pytest.mark.parametrize("columns", [60, 80, 100, 160])
def test_bar_percentage_and_times_are_whole_at_every_width(columns: int) -> None:
    lines = [line for line in re.split(r"[\r\n]+", shown(TRAINING, columns)) if "ETA" in line]
    last = lines[-1]
    assert len(last.rstrip()) <= columns
    assert re.search(r" ━{4,}[╸╺━ ]* +70 % 0:00:0\d ETA 0:00:0\d step +700", last), last
    assert ("1000 ASVs/s" in last) == (columns == 160)
    assert columns < 80 or "loss 0.5000" in last


def test_readings_of_held_out_samples_stay_above_the_bar() -> None:
    assert "step    700  held out: loss 0.5000  UniFrac R2 0.900" in shown(TRAINING, 100)


def test_summaries_show_what_they_know() -> None:
    assert console_text({"loss": 0.5, "unifrac_r2": 0.91234, "unknown": 3.0}) == "loss 0.5000  UniFrac R2 0.912"


def test_the_time_left_follows_the_pace_since_this_start() -> None:
    """Resumed at 0.5, after 10 s at 0.6: the other 0.4 take 40 s. From the start: 0.25 in 10 s, 0.75 in 30 s."""
    assert ProgressDisplay(0.5).seconds_left(0.6, 10.0) == pytest.approx(40.0)
    assert ProgressDisplay(0.0).seconds_left(0.25, 10.0) == pytest.approx(30.0)
    assert math.isnan(ProgressDisplay(0.5).seconds_left(0.5, 10.0))


def test_times_are_hours_minutes_seconds() -> None:
    assert [clock(seconds) for seconds in (0.4, 61, 3599.6, 36_000, math.nan)] == [
        "0:00:00", "0:01:01", "1:00:00", "10:00:00", "-:--:--",
    ]  # fmt: skip


def test_lines_name_the_fold_and_what_is_left_of_all(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the second of three folds after 8 s: a half of a fold took 8 s, so one and a half take 24 s."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    sink = TrainingDisplay(0.0, 2, 3)
    sink.write("validation", 10, {"loss": 0.5}, 0.5)
    now[0] += 8
    sink.write("train", 11, {"loss": 0.25}, 0.5)
    now[0] += terminal.PLAIN_SECONDS / 2
    sink.write("train", 12, {"loss": 0.25}, 0.5)  # too soon
    sink.close()
    first, second = capsys.readouterr().err.splitlines()
    assert first == "fold 2 of 3  step     10  held out: loss 0.5000"
    assert second == "fold 2 of 3  step     11    50%  ETA 0:00:24  loss 0.2500"


def test_work_without_a_terminal_is_named_once_then_every_quarter_of_a_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with terminal.TERMINAL.progress("samples") as progress:
        for done in range(1, 5):
            now[0] += 10.0
            progress(done, 4)
    assert capsys.readouterr().err.splitlines() == [
        "samples …",
        "  50%  ETA 0:00:20  samples",
        " 100%  ETA 0:00:00  samples",
    ]


def test_a_spinner_names_work_that_takes_time(tmp_path: Path) -> None:
    code = "import time\nfrom aam.cli.terminal import TERMINAL\nwith TERMINAL.stage('drawing'): time.sleep(0.5)"
    assert "drawing" in shown(code, 80)
