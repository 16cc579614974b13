"""Parameter groups for AdamW: weight decay on matrices only, decided by module type and rank, never by name.

Names mislead: `net.1.weight` may be a LayerNorm in a Sequential, and `subnet.weight` holds the letters "bn".
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

NORMS_AND_EMBEDDINGS: tuple[type[nn.Module], ...] = (
    nn.LayerNorm,
    nn.RMSNorm,
    nn.GroupNorm,
    _NormBase,  # every BatchNorm, SyncBatchNorm and InstanceNorm
    nn.Embedding,
    nn.EmbeddingBag,
)
# A matrix with one row or column is still a matrix here: nn.Linear(128, 1).weight decays like any other.
MATRIX_MODULES: tuple[type[nn.Module], ...] = (
    nn.Linear,
    nn.Bilinear,
    nn.modules.conv._ConvNd,
    nn.RNNBase,
    nn.RNNCellBase,
)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for an optimiser, `decay` and `no_decay`, that hold every trainable tensor of the model exactly once.

    No decay for norms, embeddings and tensors of rank 0 or 1. Outside of linear layers and convolutions the same holds
    for tensors with at most one axis longer than 1, e.g. a learned token `[1, 1, D]`. A tensor shared by several
    modules is listed once; it does not decay if one of them is a norm or an embedding. Each group has `names` besides
    `params`; a group without tensors is left out.
    """
    names: dict[Tensor, str] = {}  # tensors hash by identity
    decays: dict[Tensor, bool] = {}
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                names.setdefault(parameter, f"{path}.{name}" if path else name)
                decays[parameter] = decays.get(parameter, True) and _decays(module, parameter)
    groups = []
    for group, wanted, decay in (("decay", True, weight_decay), ("no_decay", False, 0.0)):
        params = [parameter for parameter, flag in decays.items() if flag is wanted]
        if params:
            groups.append({"params": params, "weight_decay": decay, "name": group, "names": [names[p] for p in params]})
    return groups


def _decays(module: nn.Module, parameter: Tensor) -> bool:
    if isinstance(module, NORMS_AND_EMBEDDINGS) or parameter.dim() <= 1:
        return False
    return isinstance(module, MATRIX_MODULES) or sum(size > 1 for size in parameter.shape) > 1
