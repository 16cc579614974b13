"""AdamW, and Muon for the matrices of encoders, in one optimiser.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) moves a matrix along its momentum made orthogonal:
all singular values become about 1, so that rare directions learn at the pace of common ones. Updates have the size of
AdamW's (Liu et al. 2025, arXiv:2502.16982, section 2.2), so that rates and decay mean the same for both.

`torch.optim.Muon` is not used: it always rounds to bfloat16, by which ranks and a single process would part in single
precision too; it cannot leave out an update that is not finite unless the host looks; and it knows no tensors that are
divided among ranks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from aam.config import Precision
from aam.health.stats import whole
from aam.models.layers import Block
from aam.models.mlp_encoder import Layers
from aam.models.precision import at_least_single, products_in
from aam.training.parts import STEP, own_part, placed

Group = dict[str, Any]

ORTHOGONAL = "orthogonal"
"""Key of a group that tells whether Muon moves it."""
SCALE = 3.0
"""Learning rate of the matrices over that of the rest; the figures are in the experiment log."""
MOMENTUM = 0.95
ROUNDS = 5
QUINTIC = 3.4445, -4.7750, 2.0315
"""Coefficients of x, x^3 and x^5, from Jordan et al.: steep at 0, and from then on singular values of 0.7 to 1.2."""
AS_ADAMW = 0.2
"""Root mean square of an update of AdamW, from Liu et al."""
LARGEST = 1.25
"""Largest singular value that is left; by the polynomial 1.21, and rounding."""
TINY = 1e-7
MOMENTS = "momentum"


def matrices_apart(groups: Sequence[Group], model: nn.Module) -> Iterator[Group]:
    """The groups of a model, the matrices of its transformer blocks and MLPs in groups of their own."""
    linear = (layer for part in model.modules() if isinstance(part, (Block, Layers)) for layer in part.modules())
    matrices = {layer.weight for layer in linear if isinstance(layer, nn.Linear)}
    for group in groups:
        pairs = list(zip(group["params"], group["names"], strict=True))
        for apart in (False, True):
            some = [(parameter, name) for parameter, name in pairs if (parameter in matrices) is apart]
            if some:
                params, names = map(list, zip(*some, strict=True))
                scale = group.get("scale", 1.0) * (SCALE if apart else 1.0)
                yield group | {"params": params, "names": names, "scale": scale, ORTHOGONAL: apart}


class MuonAdamW(torch.optim.AdamW):
    """`torch.optim.AdamW` that moves its groups of `orthogonal` matrices by Muon, with products in a precision."""

    found_inf: Tensor | None = None
    """1 on the device where this update is to be left out; set and deleted by whoever knows, as for all of torch's."""

    def __init__(self, groups: Sequence[Group], lr: float, precision: Precision):
        super().__init__([{ORTHOGONAL: False} | group for group in groups], lr=lr, betas=(0.9, 0.98), fused=True)
        self.precision = precision

    def reach(self) -> float:
        """How far an update can move a weight at the rates of now, weight decay aside; of AdamW that is the rate.

        No entry of a matrix is larger than its largest singular value.
        """
        return max(
            group["lr"] * (AS_ADAMW * LARGEST * math.sqrt(longest(group["params"])) if group[ORTHOGONAL] else 1.0)
            for group in self.param_groups
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As torch's; raises ValueError for what AdamW alone has kept of a matrix."""
        super().load_state_dict(state)
        matrices = (matrix for group in self.param_groups if group[ORTHOGONAL] for matrix in group["params"])
        if any(self.state[matrix] and MOMENTS not in self.state[matrix] for matrix in matrices if matrix in self.state):
            raise ValueError("its optimiser was AdamW alone, and this one has Muon for matrices")

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        groups = self.param_groups
        self.param_groups = [group for group in groups if not group[ORTHOGONAL]]
        try:
            loss = super().step(closure)
        finally:
            self.param_groups = groups
        for group in groups:
            if group[ORTHOGONAL]:
                for shape in dict.fromkeys(matrix.shape for matrix in group["params"] if matrix.grad is not None):
                    self._move(group, shape)
        return loss

    def _move(self, group: Group, shape: torch.Size) -> None:
        """Update the matrices of a shape; of those that are divided among ranks no others are whole meanwhile."""
        parameters = [matrix for matrix in group["params"] if matrix.shape == shape and matrix.grad is not None]
        directions = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                # AdamW asks every state that it loads for its `step`; nothing here depends on one.
                state |= {STEP: torch.zeros(()), MOMENTS: torch.zeros_like(parameter)}
            momentum = state[MOMENTS]
            self._put(momentum, momentum.lerp(parameter.grad, 1 - MOMENTUM))
            directions.append(whole(parameter.grad.lerp(momentum, MOMENTUM)))
        with products_in(self.precision, directions[0].device):
            orthogonal = newton_schulz(torch.stack(directions))
        rate = group["lr"]
        size = rate * AS_ADAMW * math.sqrt(max(shape))
        for parameter, direction in zip(parameters, orthogonal, strict=True):
            decayed = parameter * (1 - rate * group["weight_decay"])
            self._put(parameter, decayed - placed(direction.to(parameter.dtype), parameter) * size)

    def _put(self, tensor: Tensor, value: Tensor) -> None:
        """Write a tensor's new value, unless this update is to be left out."""
        old, new = own_part(tensor), own_part(value)
        old.copy_(new if self.found_inf is None else torch.where(self.found_inf == 0, new, old))


def longest(matrices: Sequence[Tensor]) -> int:
    """The longest side of any of them."""
    return max(max(matrix.shape) for matrix in matrices)


def newton_schulz(matrices: Tensor) -> Tensor:
    """Matrices [n, a, b] times an odd polynomial of them that takes singular values to about 1, `ROUNDS` times."""
    if matrices.shape[1] > matrices.shape[2]:
        return newton_schulz(matrices.mT).mT
    one, three, five = QUINTIC
    found = at_least_single(matrices)
    found = found / torch.linalg.matrix_norm(found, keepdim=True).clamp_min(TINY)
    for _ in range(ROUNDS):
        gram = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=three, alpha=five), found, beta=one)
    return found
