"""What a workflow tells its caller while it works: messages, warnings, progress, and outputs that could not be made.

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

LOGGER = logging.getLogger("aam")
Progress = Callable[[int, int], None]
"""Called with the work done and the work in all."""


class Sink(Protocol):
    """Takes readings of a training: `kind` is "train" or "validation", `share` the part of the run that is done."""

    def write(self, kind: str, step: int, values: dict[str, float], share: float) -> None: ...
    def close(self) -> None: ...


def no_progress(done: int, total: int) -> None:
    """A progress callback that does nothing."""


class Observer:
    """Messages go to the logger `aam`, warnings to Python's `warnings`; there is no progress."""

    def say(self, text: str) -> None:
        """Tell something worth knowing."""
        LOGGER.info(text)

    def warn(self, text: str) -> None:
        """Tell a reason to doubt a result; Python shows the line of the caller of the package."""
        level, frame = 2, sys._getframe(1)
        while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] == "aam":
            level, frame = level + 1, frame.f_back
        warnings.warn(text, stacklevel=level)

    @contextmanager
    def stage(self, text: str) -> Iterator[None]:
        """Name what the block does, which takes time."""
        LOGGER.info(text)
        yield

    @contextmanager
    def progress(self, label: str) -> Iterator[Progress]:
        """A callback that shows how much of the block's work is done."""
        yield no_progress

    def training_display(self, done: float, part: int = 1, parts: int = 1) -> Sequence[Sink]:
        """Sinks that show a training while it goes on, number `part` (from 1) of `parts` that make one run.

        A share `done` of it (0 … 1) was done before, where it is resumed.
        """
        return ()

    def failed(self, error: Exception) -> None:
        """An error was turned into a warning; called before it."""

    @contextmanager
    def optional(self, what: str, remedy: str = "", reasons: list[str] | None = None) -> Iterator[None]:
        """Make an output in this block that a finished run can do without: a picture, a page, an audit, a baseline.

        Where it fails, a warning names it, the reason and the `remedy`, such as the command that makes it again; the
        reason is appended to `reasons`, and work goes on: what was learned is on the disk already.
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
