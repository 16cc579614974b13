"""What a device would notice that the host has to wait for: tensors left behind on the host, and tensors read by it.

Tensors of torch's `meta` device have no values, so whoever reads one is refused. There is no autocast on that device.
"""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from built_learner import built
from generated_samples import community, tiny_model
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aam.config import LossConfig, OptimConfig
from aam.models import chunks
from aam.models.pretrain_model import PretrainModel
from aam.training.finetune import build_objective
from aam.training.losses import TargetScale
from aam.training.objective import PretrainObjective
from aam.training.optim import ORTHOGONAL, build_optimizer, loss_scaler
from aam.training.step import Learner, add_gradients

FAR = torch.device("meta")
COMMUNITY = community(samples=12, asvs=40, richness=8)


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices; copies and single numbers may come from the host."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.dim()]
        devices = {tensor.device.type for tensor in tensors}
        assert len(devices) < 2 or "copy" in str(func), f"{func} of tensors on {devices}"
        return func(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def far_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)
    monkeypatch.setitem(chunks.LIMITS, FAR.type, chunks.LIMITS["cuda"])


def test_the_pretend_device_refuses_to_be_read_and_mixed():
    with OneDevice():
        with pytest.raises(AssertionError, match="of tensors on"):
            torch.ones(2, device=FAR) + torch.ones(2)
        with pytest.raises(NotImplementedError):
            torch.ones(2, device=FAR).nonzero()
        with pytest.raises(RuntimeError):
            torch.ones(1, device=FAR).item()


@pytest.mark.parametrize("model", [{}, {"asv_encoder": "mlp"}, {"dropout": 0.1, "asv_dropout": 0.1}])
def test_a_pretraining_step_stays_on_its_device_unread(model: dict[str, Any]):
    optim = OptimConfig()
    model = PretrainModel(tiny_model(**model)).to(FAR)
    objective = PretrainObjective(LossConfig(), TargetScale(1.0, 1.0, 1.0, 1.0))
    learner = Learner(model, build_optimizer(model, optim), loss_scaler(optim, FAR), optim, objective, FAR)
    batch = COMMUNITY.batch(range(6))
    with OneDevice():
        _, terms = add_gradients(learner, batch, 1)
        learner.optimizer.found_inf = torch.zeros((), device=FAR)
        groups = learner.optimizer.param_groups  # torch's AdamW has no fused update for this device
        learner.optimizer.param_groups = [group for group in groups if group[ORTHOGONAL]]
        learner.optimizer.step()
    assert terms.device == FAR
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"task": "quantiles"},
        {"task": "classification", "class_weights": "balanced"},
        {"task": "ordinal"},
        {"freeze": True},
    ],
)
def test_a_step_of_fine_tuning_stays_on_its_device_unread(options: dict[str, Any]):
    config, learner, batches, _ = built(**options)
    model = learner.model.to(FAR)
    model.identity = model.identity.to(FAR)  # a table is opened on the device, which this one cannot
    learner = dataclasses.replace(learner, device=FAR, objective=build_objective(config, batches, FAR))
    with OneDevice():
        _, terms = add_gradients(learner, batches[0], 1)
    assert terms.device == FAR
    assert any(parameter.grad is not None for parameter in model.parameters())
