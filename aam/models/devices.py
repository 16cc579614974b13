"""Device and precision of matrix products."""

from __future__ import annotations

import os
import time

import torch
from torch import Tensor

from aam.config import Precision
from aam.errors import ConfigError

PRECISION_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
TIMED_ROUNDS, TIMED_SECONDS = 5, 0.05
"""Rounds of a measurement of speed, and the time after which no other round begins: so slow a product needs no more."""


def limit_product_caches() -> None:
    """Limit the caches of torch and oneDNN to 32 shapes of products, unless the user has set another limit.

    In bfloat16 on CPUs, oneDNN generates code and work space for each new number of rows, and by default both libraries
    keep those of the last 1,024 shapes: 400 different numbers of rows in one layer hold 2.5 GB. Batches rarely repeat a
    size, so a limit of 32 does not slow down a step. Must be called before the first product of a process, which reads
    the limits; each encoder calls it when it is built.
    """
    for cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(cache, "32")


def resolve_device(name: str) -> torch.device:
    """The device with this name; `auto` prefers CUDA. Raises ConfigError for an absent device."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"--device is {name!r}, expected auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device is {name!r}, expected auto, cpu, cuda or cuda:N")
    found = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        raise ConfigError(
            f"--device is {name!r}, but torch {torch.__version__} finds {found} CUDA devices; use --device cpu or auto"
        )
    return device


def set_product_precision(precision: Precision, device: torch.device) -> torch.autocast:
    """Context in which matrix products are computed in this precision; fp32 changes nothing."""
    return torch.autocast(device.type, dtype=PRECISION_DTYPES[precision], enabled=precision != "fp32")


def measure_bf16_gain(device: torch.device) -> float:
    """Speed-up of products of the size of a chunk in bfloat16 over single precision: the best of several trials.

    Takes about 10 ms, or one round where the processor only imitates bfloat16. It is measured because hardware flags do
    not show the speed. 1 if the clock is too coarse, as that of a process with a limit of CPU time is.
    """
    limit_product_caches()
    single, half = (
        [torch.ones(*shape, dtype=dtype, device=device) for shape in ((2048, 128), (128, 512))]
        for dtype in (torch.float32, torch.bfloat16)
    )
    seconds: list[tuple[float, float]] = []
    while len(seconds) < TIMED_ROUNDS and sum(map(sum, seconds)) < TIMED_SECONDS:
        seconds.append((time_product(*single), time_product(*half)))
    slowest, fastest = min(slow for slow, _ in seconds), min(fast for _, fast in seconds)
    return slowest / fastest if slowest > 0 and fastest > 0 else 1.0


def time_product(left: Tensor, right: Tensor) -> float:
    """Time of a matrix product in seconds; on a CPU its CPU time, because other processes may share the core."""
    clock = time.process_time if left.device.type == "cpu" else time.perf_counter
    start = clock()
    (left @ right)[0, 0].item()
    return clock() - start


def to_single_precision(tensor: Tensor) -> Tensor:
    """Convert half precision to single precision; double precision stays."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
