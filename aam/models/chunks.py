"""Computes rows in chunks with bounded memory, and chunks on several threads if that is faster.

In the forward pass, the first chunks keep their activations for the backward pass, up to a memory budget; others run
without a graph. In the backward pass, each chunk gets the gradient of its results; chunks without a graph are computed
once more, with a graph (gradient checkpointing). This costs a third more work for them, and needs the memory of one
chunk per thread.

For autograd this is one operation on the chunks and the parameters. Gradients of parameters are summed in the order of
the chunks, whichever is finished first, so a repeated step gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from threading import Barrier
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Chunk = tuple[Tensor, ...]
ChunkFunction = Callable[..., Chunk]
"""A chunk's tensors to its results, all of floating point."""
Given = TypeVar("Given")
Made = TypeVar("Made")


class Limits(NamedTuple):
    """Limits: transformer `positions` in a chunk, and values `kept` of all chunks for the backward pass."""

    positions: int
    kept: int


LIMITS = {"cpu": Limits(2048, 1 << 26), "cuda": Limits(1 << 17, 1 << 31)}
"""By device. CPUs are as fast with chunks of this size as with larger ones, which need more memory. 2 ** 26 numbers are
256 MiB in single precision: a step of 8 samples stays below 1 GB by default, imports included, at full speed; with as
much again a step of 32 samples is 5 % faster in a fifth more memory. A GPU wants more rows at once and has more memory;
its limits are not measured."""


class Keeping(nn.Module):
    """A module that computes in chunks, and keeps activations for the backward pass."""

    most_kept: int | None = None
    """Values that are kept; None: as many as `LIMITS` says."""


class Plan(NamedTuple):
    """Row numbers of each chunk, and how many chunks keep their activations for the backward pass."""

    chunks: list[Tensor]
    kept: int


class Graph(NamedTuple):
    """Results of a chunk, with the autograd graph from its leaves to them."""

    leaves: Chunk
    results: Chunk


@dataclass(frozen=True)
class Work:
    """The function for every chunk, in the precision of the caller: autocast to `dtype`, None: no autocast.

    Chunks run one after the other if `in_turn` is set or they are `noisy`, i.e. draw random numbers; when computed
    again they then draw the same numbers.
    """

    run: ChunkFunction
    device: torch.device
    noisy: bool
    in_turn: bool
    dtype: torch.dtype | None

    @classmethod
    def run_as_caller(cls, run: ChunkFunction, device: torch.device, noisy: bool, in_turn: bool = False) -> Work:
        """Run the function on this thread in the precision of the caller."""
        dtype = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None
        return cls(run, device, noisy, in_turn, dtype)

    def run_all(self, work: Callable[[Given], Made], given: Sequence[Given]) -> Iterator[Made]:
        """Results of `work` for each chunk, in order; on several threads if torch uses several."""
        threads = torch.get_num_threads()
        if self.noisy or self.in_turn or self.device.type != "cpu" or min(threads, len(given)) == 1:
            return map(work, given)
        return open_workers(threads).map(work, given)

    def run_without_graph(self, chunk: Chunk) -> Chunk:
        """Results of a chunk without an autograd graph."""
        with torch.no_grad(), self._precision():
            return self.run(*chunk)

    def run_with_graph(self, chunk: Chunk) -> Graph:
        """Results of a chunk with an autograd graph that begins at its tensors."""
        leaves = tuple(tensor.detach().requires_grad_(tensor.requires_grad) for tensor in chunk)
        with torch.enable_grad(), self._precision():
            return Graph(leaves, self.run(*leaves))

    def _precision(self) -> torch.autocast:
        # No cache: it would hand a weight that was cast without a graph to whoever casts it next, with one.
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None, cache_enabled=False)


