"""Other processes: waiting for what they do, and copies of this one."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from typing import Any, Protocol


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


class Copy:
    """A copy of this process that does some work, which may return an exit code; an error is 1.

    A copy of a process with threads of its own may hang, so torch is to have computed on one thread alone.
    """

    def __init__(self, work: Callable[[], Any]):
        self.returncode: int | None = None
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*multi-threaded, use of fork")
            self.pid = os.fork()
        if self.pid:
            return
        code = 1
        try:
            code = int(work() or 0)
        except BaseException:  # noqa: BLE001 - a copy must never go on as the original
            traceback.print_exc(file=sys.stderr)
        finally:
            sys.stderr.flush()
            os._exit(code)

    def poll(self, options: int = os.WNOHANG) -> int | None:
        """Exit code, negative for the signal that killed it; None while it works."""
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, options)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def kill(self) -> None:
        """Kill it, if it is still there, and wait for its end."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.poll(0)


def in_process(work: Callable[[], Any]) -> int | None:
    """Exit code of a copy of this process that does the work."""
    return Copy(work).poll(0)
