"""One training at a time: torch has one generator of random numbers for all threads of a process."""

from __future__ import annotations

import threading
from contextlib import ContextDecorator
from typing import Self

_LOCK = threading.RLock()


class in_turn(ContextDecorator):  # noqa: N801 - it is used as a decorator
    """Decorator of a function that seeds torch's generator and draws from it for long; a second thread waits.

    Else two trainings in two threads would draw each other's numbers, and neither could be repeated.
    """

    def __enter__(self) -> Self:
        _LOCK.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        _LOCK.release()
