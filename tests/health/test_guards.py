"""Guards name the tensor, never swallow a NaN, and count what they change."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from aam.errors import NonFiniteError
from aam.health.guards import (
    Interventions,
    assert_finite,
    check_gradients,
    clamp_and_check,
    clamp_outputs,
    sanitize_gradients,
)


def test_assert_finite_says_name_shape_and_statistics():
    x = torch.tensor([[1.0, math.nan], [math.inf, 3.0]])
    with pytest.raises(NonFiniteError) as caught:
        assert_finite("nuc_pred", x)
    assert str(caught.value) == (
        "NaN values found in nuc_pred with shape torch.Size([2, 2]): "
        "min=1.000000, max=3.000000, mean=2.000000 over finite values, 1 NaN and 1 Inf of 4"
    )
    with pytest.raises(NonFiniteError, match=r"^Inf values found in y with shape torch.Size\(\[1\]\)"):
        assert_finite("y", torch.tensor([-math.inf]))
    with pytest.raises(ValueError):  # what callers of plain PyTorch catch
        assert_finite("y", torch.tensor(math.nan))


@pytest.mark.parametrize(
    "tensor", [torch.zeros(0), torch.ones(2, dtype=torch.bool), torch.tensor(3), torch.ones(2).half()]
)
def test_assert_finite_accepts_finite_tensors(tensor):
    assert_finite("x", tensor)


def test_clamp_never_hides_nan():
    with pytest.raises(NonFiniteError, match="NaN values found in logits"):
        clamp_and_check(torch.tensor([1.0, math.nan]), -2, 2, "logits")


def test_clamp_counts_calls_that_changed_something():
    counter = Interventions(budget=0.5)
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    assert torch.equal(clamp_and_check(x, -2, 2, interventions=counter), x)
    assert counter.total == 0
    y = clamp_and_check(torch.tensor([-math.inf, 5.0, 1.0]), -2, 2, interventions=counter)
    assert y.tolist() == [-2.0, 2.0, 1.0]
    assert counter.state_dict() == {"clamp": 1}
    clamp_and_check(x * 3, -2, 2).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0]  # saturated: 3 and 6 are beyond 2


def test_check_gradients_names_the_exact_tensors():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2), nn.Linear(2, 1))
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    assert check_gradients(model).ok
    assert check_gradients(model).norm == pytest.approx(math.sqrt(6 + 3 + 6 + 2 + 2 + 1))
    model[1].weight.grad[0, 1] = math.nan
    model[2].bias.grad[:] = -math.inf
    model[0].bias.grad = None
    model[0].weight.grad.zero_()
    report = check_gradients(model)
    assert not report.ok and math.isnan(report.norm)
    assert {row.name: (row.nan, row.inf) for row in report.bad} == {"1.weight": (1, 0), "2.bias": (0, 1)}
    assert report.missing == ("0.bias",) and report.zero == ("0.weight",)
    assert "1.weight [2, 3]: 1 NaN, 0 Inf" in str(report)


def test_check_gradients_of_mixed_dtypes_and_of_nothing():
    assert check_gradients(nn.Identity()).ok
    model = nn.ModuleList([nn.Linear(2, 2).half(), nn.Linear(2, 2).bfloat16(), nn.Linear(2, 2).double()])
    for p in model.parameters():
        p.grad = torch.full_like(p, 3e4)  # its square is beyond the range of fp16
    model[2].bias.grad.fill_(1e30)  # and this one's beyond that of fp32
    assert check_gradients(model).ok and check_gradients(model).norm == pytest.approx(math.sqrt(2) * 1e30)


def test_one_nan_gradient_spreads_through_clipping_so_the_check_comes_first():
    model = nn.Linear(2, 2)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    model.bias.grad[0] = math.nan
    assert [row.name for row in check_gradients(model).bad] == ["bias"]
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    assert [row.name for row in check_gradients(model).bad] == ["weight", "bias"]


def test_sanitising_is_counted_and_reported():
    model = nn.Linear(2, 2)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    model.bias.grad[0] = math.inf
    counter = Interventions(budget=0.0)
    assert [row.name for row in sanitize_gradients(model, counter).bad] == ["bias"]
    assert model.bias.grad.tolist() == [0.0, 1.0]
    assert counter.state_dict() == {"sanitised gradient": 1}


def test_budget_stops_the_run():
    counter = Interventions(budget=0.001)
    counter.add("skipped step")
    counter.check(steps=1000)  # 1 of 1,000 is the budget
    counter.add("clamp", 2)
    with pytest.raises(NonFiniteError, match=r"3 interventions in 1,000 steps \(2 clamp, 1 skipped step\)") as caught:
        counter.check(steps=1000)
    assert caught.value.exit_code == 3
    other = Interventions(budget=0.001)
    other.load_state_dict(counter.state_dict())
    assert other.line(2000).startswith("3 interventions in 2,000 steps")


def test_clamped_outputs_are_counted_and_nan_is_not_hidden():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    counter = Interventions(budget=0.0)
    handles = clamp_outputs(model.named_children(), 5.0, counter)
    model(torch.ones(1, 2))
    assert counter.total == 0
    model[1].bias.data[:] = 100.0
    assert model(torch.ones(1, 2)).tolist() == [[5.0, 5.0]] and counter.state_dict() == {"clamp": 1}
    model[0].weight.data[0, 0] = math.nan
    with pytest.raises(NonFiniteError, match="NaN values found in the output of 0 with shape"):
        model(torch.ones(1, 2))
    for handle in handles:
        handle.remove()
    assert model(torch.ones(1, 2)).isnan().any()
