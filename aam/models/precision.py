"""The precision of sums and differences that half precision would spoil."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_single(tensor: Tensor) -> Tensor:
    """In single precision where it is in less; a model in double precision stays in it."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
