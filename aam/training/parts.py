"""Whole tensors into a model and an optimiser whose own may be divided among processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from aam.health.stats import divided

STEP = "step"
"""What AdamW keeps of a parameter that has no parts."""
Layout = Callable[[Tensor, Tensor], Tensor]
"""A tensor, and another of as many elements, to the first laid out as the second is."""


def placed(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor laid out as another is: divided among processes, or whole."""
    if tensor.numel() != like.numel():
        return tensor  # whoever takes it says what is wrong
    tensor = tensor.reshape(like.shape)
    if not divided(like):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def own_part(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor that is divided among several; any other as it is."""
    return tensor.to_local() if divided(tensor) else tensor


def set_weights(model: nn.Module, tensors: Mapping[str, Tensor], layout: Layout = placed) -> None:
    """Load a model's state dict, each tensor laid out like its own."""
    own = model.state_dict()
    model.load_state_dict({name: layout(tensor, own.get(name, tensor)) for name, tensor in tensors.items()})


def set_moments(optimizer: torch.optim.Optimizer, state: Mapping[str, Any], layout: Layout = placed) -> None:
    """Load an optimiser's state dict, each moment laid out like its parameter."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = {
        place: {name: t.reshape(()) if name == STEP else layout(t, parameters[place]) for name, t in of.items()}
        for place, of in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": moments})
