"""The optimiser of a model, the learning rate as a pure function of the step, and the scale of losses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from aam.config import OptimConfig, TrainingPrecision
from aam.health.groups import parameter_groups
from aam.health.stats import gather_tensor, is_divided
from aam.models.devices import set_product_precision, to_single_precision
from aam.models.layers import Block
from aam.models.mlp_encoder import Layers

STEP_KEY = "step"
"""What AdamW keeps of a parameter that has no parts."""
Layout = Callable[[Tensor, Tensor], Tensor]
"""A tensor, and another of as many elements, to the first laid out as the second is."""
Group = dict[str, Any]
ORTHOGONAL = "orthogonal"
"""Key of a group that tells whether Muon moves it."""
MUON_RATE = 3.0
"""Learning rate of the matrices over that of the rest; the figures are in the experiment log."""
MOMENTUM = 0.95
NEWTON_SCHULZ_ROUNDS = 5
QUINTIC = 3.4445, -4.7750, 2.0315
"""Coefficients of x, x^3 and x^5, from Jordan et al.: steep at 0, and from then on singular values of 0.7 to 1.2."""
AS_ADAMW = 0.2
"""Root mean square of an update of AdamW, from Liu et al."""
MAX_SINGULAR_VALUE = 1.25
"""Largest singular value that is left; by the polynomial 1.21, and rounding."""
MIN_NORM = 1e-7
MOMENTS = "momentum"
MODEST_SCALE = 1024.0
"""At this scale of losses gradients of a sound model stay in the range of fp16: for checks, which look for no other."""


def lay_out_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Distribute a whole tensor like another tensor, which may be sharded among processes."""
    if tensor.numel() != like.numel():
        return tensor  # loading it raises an error that names it
    tensor = tensor.reshape(like.shape)
    if not is_divided(like):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def local_part(tensor: Tensor) -> Tensor:
    """The local shard of a sharded tensor; any other tensor unchanged."""
    return tensor.to_local() if is_divided(tensor) else tensor


def set_weights(model: nn.Module, tensors: Mapping[str, Tensor], layout: Layout = lay_out_like) -> None:
    """Load a state dict of whole tensors into a model, whose tensors may be sharded."""
    own = model.state_dict()
    model.load_state_dict({name: layout(tensor, own.get(name, tensor)) for name, tensor in tensors.items()})


