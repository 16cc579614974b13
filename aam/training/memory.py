"""Keeps training steps within --max-memory: trial steps before the run measure plans, from the smallest upwards."""

from __future__ import annotations

import ctypes
import gc
import math
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from aam.corpus.batches import TrainingBatches, split_batch
from aam.corpus.dataset import Batch
from aam.errors import ConfigError
from aam.health.bundle import random_state, restore_random_state
from aam.models.chunks import LIMITS, keep_at_most
from aam.observer import Observer
from aam.text import counted
from aam.training.loop import TrainingRun
from aam.training.step import Learner, add_gradients, parts_of_step, score

GIGABYTE = 2**30
SMALLEST_PART = 2
"""Samples of a batch that are computed together at the least: UniFrac is a distance between two."""
KEPT_SHARES = (0.0, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Parts of the activations that are usually kept for the backward pass, which are tried; the rest is computed twice."""
HEADROOM = 0.1
"""Part of --max-memory that a plan leaves free: freed memory comes back in pieces, which do not always fit."""
GROWTH = 2.0
"""Memory that a plan adds, by what the plan before it has added: each doubles the samples or activations at a time."""
MOMENTS = 2 * 4
"""Bytes that the optimiser keeps of each number that learns, from its first update on."""
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Where Linux tells the memory of a process and its peak, and begins a new peak if `RESET_PEAK` is written."""
RESET_PEAK = "5"
_earlier_peaks = [0]
"""Peaks in bytes of this process that were measured before a new one was begun."""


@dataclass(frozen=True)
class MemoryPlan:
    """How a step is computed: each batch in `parts`, of its activations `kept` of those that are usually kept."""

    parts: int
    kept: float


def limit_memory(learner: Learner, batches: TrainingBatches, gigabytes: float | None) -> str:
    """Let the steps of a learner stay within so many GB of memory (None: any); returns what that takes, in words.

    Fewer activations are kept for the backward pass, which leaves all numbers as they are; if that is not enough,
    batches are computed in parts. A resumed learner is in as many parts as before or more. The plan is made on the
    samples with the most ASVs; weights and random numbers stay as they are. Raises ConfigError if nothing suffices.
    """
    if gigabytes is None or learner.planned_for == gigabytes:
        keep_at_most(learner.model, kept_numbers(learner, learner.kept))
        return ""
    batch, random, most = batches.richest(), random_state(), int((1 - HEADROOM) * gigabytes * GIGABYTE)
    learning = sum(p.numel() for p in learner.model.parameters() if p.requires_grad)
    moments = 0 if learner.optimizer.state else MOMENTS * learning
    plans = list(plans_upwards(len(batch.sample_ids), learner.parts))
    try:
        evaluated = measure_evaluation(learner, batch)
        measure_plan(learner, batch, plans[0])  # what is made once and stays: threads, generated code
        before = used_memory(learner.device) + moments
        plan, needed = largest_plan(
            plans, lambda plan: max(evaluated, measure_plan(learner, batch, plan)) + moments, before, most
        )
    finally:
        restore_random_state(random)
    if plan is None:
        raise ConfigError(too_little(gigabytes, needed, len(batch.sample_ids), plans[0]))
    learner.parts, learner.kept, learner.planned_for = plan.parts, plan.kept, gigabytes
    keep_at_most(learner.model, kept_numbers(learner, plan.kept))
    return f"--max-memory {gigabytes:g}: a step takes up to {needed / GIGABYTE:.2f} GB{plan_words(plan)}"


def keep_within_memory(run: TrainingRun, observer: Observer) -> None:
    """`limit_memory` of a run before its first step, by its --max-memory; says what it takes."""
    most = run.config.run.max_memory
    if most is None:
        limit_memory(run.learner, run.batches, most)
        return
    with observer.stage("trying how much memory a step takes"):
        text = limit_memory(run.learner, run.batches, most)
    if text:
        observer.say(text)


def plan_words(plan: MemoryPlan) -> str:
    """What a plan costs, to follow the memory that it takes."""
    words = []
    if plan.parts > 1:
        words.append(f"each batch is computed in {plan.parts} parts")
    if plan.kept == 0:
        words.append("activations are computed twice instead of kept")
    elif plan.kept < 1:
        words.append(f"{plan.kept:.0%} of the usual activations are kept, the others are computed twice")
    return "".join(f", {text}" for text in words)


def largest_plan(
    plans: Sequence[MemoryPlan], measure: Callable[[MemoryPlan], int], before: int, most: int
) -> tuple[MemoryPlan | None, int]:
    """The last of `plans` with which a step stays within `most` bytes, None if none does, and its bytes.

    `measure` tries a plan and returns its bytes; `before`: bytes that are used before the first. A plan is tried only
    if the growth that is expected of it fits, because the trial must not take more than `most` either.
    """
    needed, fitting = measure(plans[0]), plans[0]
    if needed > most:
        return None, needed
    for plan in plans[1:]:
        if needed + GROWTH * max(0, needed - before) > most or (more := measure(plan)) > most:
            break
        before, needed, fitting = needed, more, plan
    return fitting, needed


def plans_upwards(samples: int, fewest: int) -> Iterator[MemoryPlan]:
    """The plans for a batch of so many samples, from the one with the least memory to the one with the most.

    No plan has less than `fewest` parts.
    """
    parts = max(1, fewest)
    while samples // (2 * parts) >= SMALLEST_PART:
        parts *= 2
    while parts > fewest:
        yield MemoryPlan(parts, 0.0)
        parts //= 2
    yield from (MemoryPlan(max(1, fewest), kept) for kept in KEPT_SHARES)


def measure_evaluation(learner: Learner, batch: Batch) -> int:
    """Peak memory in bytes of the evaluation of a batch, which is never in parts."""
    release_memory()
    begin_peak(learner.device)
    with torch.no_grad():
        score(learner, batch)
    return newest_peak(learner.device)


def measure_plan(learner: Learner, batch: Batch, plan: MemoryPlan) -> int:
    """Peak memory in bytes of the largest part of a step on a batch; nothing is updated."""
    keep_at_most(learner.model, kept_numbers(learner, plan.kept))
    release_memory()
    begin_peak(learner.device)
    parts = split_batch(batch, plan.parts)
    part = max(parts, key=lambda some: int(some.valid.sum()))
    add_gradients(learner, part, parts_of_step(part, parts))
    add_gradients(learner, part, parts_of_step(part, parts))  # beside the gradients of the one before
    learner.optimizer.zero_grad(set_to_none=True)
    return newest_peak(learner.device)


def kept_numbers(learner: Learner, share: float) -> int:
    """Activations that an encoder keeps for the backward pass: a share of those it usually keeps on this device."""
    return int(share * LIMITS[learner.device.type].kept)


def too_little(gigabytes: float, needed: int, samples: int, plan: MemoryPlan) -> str:
    """Says that even the smallest plan, for a batch of so many samples, needs more than this --max-memory."""
    enough = math.ceil(100 * needed / GIGABYTE / (1 - HEADROOM)) / 100
    return (
        f"--max-memory {gigabytes:g}: found in a trial that the process takes {needed / GIGABYTE:.2f} GB for the "
        f"{counted(samples, 'samples')} with the most ASVs, in {counted(plan.parts, 'parts')}; give it {enough:g} or "
        "more, or use a smaller --batch-size, --token-limit, --max-bp or --preset"
    )


def peak_memory(device: torch.device) -> int:
    """Peak memory of the run in bytes: of the device on GPUs, else of the process."""
    return max(*_earlier_peaks, newest_peak(device))


def begin_peak(device: torch.device) -> None:
    """Forget the peak so far, where the system can; `peak_memory` remembers it."""
    _earlier_peaks.append(max(_earlier_peaks.pop(), newest_peak(device)))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            RESET.write_text(RESET_PEAK, encoding="ascii")


def newest_peak(device: torch.device) -> int:
    """Peak memory in bytes since `begin_peak`, or since the start of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes on Linux, bytes on macOS


def release_memory() -> None:
    """Give memory that is free back to the system, where the C library can: what came before the run has left some."""
    gc.collect()
    with suppress(OSError, AttributeError):  # other systems than Linux with glibc
        ctypes.CDLL(None).malloc_trim(0)


def used_memory(device: torch.device) -> int:
    """Bytes of memory that are used now; the peak where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    with suppress(OSError, StopIteration):
        lines = STATUS.read_text(encoding="utf-8").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmRSS")).split()[1])
    return newest_peak(device)
