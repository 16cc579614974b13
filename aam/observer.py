"""How workflows report to their caller: messages, warnings, progress, and outputs that failed.

A workflow is given an `Observer` and never prints. The one defined here suits programs and notebooks; the command line
passes `aam.cli.terminal.Terminal`.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from aam.errors import error_text, expected_error
from aam.text import python_words

LOGGER = logging.getLogger("aam")
Progress = Callable[[int, int], None]
"""Called with the work done and the work in all."""


class Sink(Protocol):
    """Receives log values of a training; `share` is the finished part of the run.

    `kind` is "train", "validation", "spike", or "flat" where the held-out loss no longer falls and the run ends early.
    """

    def write(self, kind: str, step: int, values: dict[str, float], share: float) -> None: ...
    def close(self) -> None: ...


def no_progress(done: int, total: int) -> None:
    """A progress callback that does nothing."""


class Observer:
    """Messages go to the logger `aam`, warnings to Python's `warnings`; there is no progress."""

    def say(self, text: str) -> None:
        """Send a message."""
        LOGGER.info(python_words(text))

    def warn(self, text: str) -> None:
        """Warn that a result may be doubtful; Python shows the line that called the package."""
        level, frame = 2, sys._getframe(1)
        while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "aam":
            level, frame = level + 1, frame.f_back
        warnings.warn(python_words(text), stacklevel=level)

    @contextmanager
    def stage(self, text: str) -> Iterator[None]:
        """Name the work of the block, which takes time."""
        LOGGER.info(text)
        yield

    @contextmanager
    def progress(self, label: str) -> Iterator[Progress]:
        """A callback that shows how much of the block's work is done."""
        yield no_progress

    def training_display(self, done: float, part: int = 1, parts: int = 1) -> Sequence[Sink]:
        """Sinks that display the progress of training number `part` (from 1) of `parts` in one run.

        A share `done` of it (0 … 1) was done before if it is resumed.
        """
        return ()

    def failed(self, error: Exception) -> None:
        """Called before the warning that replaces an error."""

    @contextmanager
    def optional(self, what: str, remedy: str = "", reasons: list[str] | None = None) -> Iterator[None]:
        """Make an optional output of a finished run in this block: a picture, a page, an audit, a baseline.

        If it fails, a warning gives its name, the reason and the `remedy`, e.g. the command to make it again. The
        reason is appended to `reasons`, and the run continues, because its checkpoint is already on disk.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - of libraries that draw, anything may come
            known = expected_error(error)
            reason = error_text(error) if known is None else known[0]
            if reasons is not None:
                reasons.append(reason)
            self.failed(error)
            self.warn(f"{what} could not be made ({reason}){remedy and '; '}{remedy}")