def set_moments(optimizer: torch.optim.Optimizer, state: Mapping[str, Any], layout: Layout = lay_out_like) -> None:
    """Load a state dict of whole tensors into an optimiser, whose parameters may be sharded."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = {
        place: {name: t.reshape(()) if name == STEP_KEY else layout(t, parameters[place]) for name, t in of.items()}
        for place, of in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": moments})


def split_off_matrices(groups: Sequence[Group], model: nn.Module) -> Iterator[Group]:
    """Split the parameter groups: matrices of transformer blocks and MLPs form their own groups."""
    linear = (layer for part in model.modules() if isinstance(part, (Block, Layers)) for layer in part.modules())
    matrices = {layer.weight for layer in linear if isinstance(layer, nn.Linear)}
    for group in groups:
        pairs = list(zip(group["params"], group["names"], strict=True))
        for apart in (False, True):
            some = [(parameter, name) for parameter, name in pairs if (parameter in matrices) is apart]
            if some:
                params, names = map(list, zip(*some, strict=True))
                scale = group.get("scale", 1.0) * (MUON_RATE if apart else 1.0)
                yield group | {"params": params, "names": names, "scale": scale, ORTHOGONAL: apart}


class MuonAdamW(torch.optim.AdamW):
    """`torch.optim.AdamW` that moves its groups of `orthogonal` matrices by Muon, with products in a precision."""

    found_inf: Tensor | None = None
    """1 on the device where this update is to be left out; set and deleted by the guard, as torch's GradScaler does."""

    def __init__(self, groups: Sequence[Group], lr: float, precision: TrainingPrecision):
        super().__init__([{ORTHOGONAL: False} | group for group in groups], lr=lr, betas=(0.9, 0.98), fused=True)
        self.precision = precision

    def largest_move(self) -> float:
        """Largest change of a weight by one update at the present learning rates, without decay; for AdamW the rate.

        No entry of a matrix is larger than its largest singular value.
        """
        return max(
            group["lr"]
            * (AS_ADAMW * MAX_SINGULAR_VALUE * math.sqrt(longest_side(group["params"])) if group[ORTHOGONAL] else 1.0)
            for group in self.param_groups
        )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As in torch; raises ValueError for the state of an optimiser that updated matrices by AdamW."""
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
        """Update all matrices of one shape; if they are sharded, only these are gathered at a time."""
        parameters = [matrix for matrix in group["params"] if matrix.shape == shape and matrix.grad is not None]
        directions = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                # AdamW asks every state that it loads for its `step`; nothing here depends on one.
                state |= {STEP_KEY: torch.zeros(()), MOMENTS: torch.zeros_like(parameter)}
            momentum = state[MOMENTS]
            self._put(momentum, momentum.lerp(parameter.grad, 1 - MOMENTUM))
            directions.append(gather_tensor(parameter.grad.lerp(momentum, MOMENTUM)))
        with set_product_precision(self.precision, directions[0].device):
            orthogonal = newton_schulz(torch.stack(directions))
        rate = group["lr"]
        size = rate * AS_ADAMW * math.sqrt(max(shape))
        for parameter, direction in zip(parameters, orthogonal, strict=True):
            decayed = parameter * (1 - rate * group["weight_decay"])
            self._put(parameter, decayed - lay_out_like(direction.to(parameter.dtype), parameter) * size)

    def _put(self, tensor: Tensor, value: Tensor) -> None:
        """Write the new value of a tensor, unless this update is skipped."""
        old, new = local_part(tensor), local_part(value)
        old.copy_(new if self.found_inf is None else torch.where(self.found_inf == 0, new, old))


def longest_side(matrices: Sequence[Tensor]) -> int:
    """The longest side of these matrices."""
    return max(max(matrix.shape) for matrix in matrices)


def newton_schulz(matrices: Tensor) -> Tensor:
    """Orthogonalise matrices [n, a, b] by Newton-Schulz iteration: their singular values become about 1."""
    if matrices.shape[1] > matrices.shape[2]:
        return newton_schulz(matrices.mT).mT
    one, three, five = QUINTIC
    found = to_single_precision(matrices)
    found = found / torch.linalg.matrix_norm(found, keepdim=True).clamp_min(MIN_NORM)
    for _ in range(NEWTON_SCHULZ_ROUNDS):
        gram = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=three, alpha=five), found, beta=one)
    return found


def learning_rate(step: int, horizon: int, config: OptimConfig) -> float:
    """Learning rate of update `step` (from 0) of `horizon`: rises linearly to the peak, then falls linearly to 0.

    Warm-up is a fraction of the run. The rate of the first update is above 0.
    """
    warmup = config.warmup_fraction * horizon
    if step < warmup:
        return config.lr * min(1.0, (step + 1) / warmup)
    progress = min(1.0, (step - warmup) / max(1.0, horizon - warmup))
    return config.lr * (1 - progress)


def build_optimizer(model: nn.Module, config: OptimConfig) -> MuonAdamW:
    """Build the configured optimiser, with weight decay on matrices only."""
    return optimizer_for_groups(parameter_groups(model, config.weight_decay), model, config)


def optimizer_for_groups(groups: Sequence[Group], model: nn.Module, config: OptimConfig) -> MuonAdamW:
    """Build the configured optimiser for parameter groups that have their weight decay."""
    groups = list(split_off_matrices(groups, model)) if config.optimizer == "muon" else groups
    return MuonAdamW(groups, config.lr, config.precision)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all groups, times the `scale` of a group that has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("scale", 1.0)


def loss_scaler(config: OptimConfig, device: torch.device, start: float = 2.0**16) -> torch.amp.GradScaler:
    """Scales losses by `start` at first, so that gradients of fp16 do not vanish; does nothing in other precisions.

    If gradients overflow at this scale, a run halves the scale and continues; that is no fault.
    """
    return torch.amp.GradScaler(device.type, init_scale=start, enabled=config.precision == "fp16")
