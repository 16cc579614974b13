"""SIGTERM ends a process at once, unless it ends by an error already: that is told first."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

BEGIN = """
import os, signal
from aam.training.world import protect_error_report

with protect_error_report():
    try:
        %s
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        print("went on")
"""


@pytest.mark.parametrize(
    ("body", "code", "told"),
    [
        pytest.param("pass", -signal.SIGTERM, "", marks=pytest.mark.slow),
        ("raise ValueError('why it ends')", 1, "ValueError: why it ends"),
    ],
)
def test_an_error_is_told_before_a_signal_ends_all(body: str, code: int, told: str):
    ended = subprocess.run([sys.executable, "-c", BEGIN % body], capture_output=True, text=True)
    assert (ended.returncode, "went on" in ended.stdout) == (code, bool(told))
    assert told in ended.stderr
