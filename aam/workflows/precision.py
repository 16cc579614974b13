"""What `--precision auto` stands for, chosen once at the start of a run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from aam.config import FinetuneConfig, ModelConfig, Precision, PretrainConfig, RunnableT
from aam.corpus.batches import TrainingBatches, split_batch
from aam.corpus.dataset import Batch
from aam.health.locator import keep_in_one_thread
from aam.health.precision import autocast_model, bisect_precision
from aam.models.devices import SHORTEST, lasted, limit_product_caches, resolve_device
from aam.observer import Observer
from aam.training.memory import limit_memory
from aam.training.step import Learner, add_gradients
from aam.training.world import World

Build = Callable[[], tuple[Learner, TrainingBatches]]
"""Builds the model of a run before its first step, and its batches."""
ALONE = World()
WORTHWHILE_GAIN = 1.5
"""Gain of bfloat16 from which it is chosen, in matrix products alone and then in a whole pass.

It is above what noise makes of two equal times, so that a command computes the same bits each time."""
PRODUCT_ROWS = {"cpu": 2048, "cuda": 16_384}
"""Rows of the products that are measured: a chunk on a CPU, and the positions of about 500 ASVs on a GPU."""
TIMED_ROUNDS, TIMED_SECONDS = 9, 0.1
"""Rounds of products, and the time after which no other round begins: so slow a product needs no more."""
TIMED_PASSES, TIMED_SAMPLES = 3, 8
"""Rounds of passes after the first, which pays for code that is generated, and the samples in each."""


def settle_precision(config: RunnableT, build: Build, observer: Observer, world: World = ALONE) -> RunnableT:
    """The configuration with fp32 or bf16 in place of `auto`, the same on all ranks; says which, if it is bf16.

    The configuration that a run records has the choice, so what comes later (--resume, replay) does not choose again.
    """
    if config.optim.precision != "auto":
        return config
    chosen = False
    if world.first:
        with observer.optional("the choice of --precision"):
            chosen = chooses_bf16(config, build, observer)
    chosen = bool(world.broadcast_first([chosen])[0])
    return replace(config, optim=replace(config.optim, precision="bf16" if chosen else "fp32"))


def chooses_bf16(config: PretrainConfig | FinetuneConfig, build: Build, observer: Observer) -> bool:
    """Whether training is faster in bfloat16 here, and the first batch comes out alike in it.

    Most machines are told by matrix products alone, before anything is built: their gain is that of a step at most.
    """
    device = resolve_device(config.run.device)
    if config.run.max_memory is not None and device.type == "cpu":  # the code that is generated for it takes 100 MB
        return False
    if product_gain(device, config.model) < WORTHWHILE_GAIN:
        return False
    learner, batches = build()
    limit_memory(learner, batches, config.run.max_memory)
    batch = batches[0]
    parts = max(learner.parts, -(-len(batch.sample_ids) // TIMED_SAMPLES))
    few = split_batch(batch, parts)[0].to(device)
    gain = pass_gain(learner, few)
    if gain < WORTHWHILE_GAIN:
        return False
    inputs, model = learner.objective.inputs(batch.to(device)), learner.model.eval()
    found = bisect_precision(model, lambda version: version(inputs), torch.bfloat16, autocast_model)
    error, fine = found.errors.get("bfloat16", float("nan")), found.verdict == "fine"
    observer.say(precision_text(gain, error, fine))
    return fine


def product_gain(device: torch.device, model: ModelConfig) -> float:
    """Speed-up of the largest products of a model in bfloat16 over single precision: the median of several rounds.

    Takes about 20 ms, or one round where the processor only imitates bfloat16. It is measured because hardware flags do
    not show the speed. A round in which the clock stands still counts as 1.
    """
    limit_product_caches()
    shapes = (PRODUCT_ROWS[device.type], model.dim), (model.dim, model.ffn_ratio * model.dim)
    single, half = (
        [torch.ones(*shape, dtype=dtype, device=device) for shape in shapes]
        for dtype in (torch.float32, torch.bfloat16)
    )
    seconds: list[tuple[float, float]] = []
    with keep_in_one_thread():  # of several threads, each counts the time in which it waits for the others
        while len(seconds) < TIMED_ROUNDS and sum(map(sum, seconds)) < TIMED_SECONDS:
            seconds.append((time_product(*single), time_product(*half)))
    return median_gain(seconds)


def time_product(left: Tensor, right: Tensor) -> float:
    """Seconds that a matrix product takes."""
    start = now(left.device)
    (left @ right)[0, 0].item()
    return lasted(now(left.device) - start)


def pass_gain(learner: Learner, batch: Batch) -> float:
    """Speed-up of a forward and backward pass of a batch in bfloat16: the median of several rounds."""
    formats: tuple[Precision, ...] = "fp32", "bf16"
    versions = [replace(learner, optim=replace(learner.optim, precision=name)) for name in formats]
    with keep_in_one_thread():
        rounds = [[time_pass(version, batch) for version in versions] for _ in range(1 + TIMED_PASSES)]
    return median_gain([(slow, fast) for slow, fast in rounds[1:]])


def time_pass(learner: Learner, batch: Batch) -> float:
    """Seconds of a forward and backward pass of a batch; nothing is updated."""
    start = now(learner.device)
    add_gradients(learner, batch, 1.0)
    if learner.device.type == "cuda":
        torch.cuda.synchronize(learner.device)
    seconds = lasted(now(learner.device) - start)
    learner.optimizer.zero_grad(set_to_none=True)
    return seconds


def now(device: torch.device) -> float:
    """A clock in seconds; for a CPU the CPU time of this thread, because other processes may share the core.

    The CPU time of a process moves in ticks of several milliseconds where it is limited (`ulimit -t`).
    """
    return time.thread_time() if device.type == "cpu" else time.perf_counter()


def median_gain(seconds: Sequence[tuple[float, float]]) -> float:
    """Median of the ratios of two times; 1 where the clock stood still."""
    return statistics.median(slow / fast if min(slow, fast) > SHORTEST else 1.0 for slow, fast in seconds)


def precision_text(gain: float, error: float, fine: bool) -> str:
    """One line on the choice: gain of a training step, and relative error of the first batch."""
    measured = f"training is {gain:.1f} times as fast in bfloat16 here"
    if fine:
        return f"precision: bf16 ({measured}, the first batch differs by {error:.1%}); --precision fp32 is without it"
    return f"precision: fp32 ({measured}, but the first batch differs by {error:.1%}; `aam precision` says where)"
