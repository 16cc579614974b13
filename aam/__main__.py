"""The program `aam`: the command line, and what a signal does before and after it."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""As in `aam.stopping`, which is not imported yet when they are needed first."""


def run() -> int:
    """Run the command line; return its exit code."""
    handle(leave)  # during the imports, which take a moment, there is nothing to tidy up
    from aam.cli import main
    from aam.stopping import HANDLERS

    HANDLERS.append(leave)
    code = main()
    handle(signal.SIG_IGN)  # the process is about to end
    return code


def handle(handler: object) -> None:
    """Set the handler of all signals that are not ignored for good, as by `nohup`."""
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN or number == signal.SIGINT:
            signal.signal(number, handler)  # type: ignore[arg-type]


def leave(number: int, frame: FrameType | None) -> None:
    """End the process in one line."""
    os.write(2, f"Error: interrupted by {signal.Signals(number).name}; nothing was written, start again\n".encode())
    os._exit(4)


if __name__ == "__main__":
    sys.exit(run())
