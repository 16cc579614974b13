"""A polite stop: the first SIGINT or SIGTERM ends the run after the current step, a second one at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Protocol


class Stop(Protocol):
    """Whether the run is to end after this step, and the signal that asked for it."""

    @property
    def requested(self) -> bool: ...
    @property
    def name(self) -> str: ...


class StopRequest:
    """Context, for the main thread, in which signals set `requested` instead of killing the process."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.requested, self.name = False, ""

    def __enter__(self) -> StopRequest:
        self._previous = {number: signal.signal(number, self._ask) for number in self.SIGNALS}
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.requested, self.name = True, signal.Signals(number).name
        for each, handler in self._previous.items():
            signal.signal(each, handler)

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


@contextmanager
def errors_first() -> Iterator[None]:
    """Context, for the main thread, in which SIGTERM ends the process, but for one that ends by an error already.

    Where a rank is lost, `torchrun` sends it to the others at once; it must not take from them what they have to say.
    After an error this stays so until the process has ended.
    """

    def end(number: int, frame: FrameType | None) -> None:
        if sys.exception() is None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    previous = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, previous)
