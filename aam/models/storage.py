"""The number format of weights on disk."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def in_half_size(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by name with matrices in bfloat16, which takes half the space; `load_state_dict` takes them as they are.

    Vectors and scalars stay as they are: they are few, and norms, biases and fitted factors count on their precision.
    """
    return {
        name: (tensor.to(torch.bfloat16) if tensor.ndim > 1 and tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in weights.items()
    }
