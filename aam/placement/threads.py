"""Work on several cores by threads: for libraries that compute outside of Python's lock, as HMMER and xz do."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

InT = TypeVar("InT")
OutT = TypeVar("OutT")
AHEAD = 2
"""Items per thread that wait in memory."""


@contextmanager
def map_in_threads(function: Callable[[InT], OutT], items: Iterable[InT], threads: int) -> Iterator[Iterator[OutT]]:
    """The results of a function for each item, in order, inside the block; few items are taken ahead.

    After an error or an interruption the items that are being worked on end first; the others are not begun.
    """
    pool = ThreadPoolExecutor(threads)
    try:
        yield _in_order(pool, function, items, AHEAD * threads)
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: ThreadPoolExecutor, function: Callable[[InT], OutT], items: Iterable[InT], most: int
) -> Iterator[OutT]:
    waiting: deque[Future[OutT]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= most:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def usable_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1
