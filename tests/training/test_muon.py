"""Muon as torch has it, on matrices of transformer blocks alone, AdamW for the rest; bad updates are left out."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from generated_samples import tiny_model
from torch import Tensor, nn

from aam.config import OptimConfig
from aam.models.devices import set_product_precision
from aam.models.layers import Transformer
from aam.models.pretrain_model import PretrainModel
from aam.training.optim import (
    MAX_SINGULAR_VALUE,
    MUON_RATE,
    ORTHOGONAL,
    MuonAdamW,
    build_optimizer,
    newton_schulz,
    set_learning_rate,
)


def learner(**options) -> tuple[nn.Module, MuonAdamW]:
    """A transformer with a head, and its optimiser."""
    torch.manual_seed(0)
    model = nn.Sequential(Transformer(8, 2, 2, 2, 0.0), nn.Linear(8, 1))
    return model, build_optimizer(model, OptimConfig(**options))


def gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("shape", [(3, 6, 6), (2, 5, 12), (2, 12, 5)])
def test_singular_values_come_to_about_1_and_singular_vectors_stay(shape: tuple[int, ...]):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 1e3
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    turned = left.mT @ newton_schulz(matrices) @ right.mT
    found = turned.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(turned, torch.diag_embed(found), atol=1e-10, rtol=0)
    assert (values[:, 0] / values[:, -1]).min() > 2  # they were not alike before
    assert found.min() > 0.6 and found.max() < 1.25


def test_matrices_together_are_each_alone_and_0_stays_0():
    matrices = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(newton_schulz(matrices), torch.cat([newton_schulz(one[None]) for one in matrices]))
    assert torch.equal(newton_schulz(torch.zeros(1, 3, 4)), torch.zeros(1, 3, 4))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_changes_an_update_by_hundredths_and_bounds_it_alike(precision: str):
    matrices = torch.stack([torch.randn(64, 96, generator=torch.Generator().manual_seed(seed)) for seed in range(3)])
    with set_product_precision(precision, matrices.device):
        rounded = newton_schulz(matrices)
    for exact, found in zip(newton_schulz(matrices), rounded, strict=True):
        assert 1e-5 < float((found - exact).norm() / exact.norm()) < 0.05
        assert torch.linalg.svdvals(found.float())[0] < MAX_SINGULAR_VALUE


def test_only_linear_layers_of_blocks_are_orthogonal_and_nothing_is_lost():
    model = PretrainModel(tiny_model())
    optimizer = build_optimizer(model, OptimConfig(weight_decay=0.3))
    names = [name for group in optimizer.param_groups for name in group["names"]]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    found = {name for group in optimizer.param_groups if group[ORTHOGONAL] for name in group["names"]}
    layers = ("attention.project.weight", "attention.merge.weight", "feed.0.weight", "feed.2.weight")
    assert found == {name for name in names if ".blocks." in name and name.endswith(layers)} != set()
    assert {group["scale"] for group in optimizer.param_groups if group[ORTHOGONAL]} == {MUON_RATE}
    plain = build_optimizer(model, OptimConfig(optimizer="adamw"))
    assert not any(group[ORTHOGONAL] for group in plain.param_groups)


def test_layers_of_an_mlp_are_orthogonal_and_its_heads_are_not():
    optimizer = build_optimizer(PretrainModel(tiny_model(asv_encoder="mlp")), OptimConfig())
    found = {name for group in optimizer.param_groups if group[ORTHOGONAL] for name in group["names"]}
    assert {name for name in found if name.startswith("asv_encoder.")} == {
        f"asv_encoder.layers.{place}.weight" for place in (0, 2, 4)
    }


def test_updates_are_those_of_torch():
    """torch rounds to bfloat16 on the way, which changes an update by some hundredths of it."""
    (ours, optimizer), (theirs, _) = learner(), learner()
    set_learning_rate(optimizer, 1e-3)
    named = dict(theirs.named_parameters())
    muon, rest = (
        [named[name] for group in optimizer.param_groups if group[ORTHOGONAL] is kind for name in group["names"]]
        for kind in (True, False)
    )
    decays = {name: group["weight_decay"] for group in optimizer.param_groups for name in group["names"]}
    others = [{"params": [p], "weight_decay": decays[name]} for name, p in named.items() if any(p is r for r in rest)]
    references = [
        torch.optim.Muon(muon, lr=1e-3 * MUON_RATE, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=1e-3, betas=(0.9, 0.98)),
    ]
    start = {name: parameter.detach().clone() for name, parameter in ours.named_parameters()}
    for seed in range(4):
        for model, steps in ((ours, [optimizer]), (theirs, references)):
            gradients(model, seed)
            for one in steps:
                one.step()
    for name, parameter in ours.named_parameters():
        moved, wanted = parameter - start[name], named[name] - start[name]
        apart = float(((moved - wanted).norm() / wanted.norm()).detach())
        assert apart < (0.05 if any(named[name] is p for p in muon) else 1e-4), name


def state_of(model: nn.Module, optimizer: MuonAdamW) -> list[Tensor]:
    moments = [tensor for state in optimizer.state.values() for tensor in state.values()]
    return [tensor.detach().clone() for tensor in (*model.parameters(), *moments)]


def test_an_update_that_is_not_finite_is_left_out_without_asking_the_host():
    model, optimizer = learner()
    gradients(model, 0)
    optimizer.step()
    before = state_of(model, optimizer)
    gradients(model, 1)
    for parameter in model.parameters():
        parameter.grad[0] = torch.nan
    optimizer.found_inf = torch.ones(())
    optimizer.step()
    del optimizer.found_inf
    for was, now in zip(before, state_of(model, optimizer), strict=True):
        assert torch.equal(was, now)
    gradients(model, 2)
    optimizer.found_inf = torch.zeros(())
    optimizer.step()
    assert all(not torch.equal(was, p) for was, p in zip(before, model.parameters(), strict=False))


def test_taken_up_from_its_state_it_goes_on_to_the_bit():
    (model, optimizer), (other, again) = learner(), learner()
    for seed in range(2):
        gradients(model, seed)
        optimizer.step()
    other.load_state_dict(model.state_dict())
    again.load_state_dict(deepcopy(optimizer.state_dict()))  # it takes the tensors themselves
    for one, mover in ((model, optimizer), (other, again)):
        gradients(one, 2)
        mover.step()
    for left, right in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_no_weight_moves_further_than_the_optimiser_says(kind):
    """Gradients that never change drive weights furthest."""
    model, optimizer = learner(optimizer=kind, weight_decay=0.0)
    set_learning_rate(optimizer, 1e-3)
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    allowed = 0.0
    for _ in range(20):
        gradients(model, 0)
        allowed += optimizer.largest_move()
        optimizer.step()
    moved = max(float((parameter - start[name]).detach().abs().max()) for name, parameter in model.named_parameters())
    assert 0.2 * allowed < moved <= 1.001 * allowed


def test_the_state_of_adamw_alone_is_not_gone_on_from():
    model, muon = learner()
    kept = {"step": torch.ones(()), "exp_avg": torch.ones(1)}
    every = {place: kept for place, _ in enumerate(model.parameters())}
    with pytest.raises(ValueError, match="its optimiser was AdamW alone"):
        muon.load_state_dict(muon.state_dict() | {"state": every})
