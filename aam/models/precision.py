"""In which precision matrix products are made, and what half precision would spoil."""

from __future__ import annotations

import torch
from torch import Tensor

from aam.config import Precision

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def products_in(precision: Precision, device: torch.device) -> torch.autocast:
    """Where matrix products are made in this precision; fp32 leaves all as it is."""
    return torch.autocast(device.type, dtype=DTYPES[precision], enabled=precision != "fp32")


def at_least_single(tensor: Tensor) -> Tensor:
    """In single precision where it is in less; a model in double precision stays in it."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
