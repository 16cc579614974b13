"""Device and precision of matrix products."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from aam.config import Precision, TrainingPrecision
from aam.errors import ConfigError
from aam.text import one_line, shorten

PRECISION_DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SHORTEST = 1e-6
"""Seconds: the shortest time that counts as measured."""
REASON = 160
"""Characters of the reason of another library in a message."""


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


def refuse_uncompilable(device: torch.device) -> None:
    """Raise ConfigError where --compile cannot work, which needs a compiler; tries it on a few numbers."""
    try:
        torch.compile(torch.sin, fullgraph=True)(torch.ones(8, device=device))
    except Exception as error:
        reason = shorten(one_line(error).partition("Set TORCHDYNAMO_VERBOSE")[0].strip(), REASON)
        raise ConfigError(
            f"--compile does not work here ({reason}); install a C++ compiler such as g++ (CXX names another), or "
            "leave --compile out"
        ) from error


def is_single(precision: TrainingPrecision) -> bool:
    """Whether matrix products are in single precision; `auto` is, until a run has chosen."""
    return precision in ("fp32", "auto")


def set_product_precision(precision: TrainingPrecision, device: torch.device) -> torch.autocast:
    """Context in which matrix products are computed in this precision; single precision changes nothing."""
    if precision == "auto" or is_single(precision):
        return torch.autocast(device.type, dtype=torch.float32, enabled=False)
    return torch.autocast(device.type, dtype=PRECISION_DTYPES[precision])


def lasted(seconds: float) -> float:
    """A measured time that can be divided by: clocks of some machines stand still for a while."""
    return max(seconds, SHORTEST)


def to_single_precision(tensor: Tensor) -> Tensor:
    """Convert half precision to single precision; double precision stays."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
