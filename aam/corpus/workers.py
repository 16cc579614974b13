"""Processes that assemble batches ahead of training (--num-workers).

Each worker has a pipe of its own, through which it is asked for a number and sends the batch as plain bytes. So a batch
takes no shared memory, no file descriptor and no thread that could fail unseen. A worker that is killed, or that stands
still, ends the run in one line.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import threading
import traceback
from collections.abc import Generator, Sequence
from contextlib import suppress
from itertools import count
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from aam.errors import WorkerError, error_text
from aam.stopping import STOP_SIGNALS

AHEAD = 2
"""Batches that a worker is asked for at once: while one is fetched, it assembles the next."""
LOOKS, LOOK_SECONDS = 3, 10.0
"""A worker that is waited for, and has used no processor time at so many looks in a row, stands still."""
FILES_OF_RUN, FILES_OF_WORKER = 256, 16
"""Open files that a run and each of its workers may need; both are generous."""


class Worker(NamedTuple):
    """A process and the end of its pipe here."""

    process: BaseProcess
    pipe: Connection


class Fault(NamedTuple):
    """An error of a worker: class, arguments, attributes, and its traceback there."""

    kind: type[Exception]
    args: tuple[Any, ...]
    state: dict[str, Any]
    note: str

    def to_error(self) -> Exception:
        """The error, with the traceback as a note."""
        try:
            error = self.kind(*self.args)
        except TypeError:  # its arguments are not those of its class, as pickle expects
            error = self.kind.__new__(self.kind, *self.args)
        vars(error).update(self.state)
        error.add_note(self.note)
        return error


def assemble_ahead(batches: Any, start: int, workers: int) -> Generator[Any, None, None]:
    """Yield batches[start], batches[start + 1], … without end, assembled by so many processes; they end with it.

    A batch is a dataclass of tensors and plain values. Raises WorkerError if a process cannot be started, is killed or
    stands still, and whatever the assembly of a batch raises.
    """
    raise_file_limit(FILES_OF_RUN + FILES_OF_WORKER * workers)
    team: list[Worker] = []
    end = Finalize(None, end_workers, args=(team,), exitpriority=0)  # at the end of the process if not before
    try:
        start_workers(team, batches, workers)
        for number in range(start, start + AHEAD * workers):
            ask(team[number % workers], number)
        with Lookout() as lookout:
            for number in count(start):
                worker = team[number % workers]
                found = lookout.receive(worker)
                if isinstance(found, Fault):
                    raise found.to_error()
                ask(worker, number + AHEAD * workers)
                kind, fields = found
                yield kind(**{name: to_tensor(value) for name, value in fields.items()})
    finally:
        end()


def raise_file_limit(wanted: int) -> None:
    """Let this process, and those it starts, open so many files if the hard limit allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(hard, wanted), hard)
            )


def start_workers(team: list[Worker], batches: Any, workers: int) -> None:
    """Add so many workers to the team; raises WorkerError if the machine does not allow them."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # until the worker ignores them
    try:
        for _ in range(workers):
            here, there = multiprocessing.Pipe()
            process = multiprocessing.Process(target=serve, args=(batches, there, here, os.getpid()), daemon=True)
            process.start()
            there.close()  # or the end of the worker would not end its pipe
            team.append(Worker(process, here))
    except OSError as error:
        raise WorkerError(
            f"--num-workers {workers}: process {len(team) + 1} cannot be started ({error.strerror}); allow more open "
            "files and processes (`ulimit -n 4096`, `ulimit -u`), or use fewer workers or --num-workers 0"
        ) from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def serve(batches: Any, pipe: Connection, other: Connection, parent: int) -> None:
    """Send the batches that are asked for, until the parent is gone."""
    for number in STOP_SIGNALS:  # the training process handles them, and still needs batches
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    other.close()
    torch.set_num_threads(1)
    with suppress(EOFError, OSError):
        while True:
            while not pipe.poll(LOOK_SECONDS):
                if os.getppid() != parent:
                    return
            send(pipe, batches, pipe.recv())


def send(pipe: Connection, batches: Any, number: int) -> None:
    """Assemble a batch and send its type and fields, or the error that it raises."""
    try:
        batch = batches[number]
        found: Any = type(batch), {name: to_plain(value) for name, value in vars(batch).items()}
    except Exception as error:  # noqa: BLE001 - whatever it is, the training process has to raise it
        found = fault_of(error)
    pipe.send(found)


def fault_of(error: Exception) -> Fault:
    """An error as a record that can be sent; of a kind that cannot be sent its text."""
    note = f"In a process of --num-workers:\n{traceback.format_exc()}"
    reduced: Any = error.__reduce__()  # class, arguments and, if it has any, attributes
    fault = Fault(type(error), reduced[1], reduced[2] if len(reduced) > 2 and reduced[2] else {}, note)
    try:
        ForkingPickler.dumps(fault)
    except Exception:  # noqa: BLE001 - an error of any library may hold anything
        return Fault(RuntimeError, (error_text(error),), {}, note)
    return fault


def to_plain(value: Any) -> Any:
    """A tensor as an array, which is sent as bytes; torch would send it through shared memory."""
    return value.numpy() if isinstance(value, Tensor) else value


def to_tensor(value: Any) -> Any:
    """The reverse."""
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def ask(worker: Worker, number: int) -> None:
    """Ask for a batch; that the worker is gone is noticed when its answer is missed."""
    with suppress(OSError):
        worker.pipe.send(number)


def end_workers(team: Sequence[Worker]) -> None:
    """End the processes; they hold nothing that could be lost."""
    for worker in team:
        worker.process.kill()
    for worker in team:
        worker.process.join()
        worker.pipe.close()


class Lookout:
    """Receives batches, and kills a worker that stands still while it is waited for, so that the wait ends."""

    def __init__(self) -> None:
        self._waiting: Worker | None = None
        self._stuck = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="aam-lookout", daemon=True)

    def __enter__(self) -> Lookout:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()

    def receive(self, worker: Worker) -> Any:
        """The next answer of a worker; raises WorkerError if there is none to come."""
        self._waiting = worker
        try:
            if worker.pipe not in wait([worker.pipe, worker.process.sentinel]):
                raise EOFError
            return worker.pipe.recv()
        except (EOFError, OSError) as error:
            why = "was killed"
            if self._stuck:
                why = f"delivers no batch and has been idle for {LOOKS * LOOK_SECONDS:.0f} s, so it was ended"
            raise WorkerError(
                f"a process of --num-workers {why}; go on with --resume and fewer workers or --num-workers 0, "
                "and more memory if that is short"
            ) from error
        finally:
            self._waiting = None

    def _watch(self) -> None:
        """Count looks, not time: a whole job may be suspended for hours."""
        before, idle = (0, -1.0), 0
        while not self._over.wait(LOOK_SECONDS):
            worker = self._waiting
            spent = None if worker is None else processor_seconds(worker.process.pid)
            if worker is None or spent is None:
                idle = 0
                continue
            now = (worker.process.pid or 0, spent)
            before, idle = now, idle + 1 if now == before else 0
            if idle == LOOKS:
                self._stuck = True
                worker.process.kill()


def processor_seconds(process: int | None) -> float | None:
    """Processor time that a process has used; None where the system does not say."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
