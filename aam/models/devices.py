"""Where and in which precision matrix products are made, and what half precision would spoil."""

from __future__ import annotations

import os
import time

import torch
from torch import Tensor

from aam.config import Precision
from aam.errors import ConfigError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
ROUNDS = 5
LONG = 0.05
"""Seconds after which no other round is measured: where a product takes that long, chance does not decide."""


def limit_product_caches() -> None:
    """Let torch and oneDNN keep the code of 32 shapes of products, where the user has set no other number.

    For every new number of rows oneDNN makes code and work space of its own, in bfloat16 on CPUs, and both keep those
    of the last 1,024: 400 numbers of rows of one layer hold 2.5 GB. Batches are seldom of the same size, so they are
    not asked for again: with 32 a step takes no longer. Must be called before the first product of a process, when the
    numbers are read; each encoder does so when it is built.
    """
    for cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(cache, "32")


def resolve_device(name: str) -> torch.device:
    """The device of a name; `auto` prefers CUDA. Raises ConfigError for one that is not there."""
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


def products_in(precision: Precision, device: torch.device) -> torch.autocast:
    """Where matrix products are made in this precision; fp32 leaves all as it is."""
    return torch.autocast(device.type, dtype=DTYPES[precision], enabled=precision != "fp32")


def gain_of_bf16(device: torch.device) -> float:
    """How many times as fast products of the size of a chunk are in bfloat16 as in single precision: the best of some.

    Measured in about 10 ms, or one round where the processor only imitates bfloat16; what the hardware says of itself
    does not tell how fast it is.
    """
    limit_product_caches()
    single, half = (
        [torch.ones(*shape, dtype=dtype, device=device) for shape in ((2048, 128), (128, 512))]
        for dtype in (torch.float32, torch.bfloat16)
    )
    seconds: list[tuple[float, float]] = []
    while len(seconds) < ROUNDS and sum(map(sum, seconds)) < LONG:
        seconds.append((seconds_of(*single), seconds_of(*half)))
    return min(slow for slow, _ in seconds) / min(fast for _, fast in seconds)


def seconds_of(left: Tensor, right: Tensor) -> float:
    """Time of a matrix product, waited for; on a processor its own time, for others may have it meanwhile."""
    clock = time.process_time if left.device.type == "cpu" else time.perf_counter
    start = clock()
    (left @ right)[0, 0].item()
    return clock() - start


def at_least_single(tensor: Tensor) -> Tensor:
    """In single precision where it is in less; a model in double precision stays in it."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
