"""The processes of a run: how they meet, what they agree on, and what is said when one of them is lost.

`torchrun` starts the processes, sets the environment that is read here, hosts the store where they meet, and ends those
that are left when one is gone; without it there is one rank and nothing in this file communicates.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from aam.checkpoint import LAST, old_of
from aam.errors import AamError, InputError, Interrupted

SILENCE = timedelta(minutes=10)
"""How long a rank waits for another that gives no sign, e.g. because its machine lost power; the longest that one works
while others wait are the checks before a run, a minute at most."""
ROLL_CALL = 10.0
"""Seconds in which ranks that lost contact tell each other that they are there; `torchrun` kills them after 30."""
GONE = "is gone without a word (killed, out of memory, or its machine lost)"
RESTARTS = "TORCHELASTIC_RESTART_COUNT"
"""How often `torchrun --max-restarts N` has started the ranks anew."""


@dataclass(frozen=True)
class World:
    """The processes of a run; alone, there is one. `home` is the folder of the run, which all of them see."""

    rank: int = 0
    size: int = 1
    home: Path = Path()
    restarted: bool = False

    @property
    def first(self) -> bool:
        """Whether what this rank writes stays."""
        return self.rank == 0

    def cuts(self, rows: int) -> list[int]:
        """Where the shares of the ranks begin and, at last, end; shares differ by one row at most."""
        return [rows * rank // self.size for rank in range(self.size + 1)]

    def of_first(self, values: Sequence[float]) -> list[float]:
        """The first rank's values, on every rank."""
        sent = torch.tensor(values, dtype=torch.float64)
        if self.size > 1:
            dist.broadcast(sent, src=0)
        return sent.tolist()

    def anywhere(self, flag: bool) -> bool:
        """Whether it is true on any rank."""
        raised = torch.tensor(float(flag))
        if self.size > 1:
            dist.all_reduce(raised, op=dist.ReduceOp.MAX)
        return bool(raised)

    def wait(self) -> None:
        """Until all ranks are here."""
        self.anywhere(False)

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Where this rank writes: for the first its home; for others a folder that is gone at the end, in which the
        last checkpoint is that at home."""
        if self.first:
            yield self.home
            return
        with tempfile.TemporaryDirectory(prefix=f"aam-rank-{self.rank}-") as name:
            for last in (self.home / LAST, old_of(self.home / LAST)):
                (Path(name) / last.name).symlink_to(last.resolve())
            yield Path(name)


@contextmanager
def join_world(home: Path) -> Iterator[World]:
    """Meet the other processes that `torchrun` started; each takes a GPU of its own where there are GPUs.

    Raises Interrupted, naming them, where ranks are lost.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    restarted = os.environ.get(RESTARTS, "0") != "0"
    if size == 1:
        yield World(home=home, restarted=restarted)
        return
    gpus = torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % gpus)
    store, rank, size = next(dist.rendezvous("env://", timeout=SILENCE))
    backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
    dist.init_process_group(backend, store=dist.PrefixStore("run", store), rank=rank, world_size=size, timeout=SILENCE)
    world, register = World(rank, size, home, restarted), dist.PrefixStore("register", store)
    try:
        with quiet(not world.first):
            yield world
    except Exception as error:  # noqa: BLE001 - whatever ends this rank, the others must learn of it
        end_together(world, error, register)
    finally:
        dist.destroy_process_group()


@contextmanager
def quiet(wanted: bool) -> Iterator[None]:
    """Nothing on stderr, where wanted."""
    if not wanted:
        yield
        return
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stderr(nowhere):
        yield


def end_together(world: World, error: Exception, register: dist.Store) -> None:
    """Raise what ended this rank, or what it was that took others away; one rank tells what happened to all."""
    if isinstance(error, AamError) and not isinstance(error, InputError):
        if world.first:
            raise error
        raise SystemExit(error.exit_code) from error  # all ranks stop alike, and the first one says why
    if not contact_lost(error):
        register.set(str(world.rank), f"failed: {type(error).__name__}: {' '.join(str(error).split())}")
        raise error
    here = roll_call(world, register)
    if world.rank != min(here):
        raise SystemExit(Interrupted.exit_code) from error
    told = {rank: register.get(str(rank)).decode() for rank in range(world.size) if register.check([str(rank)])}
    lost = [f"rank {rank} {told.get(rank, GONE)}" for rank in range(world.size) if rank not in here]
    what = f"{'; '.join(lost) or 'contact between ranks was lost'} ({len(here)} of {world.size} ranks are left)"
    if not (world.home / LAST).exists():
        raise Interrupted(f"{what}; there is no checkpoint yet, start again") from error
    raise Interrupted(f"{what}; go on with --resume, on any number of processes ({world.home / LAST})") from error


def contact_lost(error: Exception) -> bool:
    """Whether another rank could not be reached; gloo says so by RuntimeErrors that name it."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())


def roll_call(world: World, register: dist.Store) -> list[int]:
    """Ranks that are still there; all who lost contact call this."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun sends it to all that are left, to end as they do anyway
    register.set(f"here {world.rank}", "")
    ends = time.monotonic() + ROLL_CALL
    while True:
        here = [rank for rank in range(world.size) if register.check([f"here {rank}"])]
        if len(here) >= world.size - 1 or time.monotonic() > ends:
            return here
        time.sleep(0.2)
