"""Processes that assemble batches: what they send, and how a run ends that loses one."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from aam.corpus import workers
from aam.corpus.workers import assemble_ahead
from aam.errors import EmptySampleError, WorkerError
from aam.stopping import STOP_SIGNALS


@dataclass(frozen=True)
class Numbers:
    """A batch."""

    name: str
    values: torch.Tensor
    nothing: torch.Tensor | None = None


class Source:
    """Batches by number; each is `size` numbers, and number `bad` cannot be assembled."""

    def __init__(self, size: int = 4, bad: int | None = None):
        self.size, self.bad = size, bad

    def __getitem__(self, number: int) -> Numbers:
        if number == self.bad:
            raise EmptySampleError("s1", 0, 0.0)
        return Numbers(f"batch {number}", torch.full((self.size,), number))


class Waiting(Source):
    """Batch number 2 never comes."""

    def __getitem__(self, number: int) -> Numbers:
        if number == 2:
            threading.Event().wait()
        return super().__getitem__(number)


def processes() -> list[multiprocessing.process.BaseProcess]:
    return multiprocessing.active_children()


@pytest.mark.parametrize("count", [1, 3])
def test_batches_come_in_order_and_the_processes_end_with_the_stream(count: int):
    with closing(assemble_ahead(Source(size=300_000), 5, count)) as stream:  # larger than the buffer of a pipe
        for number, batch in zip(range(5, 15), stream, strict=False):
            assert batch.name == f"batch {number}" and batch.nothing is None
            assert torch.equal(batch.values, torch.full((300_000,), number))
        assert len(processes()) == count
    assert processes() == []


def test_all_types_of_a_tensor_arrive_as_they_are():
    kinds = [torch.bool, torch.uint8, torch.int64, torch.float32, torch.float64]

    class Kinds:
        def __getitem__(self, number: int) -> Numbers:
            return Numbers("", torch.ones(2, 0 if number == 5 else 3, dtype=kinds[number % 5]))

    with closing(assemble_ahead(Kinds(), 0, 2)) as stream:
        for number, batch in zip(range(6), stream, strict=False):
            assert batch.values.dtype == kinds[number % 5] and batch.values.shape == (2, 0 if number == 5 else 3)
            batch.values.add_(batch.values)  # writable, as a batch assembled here


def test_an_error_of_a_batch_is_raised_here_at_its_turn():
    with closing(assemble_ahead(Source(bad=3), 0, 2)) as stream:
        assert [batch.name for batch in islice(stream, 3)] == ["batch 0", "batch 1", "batch 2"]
        with pytest.raises(EmptySampleError, match="Sample s1 has no ASVs") as told:
            next(stream)
    assert "In a process of --num-workers" in told.value.__notes__[0] and "__getitem__" in told.value.__notes__[0]
    assert processes() == []


class Unsendable(Exception):
    """It holds what cannot be sent."""

    def __init__(self) -> None:
        super().__init__("a lock")
        self.lock = threading.Lock()


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (OSError(24, "Too many open files", "a.npy"), OSError, r"\[Errno 24\] Too many open files: 'a.npy'"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), UnicodeDecodeError, "can't decode byte 0xff"),
        (MemoryError("short"), MemoryError, "short"),
        (Unsendable(), RuntimeError, "Unsendable: a lock"),
    ],
    ids=["system", "own attributes", "memory", "unsendable"],
)
def test_errors_of_every_kind_arrive(error: Exception, kind: type[Exception], text: str):
    class Failing:
        def __getitem__(self, number: int) -> Numbers:
            raise error

    with pytest.raises(kind, match=text) as told:
        next(assemble_ahead(Failing(), 0, 1))
    assert type(told.value) is kind and getattr(told.value, "errno", None) == getattr(error, "errno", None)


@pytest.mark.parametrize("size", [4, 300_000], ids=["between batches", "while it sends one"])
def test_a_killed_process_ends_the_stream_in_words_at_once(size: int):
    with closing(assemble_ahead(Source(size), 0, 2)) as stream:
        next(stream)
        begun = time.monotonic()
        for process in processes():
            process.kill()
        with pytest.raises(WorkerError, match="a process of --num-workers was killed; go on with --resume and fewer"):
            list(islice(stream, 100))
    assert time.monotonic() - begun < 10 and processes() == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell processor times")
@pytest.mark.parametrize("stopped", [False, True], ids=["waits for ever", "suspended"])
def test_a_process_that_stands_still_is_ended(stopped: bool, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(workers, "LOOK_SECONDS", 0.2)
    with closing(assemble_ahead(Source(300_000) if stopped else Waiting(), 0, 1)) as stream:
        next(stream)
        if stopped:
            os.kill(processes()[0].pid or 0, signal.SIGSTOP)
        with pytest.raises(WorkerError, match=r"delivers no batch and has been idle for 1 s, so it was ended; go on"):
            list(islice(stream, 100))
    assert processes() == []


@contextmanager
def limit_of_files(most: int) -> Iterator[None]:
    """Lower the limits of open files; the hard one cannot be raised again, except by root."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_low_soft_limit_of_files_is_raised(monkeypatch: pytest.MonkeyPatch):
    opened = len(list(Path("/dev/fd").iterdir()))
    with limit_of_files(opened + 8), closing(assemble_ahead(Source(), 0, 16)) as stream:
        assert [batch.name for batch in islice(stream, 20)][-1] == "batch 19"
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 256 + 16 * 16


def test_too_few_files_are_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(workers, "raise_file_limit", lambda wanted: None)  # as with a low hard limit
    opened = len(list(Path("/dev/fd").iterdir()))
    wanted = r"--num-workers 16: process \d+ cannot be started \(Too many open files\).*ulimit -n 4096.*--num-workers 0"
    with limit_of_files(opened + 8), pytest.raises(WorkerError, match=wanted):
        next(assemble_ahead(Source(), 0, 16))
    assert processes() == []


def test_signals_to_the_process_group_do_not_reach_the_processes():
    with closing(assemble_ahead(Source(), 0, 1)) as stream:
        next(stream)
        for number in STOP_SIGNALS:
            os.kill(processes()[0].pid or 0, number)
        assert [batch.name for batch in islice(stream, 5)][-1] == "batch 5"


def test_the_processes_end_when_the_one_that_started_them_is_killed():
    def parent(pipe: multiprocessing.connection.Connection) -> None:
        stream = assemble_ahead(Source(300_000), 0, 3)
        next(stream)
        pipe.send([process.pid for process in processes()])
        time.sleep(100)

    here, there = multiprocessing.Pipe()
    started = multiprocessing.get_context("fork").Process(target=parent, args=(there,))
    started.start()
    ids = here.recv()
    started.kill()
    started.join()
    ends = time.monotonic() + 30
    while any(Path(f"/proc/{number}").exists() and not is_defunct(number) for number in ids):
        assert time.monotonic() < ends
        time.sleep(0.05)


def is_defunct(number: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return True


def test_a_batch_is_a_plain_record():
    """What `assemble_ahead` takes apart and puts together again."""
    batch = Numbers("a", torch.ones(2))
    fields = {name: workers.to_plain(value) for name, value in vars(batch).items()}
    assert isinstance(fields["values"], np.ndarray)
    again = Numbers(**{name: workers.to_tensor(value) for name, value in fields.items()})
    assert dataclasses.asdict(again)["name"] == "a" and torch.equal(again.values, batch.values)
