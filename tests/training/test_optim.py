"""Learning rates against a list written by hand, and an optimiser whose first update moves the weights."""

from __future__ import annotations

import pytest
import torch
from generated_samples import tiny_model
from hypothesis import given
from hypothesis import strategies as st

from aam.config import OptimConfig
from aam.models.pretrain_model import PretrainModel
from aam.training.optim import build_optimizer, learning_rate, set_learning_rate


def test_rates_of_a_short_run_by_hand():
    # Ten updates, four of them warm-up: 1/4, 2/4, 3/4, 4/4 of the peak; then a line down over the six that are left.
    wanted = [1 / 4, 2 / 4, 3 / 4, 4 / 4, 6 / 6, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    config = OptimConfig(lr=2.0, warmup_fraction=0.4)
    assert [learning_rate(step, 10, config) for step in range(10)] == pytest.approx([2 * rate for rate in wanted])


@pytest.mark.parametrize(("fraction", "first"), [(0.0, 1.0), (1.0, 0.2), (0.1, 1.0)])
def test_warm_up_of_nothing_and_of_the_whole_run(fraction: float, first: float):
    config = OptimConfig(lr=1.0, warmup_fraction=fraction)
    rates = [learning_rate(step, 5, config) for step in range(5)]
    assert rates[0] == pytest.approx(first) and max(rates) == pytest.approx(1.0)


@given(step=st.integers(0, 10**5), horizon=st.integers(1, 10**5), fraction=st.floats(0.0, 1.0))
def test_every_update_of_a_run_moves_and_none_exceeds_the_peak(step: int, horizon: int, fraction: float):
    config = OptimConfig(lr=3e-3, warmup_fraction=fraction)
    rate = learning_rate(step, horizon, config)
    assert rate == learning_rate(step, horizon, config)
    assert 0.0 <= rate <= config.lr
    assert rate > 0.0 or step >= horizon


@given(horizon=st.integers(1, 10**4), fraction=st.floats(0.0, 1.0))
def test_warm_up_ends_within_the_run_and_the_rate_falls_after_it(horizon: int, fraction: float):
    config = OptimConfig(lr=1.0, warmup_fraction=fraction)
    steps = range(0, horizon, max(1, horizon // 50))
    rates = [learning_rate(step, horizon, config) for step in steps]
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1]) and rates[top:] == sorted(rates[top:], reverse=True)
    assert steps[top] <= fraction * horizon + max(1, horizon // 50)


def test_past_the_end_the_rate_is_0():
    assert learning_rate(20, 10, OptimConfig()) == pytest.approx(0.0)


def test_decay_is_on_matrices_alone_and_every_tensor_is_in_one_group():
    model = PretrainModel(tiny_model())
    optimizer = build_optimizer(model, OptimConfig(weight_decay=0.3, optimizer="adamw"))
    groups = {group["name"]: group for group in optimizer.param_groups}
    assert groups["decay"]["weight_decay"] == 0.3 and groups["no_decay"]["weight_decay"] == 0.0
    assert all(parameter.dim() == 2 for parameter in groups["decay"]["params"])
    names = groups["decay"]["names"] + groups["no_decay"]["names"]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    no_decay = set(groups["no_decay"]["names"])
    embeddings = {"asv_encoder.start.weight", "asv_encoder.base.weight"}
    norms = {name for name, _ in model.named_parameters() if "norm" in name}
    assert embeddings <= no_decay and norms <= no_decay


def test_the_rate_is_that_of_all_groups_and_the_first_update_moves_every_weight():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    optimizer = build_optimizer(model, OptimConfig(weight_decay=0.0))
    set_learning_rate(optimizer, 0.125)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    model(torch.randn(8, 3)).pow(3).sum().backward()
    optimizer.step()
    for parameter, start in zip(model.parameters(), before, strict=True):
        # Adam's first update is the rate in the direction of the sign, whatever the size of the gradient.
        moved = (parameter - start).abs()
        assert moved.max().item() == pytest.approx(0.125, rel=1e-3)
