"""Waiting for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol


class Started(Protocol):
    """A process that was started."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None: ...


def wait_for(condition: Callable[[], object], process: Started, seconds: float = 300.0) -> None:
    """Wait until something holds; fails where the process ends before, or it takes longer than so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"it ended with {process.returncode} before it came that far"
        assert time.monotonic() < deadline, f"it did not come that far within {seconds:g} s"
        time.sleep(0.02)
