"""What a waiting user sees: everything but results goes to stderr."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import click

from aam.observer import Observer, Progress, Sink

STEPS = 1000
"""Parts of a progress bar."""


class Terminal(Observer):
    """Messages and warnings are lines on stderr; work that takes time has a spinner or a bar."""

    def say(self, text: str) -> None:
        click.echo(text, err=True)

    def warn(self, text: str) -> None:
        with suppress(OSError, ValueError):  # of a stderr that is gone
            click.echo(f"Warning: {text}", err=True)

    def failed(self, error: Exception) -> None:
        context = click.get_current_context(silent=True)
        root = None if context is None else context.find_root()
        with suppress(OSError, ValueError):
            # With verbose=True the context may be that of a click program that uses this package.
            if root is not None and root.info_name == "aam" and root.obj["debug"]:
                traceback.print_exception(error)

    @contextmanager
    def stage(self, text: str) -> Iterator[None]:
        """A spinner on a terminal, one line elsewhere."""
        if not sys.stderr.isatty():
            print(f"{text} …", file=sys.stderr, flush=True)
            yield
            return
        from rich.console import Console

        with Console(stderr=True).status(text):
            yield

    @contextmanager
    def progress(self, label: str) -> Iterator[Progress]:
        with click.progressbar(length=STEPS, label=label, file=sys.stderr) as moving:

            def progress(done: int, total: int) -> None:
                moving.update(STEPS * done // max(total, 1) - moving.pos)

            yield progress

    def training_display(self, part: int = 1, parts: int = 1) -> Sequence[Sink]:
        from aam.training.sinks import ConsoleSink

        return [ConsoleSink(part, parts)]


TERMINAL = Terminal()
status, bar, optional_output = TERMINAL.stage, TERMINAL.progress, TERMINAL.optional
