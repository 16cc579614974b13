"""A terminal, a pipe or a disk that no longer takes what is printed: the work goes on to its normal end."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, sys
import click
from aam.cli import run
from aam.cli.options import OUTPUT
from aam.cli.terminal import TERMINAL

@click.command()
def command() -> int:
    TERMINAL.say("begun")
    with TERMINAL.stage("working"), TERMINAL.progress("steps") as progress:
        for step in range(4):
            progress(step, 3)
            os.write(sys.stderr.fileno(), b"a library prints\\n") if "raw" in sys.argv else None
    TERMINAL.warn("a doubt")
    click.echo("the result: größe")
    print("printed: größe")
    with open(os.environ["MARK"], "x") as file:
        file.write(str(file.fileno()))
    return 0

sys.exit(run(command, []))
"""


def finish(tmp_path, shell: str, **environment: str) -> tuple[int, str]:
    """Exit code of the program in a line of shell, in which it is `$RUN`, and what the line prints."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    names = os.environ | {"MARK": str(tmp_path / "mark"), "RUN": f"{sys.executable} {program}"} | environment
    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell], env=names, capture_output=True, check=False)
    assert (tmp_path / "mark").exists(), done  # it came to its end
    return done.returncode, (done.stdout + done.stderr).decode()


@pytest.mark.parametrize(
    "shell",
    [
        "$RUN 2>&-",
        "$RUN 1>&-",
        "$RUN >&- 2>&- <&-",
        "$RUN 2>/dev/full",
        "$RUN raw 2>&- >/dev/null",
        "{ $RUN; echo code $? >&3; } 3>&2 2>&1 | head -n 1; exit 0",
        "{ $RUN; echo code $? >&3; } 3>&2 2>&1 | true; exit 0",
    ],
)
def test_a_stream_that_goes_away_costs_only_what_it_would_have_shown(tmp_path, shell: str) -> None:
    code, printed = finish(tmp_path, shell)
    assert code == 0
    assert "code" not in shell or "code 0" in printed
    assert "Traceback" not in printed and "Exception" not in printed and "Error" not in printed


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path) -> None:
    """Else what a library prints to stderr is written into the results."""
    finish(tmp_path, "$RUN raw >&- 2>&- <&-")
    assert int((tmp_path / "mark").read_text()) > 2


def test_a_result_that_nobody_can_read_again_is_an_error(tmp_path) -> None:
    """On a full disk, where the result went to stdout and nowhere else."""
    code, printed = finish(tmp_path, "$RUN > /dev/full")
    assert code == 1
    assert printed.splitlines()[-1] == (
        "Error: what was to be printed is lost: No space left on device: standard output"
    )


@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_letters_that_a_terminal_cannot_show_are_escaped(tmp_path, locale: str) -> None:
    code, printed = finish(tmp_path, "$RUN", LC_ALL=locale, PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert code == 0 and r"printed: gr\xf6\xdfe" in printed
