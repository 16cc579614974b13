"""The log of a run, also of one that was killed and goes on."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from aam.training.sinks import JsonlSink, TensorBoardSink


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def written(path: Path, numbers: list[int], start: int | None = None) -> None:
    sink = JsonlSink(path, start)
    for number in numbers:
        sink.write("train", number, {"loss": 1.0 / number}, 0.5)
    sink.close()


def test_lines_are_objects_and_appended(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    written(path, [1, 2])
    written(path, [3])
    first = json.loads(path.read_text().splitlines()[0])
    assert (first["kind"], first["step"], first["loss"]) == ("train", 1, 1.0) and first["time"] > 1e9
    assert steps(path) == [1, 2, 3]


def test_a_run_that_goes_on_drops_what_its_checkpoint_does_not_know(tmp_path: Path):
    """Killed after update 5 with its last checkpoint at 3, and in the middle of a line."""
    path = tmp_path / "log.jsonl"
    written(path, [1, 2, 3, 4, 5])
    with path.open("a") as file:
        file.write('{"kind": "train", "step": 6, "lo')
    written(path, [4, 5], start=3)
    assert steps(path) == [1, 2, 3, 4, 5]


def test_a_fresh_run_begins_an_empty_log(tmp_path: Path):
    written(tmp_path / "log.jsonl", [1], start=0)
    assert steps(tmp_path / "log.jsonl") == [1]


def curve(folder: Path) -> list[tuple[int, float]]:
    """Steps and values as TensorBoard reads them."""
    events = EventAccumulator(str(folder))
    events.Reload()
    assert events.Tags()["scalars"] == ["train/loss"]
    return [(event.step, event.value) for event in events.Scalars("train/loss")]


def test_tensorboard_reads_each_value_at_once_and_forgets_what_a_run_takes_back(tmp_path: Path):
    first = TensorBoardSink(tmp_path)
    for step in (1, 2, 3):
        first.write("train", step, {"loss": step / 2}, 0.5)
    assert curve(tmp_path) == [(1, 0.5), (2, 1.0), (3, 1.5)]
    again = TensorBoardSink(tmp_path, step=1)
    again.write("train", 2, {"loss": 8.0}, 0.5)
    assert curve(tmp_path) == [(1, 0.5), (2, 8.0)]
    for sink in (first, again):
        sink.close()


def test_a_full_disk_is_told_by_an_error_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    sink = TensorBoardSink(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            sink.write("train", 1, dict.fromkeys(map(str, range(100)), 1.0), 0.5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    sink.close()
    assert capfd.readouterr() == ("", "")
