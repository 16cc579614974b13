"""Sinks of log values: a JSONL log and TensorBoard."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from aam.atomic import name_file, write_text
from aam.errors import CheckpointError
from aam.models.devices import lasted
from aam.observer import Sink
from aam.records import NUMBER, Many, check_shape, refuse_special
from aam.training.step import StepResult

LOG = "log.jsonl"
LINE = {"kind": str, "step": int}
"""Shape of a line of the log; all else in it are numbers."""


class Meter:
    """Means since the last reading, and how many samples and ASVs per second of training were processed."""

    def __init__(self) -> None:
        self._results: list[StepResult] = []
        self._since = time.perf_counter()

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Leave the time of the block out of the rates: an evaluation is no training."""
        start = time.perf_counter()
        yield
        self._since += time.perf_counter() - start

    def add(self, result: StepResult) -> None:
        self._results.append(result)

    def read(self) -> dict[str, float]:
        """Means of the loss terms and gradient norms, last learning rate, rates per second; starts anew."""
        results, self._results = self._results, []
        seconds, self._since = lasted(time.perf_counter() - self._since), time.perf_counter()
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
    return [record for _, record in read_lines(folder / LOG)]


def read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The complete lines of a log, and what they say; raises CheckpointError, naming the line, for a damaged one."""
    read = 0
    try:
        refuse_special(path)
        *lines, _ = path.read_text(encoding="utf-8").split("\n")
        for line in lines:
            read += 1
            record = json.loads(line)
            check_shape(record, LINE)
            check_shape({name: value for name, value in record.items() if name != "kind"}, Many(NUMBER, named=True))
            yield f"{line}\n", record
    except (OSError, ValueError, RecursionError) as error:
        place = f"{path}, line {read}" if read else str(path)
        raise CheckpointError(f"{place}: not a line of a log ({error}); restore the file, or move it away") from error


class JsonlSink:
    """Log with one JSON object per line; a resumed run appends to the same file.

    `step` is the update from which a run goes on: lines beyond it are removed, as is the half line of a killed process.
    """

    def __init__(self, path: Path, step: int | None = None):
        if step is not None and path.exists():
            write_text(path, "".join(line for line, record in read_lines(path) if record["step"] <= step))
        self._path, self._file = path, path.open("a", encoding="utf-8")

    def write(self, kind: str, step: int, values: dict[str, float], share: float) -> None:
        with name_file(self._path):
            self._file.write(json.dumps({"kind": kind, "step": step, "time": time.time(), **values}) + "\n")
            self._file.flush()

    def close(self) -> None:
        with name_file(self._path):
            self._file.close()


class TensorBoardSink:
    """Curves for `tensorboard --logdir`; `step` as for `JsonlSink`.

    What is written is on the disk at once. Torch's `SummaryWriter` leaves that to a thread, which holds back up to two
    minutes of a run, and reports a full disk by a traceback.
    """

    def __init__(self, folder: Path, step: int | None = None):
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time_ns()}.{platform.node()}.{os.getpid()}"
        self._path = folder / name
        self._records = RecordWriter(self._path.open("wb"))
        self._add(file_version="brain.Event:2")
        if step is not None:
            self._add(step=step + 1, session_log=SessionLog(status=SessionLog.START))  # drops what was from there on

    def write(self, kind: str, step: int, values: dict[str, float], share: float) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=f"{kind}/{name}", simple_value=value) for name, value in values.items()]
        self._add(step=step, summary=Summary(value=scalars))

    def _add(self, **content: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        with name_file(self._path):
            self._records.write(Event(wall_time=time.time(), **content).SerializeToString())
            self._records.flush()

    def close(self) -> None:
        with name_file(self._path):
            self._records.close()
