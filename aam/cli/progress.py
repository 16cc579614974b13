"""What a waiting user sees."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

STEPS = 1000
"""Parts of a progress bar."""


@contextmanager
def status(text: str) -> Iterator[None]:
    """A spinner on a terminal, one line elsewhere, while something takes time."""
    if not sys.stderr.isatty():
        print(f"{text} …", file=sys.stderr, flush=True)
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


@contextmanager
def bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, moved by calls with (work done, work in all)."""
    with click.progressbar(length=STEPS, label=label, file=sys.stderr) as moving:

        def progress(done: int, total: int) -> None:
            moving.update(STEPS * done // max(total, 1) - moving.pos)

        yield progress