class TwoStage(torch.autograd.Function):
    """Autograd operation from the flat list of chunks and parameters to the flat list of all results."""

    @staticmethod
    def forward(ctx: Any, work: Work, width: int, chunks: int, kept: int, *tensors: Tensor) -> Chunk:
        ctx.work, ctx.width, ctx.chunks = work, width, chunks
        ctx.save_for_backward(*tensors)
        ctx.random, ctx.graphs = {}, {}

        def first(number: int) -> Chunk:
            chunk = tensors[number * width : (number + 1) * width]
            if number >= kept:
                ctx.random[number] = capture_noise_state(work)
                return work.run_without_graph(chunk)
            ctx.graphs[number] = graph = work.run_with_graph(chunk)
            return tuple(result.detach() for result in graph.results)

        return tuple(result for results in work.run_all(first, range(chunks)) for result in results)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        width, count, each = ctx.width, ctx.chunks, len(gradients) // ctx.chunks
        tensors = ctx.saved_tensors
        parameters = tensors[width * count :]

        def second(number: int) -> tuple[Tensor | None, ...]:
            graph = ctx.graphs.pop(number, None)
            if graph is None:
                with replay_noise(ctx.work, ctx.random[number]):
                    graph = ctx.work.run_with_graph(tensors[number * width : (number + 1) * width])
            asked = gradients[number * each : (number + 1) * each]
            return tuple(gradients_of(graph, asked, parameters))

        inputs: list[Tensor | None] = []
        sums: list[Tensor | None] = [None] * len(parameters)
        for found in ctx.work.run_all(second, range(count)):
            inputs += found[:width]
            sums = [add_optional(total, more) for total, more in zip(sums, found[width:], strict=True)]
        return (None, None, None, None, *inputs, *sums)


def compute_in_chunks(work: Work, chunks: Sequence[Chunk], parameters: Sequence[Tensor], kept: int) -> list[Chunk]:
    """Compute all chunks; `parameters` are all trainable ones of the work, the first `kept` chunks keep their graph.

    There is at least one chunk, and all chunks have the same numbers of tensors and results.
    """
    if len(chunks) == 1 and kept:
        return [work.run(*chunks[0])]
    flat = [tensor for chunk in chunks for tensor in chunk]
    if not torch.is_grad_enabled() or not any(tensor.requires_grad for tensor in (*flat, *parameters)):
        return list(work.run_all(work.run_without_graph, chunks))
    results: Chunk = TwoStage.apply(work, len(chunks[0]), len(chunks), kept, *flat, *parameters)
    each = len(results) // len(chunks)
    return [results[start : start + each] for start in range(0, len(results), each)]


def count_kept_chunks(device: torch.device, numbers: Iterable[int], most: int | None = None) -> int:
    """Count how many of the first chunks can keep their activations; `numbers` are the values of each chunk.

    `most`: values that may be kept (None: as `LIMITS` says).
    """
    kept = LIMITS[device.type].kept if most is None else most
    return sum(total <= kept for total in accumulate(numbers))


def keep_at_most(model: nn.Module, numbers: int) -> None:
    """Let each encoder of a model keep so many values for the backward pass; the results stay the same."""
    for module in model.modules():
        if isinstance(module, Keeping):
            module.most_kept = numbers


def gradients_of(graph: Graph, asked: Chunk, parameters: Sequence[Tensor]) -> list[Tensor | None]:
    """Gradients of the leaves and of the parameters; None for tensors that need no gradient or were not used."""
    tensors = (*graph.leaves, *parameters)
    learning = [tensor for tensor in tensors if tensor.requires_grad]
    found = iter(torch.autograd.grad(graph.results, learning, asked, allow_unused=True))
    return [next(found) if tensor.requires_grad else None for tensor in tensors]


def add_optional(total: Tensor | None, more: Tensor | None) -> Tensor | None:
    """Sum of two gradients; None counts as 0, and the sum of two None is None."""
    if total is None or more is None:
        return more if total is None else total
    return total + more


@cache
def open_workers(count: int) -> ThreadPoolExecutor:
    """Pool of `count` threads that compute on one core each; it is kept, so that its memory is reused."""
    together = Barrier(count + 1)

    def begin() -> None:
        torch.get_num_threads()  # the first call of a thread takes over the number of the process
        torch.set_num_threads(1)
        together.wait()

    pool = ThreadPoolExecutor(count, "chunk", begin)
    for _ in range(count):
        pool.submit(int)
    together.wait()
    torch.set_num_threads(count)  # each of them has also set what later threads start with
    return pool


def capture_noise_state(work: Work) -> list[Tensor]:
    """Random state before noisy work."""
    if not work.noisy:
        return []
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state(work.device)] if work.device.type == "cuda" else [])


@contextmanager
def replay_noise(work: Work, state: list[Tensor]) -> Iterator[None]:
    """Draw random numbers from a saved state in this block; afterwards the current state is restored."""
    if not work.noisy:
        yield
        return
    with torch.random.fork_rng([work.device] if work.device.type == "cuda" else []):
        torch.set_rng_state(state[0])
        if work.device.type == "cuda":
            torch.cuda.set_rng_state(state[1], work.device)
        yield
