"""Sinks of log values: a JSONL log, TensorBoard, and the terminal."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from aam.atomic import write_text
from aam.errors import CheckpointError
from aam.observer import Sink
from aam.training.step import StepResult

LOG = "log.jsonl"
PLAIN_SECONDS = 15.0
"""Time between progress lines where the output is no terminal, e.g. in a SLURM log."""


class Meter:
    """Means since the last reading, and samples and ASVs per second."""

    def __init__(self) -> None:
        self._results: list[StepResult] = []
        self._since = time.perf_counter()

    def add(self, result: StepResult) -> None:
        self._results.append(result)

    def read(self) -> dict[str, float]:
        """Means of the loss terms and gradient norms, last learning rate, rates per second; starts anew."""
        results, self._results = self._results, []
        seconds, now = time.perf_counter() - self._since, time.perf_counter()
        self._since = now
        if not results:
            return {}
        rows = torch.stack([torch.cat([r.terms.float(), r.grad_norm.float()[None]]) for r in results])
        values = dict(zip((*results[-1].names, "grad_norm"), rows.mean(0).tolist(), strict=True))
        samples, asvs = sum(r.samples for r in results), sum(r.asvs for r in results)
        return values | {
            "learning_rate": results[-1].rate,
            "samples_per_second": samples / seconds,
            "asvs_per_second": asvs / seconds,
        }


@contextmanager
def open_sinks(folder: Path, step: int, display: Sequence[Sink] = ()) -> Iterator[list[Sink]]:
    """Log and TensorBoard of a run in its folder, from `step` on, and the sinks `display` that show it to a user."""
    sinks: list[Sink] = [JsonlSink(folder / LOG, step), TensorBoardSink(folder / "tensorboard", step), *display]
    try:
        yield sinks
    finally:
        for sink in sinks:
            sink.close()


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Read the log of a run, without an incomplete last line; raises CheckpointError for a damaged log."""
    path = folder / LOG
    try:
        return [json.loads(line) for line in complete_lines(path)]
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not readable ({error}); restore it, or the curves cannot be drawn") from error


class JsonlSink:
    """Log with one JSON object per line; a resumed run appends to the same file.

    `step` is the update from which a run resumes: later lines are removed, and an incomplete last line too.
    """

    def __init__(self, path: Path, step: int | None = None):
        if step is not None and path.exists():
            write_text(path, "".join(lines_until(path, step)))
        self._file = path.open("a", encoding="utf-8")

    def write(self, kind: str, step: int, values: dict[str, float], share: float) -> None:
        self._file.write(json.dumps({"kind": kind, "step": step, "time": time.time(), **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def lines_until(path: Path, step: int) -> Iterator[str]:
    """The complete lines of a log, of updates up to `step`."""
    return (line for line in complete_lines(path) if json.loads(line)["step"] <= step)


def complete_lines(path: Path) -> list[str]:
    """The lines of a log without an incomplete last line."""
    return [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("}\n")]


class TensorBoardSink:
    """Curves for `tensorboard --logdir`; `step` as for `JsonlSink`.

    Values are on disk at once. The `SummaryWriter` of torch writes in a thread, up to two minutes late, and reports a
    full disk by a traceback.
    """

    def __init__(self, folder: Path, step: int | None = None):
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns()}.{platform.node()}.{os.getpid()}"
        self._records = RecordWriter((folder / name).open("wb"))
        self._add(file_version="brain.Event:2")
        if step is not None:
            self._add(step=step + 1, session_log=SessionLog(status=SessionLog.START))  # drops what was from there on

    def write(self, kind: str, step: int, values: dict[str, float], share: float) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=f"{kind}/{name}", simple_value=value) for name, value in values.items()]
        self._add(step=step, summary=Summary(value=scalars))

    def _add(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._records.write(Event(wall_time=time.time(), **content).SerializeToString())
        self._records.flush()

    def close(self) -> None:
        self._records.close()


class ConsoleSink:
    """A progress bar on a terminal, a line every few seconds elsewhere.

    This is training number `part` (from 1) of `parts` in one run; bar and remaining time are those of the whole run.
    """

    def __init__(self, part: int = 1, parts: int = 1) -> None:
        self._before, self._parts = part - 1, parts
        self._name = f"fold {part} of {parts}  " if parts > 1 else ""
        self._console = Console(stderr=True)
        self._say = partial(self._console.print, highlight=False, soft_wrap=True)
        self._live = sys.stderr.isatty()
        self._last, self._start = 0.0, time.monotonic()
        if self._live:
            columns: list[Any] = [SpinnerColumn(), BarColumn(), TextColumn("{task.percentage:3.0f} %")]
            columns += [TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn(), TextColumn("{task.description}")]
            self._bar = Progress(*columns, console=self._console)
            self._task = self._bar.add_task("starting", total=1.0)
            self._bar.update(self._task, completed=self._before / parts)
            self._bar.start()

    def write(self, kind: str, step: int, values: dict[str, float], share: float) -> None:
        if kind == "validation" and values:
            self._say(f"{self._name}step {step:>6}  held out: {console_text(values)}")
        elif kind != "train":
            return
        elif self._live:
            text = f"{self._name}step {step}  {console_text(values)}"
            self._bar.update(self._task, completed=(self._before + share) / self._parts, description=text)
        elif time.monotonic() - self._last > PLAIN_SECONDS:
            self._last = time.monotonic()
            left = (self._last - self._start) * self.remaining(share)
            whole = (self._before + share) / self._parts
            self._say(f"{self._name}step {step:>6}  {whole:4.0%}  ETA {left:5.0f} s  {console_text(values)}")

    def remaining(self, share: float) -> float:
        """Remaining work of all parts divided by the finished work of this part, of which `share` is done."""
        return (self._parts - self._before) / share - 1 if share > 0 else float("nan")

    def close(self) -> None:
        if self._live:
            self._bar.stop()


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
"""Values shown on the terminal; all of them are in the log."""


def console_text(values: dict[str, float]) -> str:
    """The values for the terminal, in one line."""
    return "  ".join(text.format(values[name]) for name, text in CONSOLE_VALUES.items() if name in values)
