"""Work on several cores by threads: for libraries that compute outside of Python's lock, as HMMER and xz do."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

InT = TypeVar("InT")
OutT = TypeVar("OutT")
AHEAD = 2
"""Items per thread that wait in memory."""


def map_in_threads(function: Callable[[InT], OutT], items: Iterable[InT], threads: int) -> Iterator[OutT]:
    """The results of a function for each item, in order; few items are taken ahead.

    After an error or an interruption the items that are being worked on end first; the others are not begun.
    """
    waiting: deque[Future[OutT]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= AHEAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def usable_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1
