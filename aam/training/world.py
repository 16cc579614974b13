"""The processes (ranks) of a run: connection, communication, and errors if a rank is lost.

`torchrun` starts the processes, sets the environment variables that are read here, hosts the store through which they
connect, and ends the others if one is lost. Without `torchrun` there is one rank and no communication.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import FrameType

import torch
import torch.distributed as dist

from aam.config import RanksConfig
from aam.errors import AamError, InputError, Interrupted
from aam.folders import LAST

SEARCH = 5.0
"""Seconds in which a rank that lost contact looks for who is gone; `torchrun` kills it after 30."""
RESTARTS = "TORCHELASTIC_RESTART_COUNT"
"""How often `torchrun --max-restarts N` has started the ranks anew."""


@dataclass(frozen=True)
class World:
    """The ranks of a run. `home` is the output directory, which all ranks can access."""

    rank: int = 0
    size: int = 1
    home: Path = Path()
    restarted: bool = False

    @property
    def first(self) -> bool:
        """Whether this is the rank whose files are kept."""
        return self.rank == 0

    def share_bounds(self, rows: int) -> list[int]:
        """Boundaries of the shares of the ranks; sizes differ by at most one row."""
        return [rows * rank // self.size for rank in range(self.size + 1)]

    def broadcast_first(self, values: Sequence[float]) -> list[float]:
        """The first rank's values, on every rank."""
        sent = torch.tensor(values, dtype=torch.float64)
        if self.size > 1:
            dist.broadcast(sent, src=0)
        return sent.tolist()

    def any_rank(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        raised = torch.tensor(float(flag))
        if self.size > 1:
            dist.all_reduce(raised, op=dist.ReduceOp.MAX)
        return bool(raised)

    def wait(self) -> None:
        """Wait until all ranks have called this."""
        self.any_rank(False)

    @contextmanager
    def folder(self, *records: str) -> Iterator[Path]:
        """The folder in which this rank writes: `home` for the first rank, a temporary folder for others.

        The temporary folder has links to the files that a resumed run reads: last checkpoint and `records`."""
        if self.first:
            yield self.home
            return
        with tempfile.TemporaryDirectory(prefix=f"aam-rank-{self.rank}-") as name:
            for wanted in map(self.home.joinpath, (LAST, *records)):
                (Path(name) / wanted.name).symlink_to(wanted.resolve())
            yield Path(name)


@contextmanager
def join_world(home: Path, timeout: float = RanksConfig.rank_timeout) -> Iterator[World]:
    """Connect to the other processes that `torchrun` started; each uses its own GPU, if there are GPUs.

    A rank that does not answer for `timeout` seconds is lost; during the checks before a run the others wait for up to
    a minute. Raises Interrupted with the names of lost ranks.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    restarted = os.environ.get(RESTARTS, "0") != "0"
    if size == 1:
        yield World(home=home, restarted=restarted)
        return
    gpus = torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % gpus)
    silence = timedelta(seconds=timeout)
    store, rank, size = next(dist.rendezvous("env://", timeout=silence))
    store = dist.PrefixStore(f"start {os.environ.get(RESTARTS)}", store)  # the store knows those of earlier starts
    register = Register(dist.PrefixStore("register", store), rank, size)
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    world, meet = World(rank, size, home, restarted), dist.PrefixStore("run", store)
    with protect_error_report():
        try:
            dist.init_process_group(backend, store=meet, rank=rank, world_size=size, timeout=silence)
            with silence_stderr(not world.first):
                yield world
        except Exception as error:  # noqa: BLE001 - whatever ends this rank, the others must learn of it
            end_together(world, error, register)
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()


@contextmanager
def silence_stderr(wanted: bool) -> Iterator[None]:
    """Discard what the block writes to stderr, if `wanted`."""
    if not wanted:
        yield
        return
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stderr(nowhere):
        yield


@contextmanager
def protect_error_report() -> Iterator[None]:
    """Context, for the main thread, in which SIGTERM ends the process, except while it reports an error.

    If a rank is lost, `torchrun` sends SIGTERM to the others at once; they must still be able to report their errors.
    After an error SIGTERM is ignored until the process ends.
    """

    def end(number: int, frame: FrameType | None) -> None:
        if sys.exception() is None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    previous = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, previous)


class Register:
    """Record of all ranks and why they ended; it outlives them, because `torchrun` keeps it."""

    def __init__(self, store: dist.Store, rank: int, size: int):
        self.store, self.rank, self.size = store, rank, size
        self.host = platform.node()
        store.set(f"process {rank}", json.dumps([self.host, os.getpid()]))

    def failed(self, why: str) -> None:
        """Record that this rank ends, and why."""
        self.store.set(f"failed {self.rank}", why)

    def search(self) -> dict[int, str]:
        """Lost ranks and what is known of each; empty if another rank has already reported them.

        A rank of the same host is lost if its process is gone. If there is none, the lost ranks are those that do not
        take part in this search: their hosts are gone, or they hang.
        """
        self.store.set(f"searches {self.rank}", "")
        ends = time.monotonic() + SEARCH
        gone: dict[int, str] = {}
        while not gone and time.monotonic() < ends and not self.store.check(["told"]):
            time.sleep(0.1)
            gone = {rank: why for rank in range(self.size) if (why := self._fate(rank))}
        if self.store.add("told", 1) > 1:
            return {}
        silent = {
            rank: f"on {self._process(rank)[0]} does not answer"
            for rank in range(self.size)
            if not self.store.check([f"searches {rank}"])
        }
        return gone or silent or {self.rank: "has lost contact with the others, which are all there"}

    def _fate(self, rank: int) -> str:
        """How a rank ended; empty if there is no sign that it has."""
        if self.store.check([f"failed {rank}"]):
            return f"failed ({self.store.get(f'failed {rank}').decode()})"
        host, process = self._process(rank)
        return (
            "is gone without a word (killed, or out of memory)" if host == self.host and not is_running(process) else ""
        )

    def _process(self, rank: int) -> tuple[str, int]:
        host, process = json.loads(self.store.get(f"process {rank}"))
        return host, process


def is_running(process: int) -> bool:
    """Whether a process with this id exists."""
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True


def end_together(world: World, error: Exception, register: Register) -> None:
    """Raise the error that ended this rank, or Interrupted for ranks that are lost; one rank reports for all."""
    if isinstance(error, AamError) and not isinstance(error, InputError):
        if world.first:
            raise error
        raise SystemExit(error.exit_code) from error  # all ranks stop alike, and the first one says why
    if not is_contact_lost(error):
        register.failed(f"{type(error).__name__}: {' '.join(str(error).split())}")
        raise error
    lost = register.search()
    if not lost:
        raise SystemExit(Interrupted.exit_code) from error
    how = f"go on with --resume, on any number of processes ({world.home / LAST})"
    if not (world.home / LAST).exists():
        how = "there is no checkpoint yet, start again"
    raise Interrupted(f"{'; '.join(f'rank {rank} {why}' for rank, why in lost.items())}; {how}") from error


def is_contact_lost(error: Exception) -> bool:
    """Whether another rank could not be reached; gloo says so by RuntimeErrors that name it."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())
