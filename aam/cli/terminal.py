"""Messages and progress of the command line, on stderr; only results go to stdout."""

from __future__ import annotations

import math
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from aam.observer import Observer, Progress, Sink
from aam.stopping import end_if_asked
from aam.text import counted

if TYPE_CHECKING:
    from rich import progress as rich_progress

PLAIN_SECONDS = 15.0
"""Time between lines of progress where stderr is no terminal, e.g. in a SLURM log."""
SHORTEST_BAR, LONGEST_BAR, BESIDE_BAR = 8, 40, 70
"""Columns of a bar, and those that percentage, times and some text take beside it."""
CONSOLE_VALUES = {
    "loss": "loss {:.4f}",
    "nucleotide": "nucleotide {:.3f}",
    "unifrac": "unifrac {:.4f}",
    "euclidean": "euclidean {:.4f}",
    "unifrac_r2": "UniFrac R2 {:.3f}",
    "nucleotide_accuracy": "nucleotide accuracy {:.3f}",
    "mae": "MAE {:.3f}",
    "r2": "R2 {:.3f}",
    "balanced_accuracy": "balanced accuracy {:.3f}",
    "samples_per_second": "{:.1f} samples/s",
    "asvs_per_second": "{:.0f} ASVs/s",
}
"""Readings of a training that are shown; all of them are in the log."""


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
        end_if_asked()
        if not sys.stderr.isatty():
            print(f"{text} …", file=sys.stderr, flush=True)
            yield
            return
        from rich.console import Console

        with Console(stderr=True).status(text):
            yield

    @contextmanager
    def progress(self, label: str) -> Iterator[Progress]:
        end_if_asked()
        display = ProgressDisplay(0.0)
        display.show(0.0, label)
        try:
            yield lambda done, total: display.show(done / max(total, 1), label)
        finally:
            display.close()

    def training_display(self, done: float, part: int = 1, parts: int = 1) -> Sequence[Sink]:
        return [TrainingDisplay(done, part, parts)]


class ProgressDisplay:
    """The share of some work that is done: a bar on a terminal, a line every `PLAIN_SECONDS` elsewhere.

    `done` is the share at the start of this process, as of a run that is resumed: the time left is estimated from the
    pace since then.
    """

    def __init__(self, done: float):
        self._first, self._start, self._last = done, time.monotonic(), -math.inf
        self._bar = progress_bar() if sys.stderr.isatty() else None
        if self._bar is not None:
            self._task = self._bar.add_task("starting", total=1.0, left="")
            self._bar.update(self._task, completed=done)
            self._bar.start()

    def seconds_left(self, done: float, elapsed: float) -> float:
        """Estimated seconds until the end, `elapsed` after the start; NaN before any progress."""
        return elapsed * (1 - done) / (done - self._first) if done > self._first else math.nan

    def show(self, done: float, text: str, step: str = "") -> None:
        """Show the share that is done, the time left and a text, of which a narrow terminal cuts the end."""
        now = time.monotonic()
        left = self.seconds_left(done, now - self._start)
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=f"{step}{text}", left=clock(left))
        elif now - self._last > PLAIN_SECONDS:
            first, self._last = self._last == -math.inf, now
            if first and done == self._first:
                self.line(f"{step}{text} …")
            else:
                self.line(f"{step}{done:5.0%}  ETA {clock(left)}  {text}")

    def line(self, text: str) -> None:
        """Write a line that stays, above the bar where there is one."""
        if self._bar is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self._bar.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.stop()


def progress_bar() -> rich_progress.Progress:
    """A bar whose percentage, time so far and time left stand whole from 60 columns up; the text takes what remains."""
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar
    from rich.table import Column

    console = Console(stderr=True)
    width = max(SHORTEST_BAR, min(LONGEST_BAR, console.width - BESIDE_BAR))
    text = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    return Bar(
        SpinnerColumn(),
        BarColumn(bar_width=width),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("ETA {task.fields[left]:>7}"),
        TextColumn("{task.description}", markup=False, table_column=text),
        console=console,
        expand=True,
    )


def clock(seconds: float) -> str:
    """A time as h:mm:ss; dashes where it is not known."""
    if math.isnan(seconds):
        return "-:--:--"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


class TrainingDisplay:
    """Shows the readings of a training, number `part` (from 1) of `parts` that make one run; the bar is that of all."""

    def __init__(self, done: float, part: int = 1, parts: int = 1):
        self._before, self._parts = part - 1, parts
        self._name = f"fold {part} of {parts}  " if parts > 1 else ""
        self._display = ProgressDisplay(self._share_of_all(done))

    def _share_of_all(self, share: float) -> float:
        return (self._before + share) / self._parts

    def write(self, kind: str, step: int, values: dict[str, float], share: float) -> None:
        """Take a reading; see `aam.observer.Sink`."""
        name = f"{self._name}step {step:>6}  "
        if kind == "validation" and values:
            self._display.line(f"{name}held out: {console_text(values)}")
        elif kind == "flat":
            what = f"held-out loss flat for {counted(int(values['evaluations']), 'evaluations')}"
            self._display.line(
                f"{name}{what}: ends early, at step {values['ends']:.0f}, as the learning rate falls to 0"
            )
        elif kind == "train":
            self._display.show(self._share_of_all(share), console_text(values), name)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._display.close()


def console_text(values: dict[str, float]) -> str:
    """Those of the values that are shown, in the order of `CONSOLE_VALUES`."""
    return "  ".join(text.format(values[name]) for name, text in CONSOLE_VALUES.items() if name in values)


TERMINAL = Terminal()
