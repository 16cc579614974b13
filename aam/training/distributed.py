"""One run on several processes: each encodes a share of the ASVs, and all compute the rest alike.

Batches are pure functions of (seed, number) and cheap, so every rank assembles the same one. Encoding ASVs is nearly
all the work: each rank encodes its share of the distinct ASVs and of the masked ones, and a gather gives every rank all
embeddings [U, D]. What follows, sample encoder, heads and in-batch losses, is the same on every rank, dropout included,
so a batch of B samples on W ranks is the batch of one process, not an approximation of it. Going backward each rank
keeps the gradient of its own rows; the gradients of the ASV encoder are then summed over ranks.

The first rank decides what depends on clock or signals, and only what it writes stays. `torchrun` sets the environment
that is read here; without it there is one rank and nothing in this file communicates.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from aam.checkpoint import LAST
from aam.errors import Interrupted
from aam.models.asv_encoder import ChunkedEncoder
from aam.training.loop import Run
from aam.training.signals import StopRequest
from aam.training.step import Learner


@dataclass(frozen=True)
class World:
    """The processes of a run; alone, there is one."""

    rank: int = 0
    size: int = 1

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

    @contextmanager
    def folder(self, wanted: Path) -> Iterator[Path]:
        """Where this rank writes: as wanted for the first; for others a copy with the checkpoint, gone at the end."""
        if self.first:
            yield wanted
            return
        with tempfile.TemporaryDirectory(prefix=f"aam-rank-{self.rank}-") as name:
            if (wanted / LAST).exists():
                shutil.copytree(wanted / LAST, Path(name) / LAST)
            try:
                yield Path(name)
            except Interrupted as stopped:
                raise Interrupted(f"rank {self.rank} stopped with the others") from stopped


@contextmanager
def join_world() -> Iterator[World]:
    """Meet the other processes that `torchrun` started; each takes a GPU of its own where there are GPUs."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    gpus = torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % gpus)
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo")
    world = World(dist.get_rank(), size)
    try:
        if world.first:
            yield world
        else:
            with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stderr(nowhere):
                yield world
    finally:
        dist.destroy_process_group()


class Gather(torch.autograd.Function):
    """Rows of all ranks: each gives sizes[rank] of them, [n, …] -> [sum of sizes, …].

    What follows is the same on every rank, so going backward each takes the gradient of its own rows; nothing is sent.
    """

    @staticmethod
    def forward(ctx: Any, own: Tensor, sizes: list[int], rank: int) -> Tensor:
        ctx.first, ctx.rows = sum(sizes[:rank]), sizes[rank]
        padded = own.new_zeros(max(sizes), *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:rows] for part, rows in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][ctx.first : ctx.first + ctx.rows], None, None


@contextmanager
def noise_apart(world: World, call: int, device: torch.device) -> Iterator[None]:
    """Random numbers that differ between ranks; outside they go on, alike on all, as if none had been drawn here."""
    peek = torch.Generator()
    peek.set_state(torch.get_rng_state())
    seed = int(torch.randint(2**62, (), generator=peek))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed + call * world.size + world.rank)
        yield


def embed_together(world: World, embed: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    """`ChunkedEncoder.embed` by all ranks: tokens [U, L] -> [U, D]."""
    cuts = world.cuts(len(tokens))
    with noise_apart(world, 0, tokens.device):
        own = embed(tokens[cuts[world.rank] : cuts[world.rank + 1]])
    return gathered(world, own, [stop - start for start, stop in zip(cuts, cuts[1:], strict=False)])


def predict_together(world: World, predict: Callable[[Tensor, Tensor], Tensor], tokens: Tensor, at: Tensor) -> Tensor:
    """`ChunkedEncoder.predict` by all ranks: tokens [M, L] and places [T, 2] -> logits [T, 6]."""
    cuts = world.cuts(len(tokens))
    start, stop = cuts[world.rank], cuts[world.rank + 1]
    owner = torch.bucketize(at[:, 0].contiguous(), torch.tensor(cuts[1:-1], device=at.device), right=True)
    asked = at[owner == world.rank] - torch.tensor([start, 0], device=at.device)
    with noise_apart(world, 1, tokens.device):
        own = predict(tokens[start:stop], asked)
    by_rank = gathered(world, own, torch.bincount(owner, minlength=world.size).tolist())
    return by_rank[owner.argsort(stable=True).argsort()]


def gathered(world: World, own: Tensor, sizes: list[int]) -> Tensor:
    """All rows, by rank."""
    rows: Tensor = Gather.apply(own, sizes, world.rank)
    return rows


def sum_gradients(model: nn.Module, encoder: ChunkedEncoder, world: World) -> None:
    """Sum the encoder's gradients over ranks; all others are equal but for rounding, and their mean keeps them so."""
    shared = {id(parameter) for parameter in encoder.parameters()}
    found = [(p, p.grad) for p in model.parameters() if p.grad is not None]
    flat = torch.cat([(g if id(p) in shared else g / world.size).flatten() for p, g in found])
    dist.all_reduce(flat)
    for (_, gradient), total in zip(found, flat.split([p.numel() for p, _ in found]), strict=True):
        gradient.copy_(total.view_as(gradient))


def distribute(learner: Learner, encoder: ChunkedEncoder, world: World) -> None:
    """Let all ranks encode together and step alike, from the first one's weights and random state.

    `encoder` is the ASV encoder in the learner's model; copies of the model share the work in the same way.
    """
    if world.size == 1:
        return
    for tensor in learner.model.state_dict().values():
        dist.broadcast(tensor, src=0)
    random = torch.get_rng_state()
    dist.broadcast(random, src=0)
    torch.set_rng_state(random)
    if learner.device.type == "cuda":
        random = torch.cuda.get_rng_state(learner.device)
        dist.broadcast(random, src=0)
        torch.cuda.set_rng_state(random, learner.device)
    encoder.embed = partial(embed_together, world, encoder.embed)  # type: ignore[method-assign]
    encoder.predict = partial(predict_together, world, encoder.predict)  # type: ignore[method-assign]
    learner.reduce_gradients = partial(sum_gradients, learner.model, encoder, world)


def distribute_run(run: Run, encoder: ChunkedEncoder, world: World) -> None:
    """As `distribute`; time and scores of the run become those of the first rank."""
    distribute(run.learner, encoder, world)
    if world.size == 1:
        return
    own_clock, own_scores = run.clock, run.evaluate

    def scores(learner: Learner) -> dict[str, float]:
        values = own_scores(learner)
        return dict(zip(values, world.of_first(list(values.values())), strict=True))

    run.clock = lambda: world.of_first([own_clock()])[0]
    run.evaluate = scores


class SharedStop:
    """A stop request of any rank, seen by all after the same step."""

    def __init__(self, stop: StopRequest, world: World):
        self._stop, self._world = stop, world

    @property
    def requested(self) -> bool:
        return self._world.anywhere(self._stop.requested)

    @property
    def name(self) -> str:
        return self._stop.name or "a signal to another process"
