"""The watch: every non-finite step is seen, spikes are told from noise, and the host reads as rarely as asked."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from aam.config import HealthConfig
from aam.health import watch
from aam.health.monitor import RATIO_EVERY, WINDOW


def feed(watcher, values, norm=1.0, first=0):
    readings = [watcher.record(first + i, torch.tensor([v]), torch.tensor(norm)) for i, v in enumerate(values)]
    return [reading for reading in readings if reading is not None]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("every", [1, 4])
def test_no_bad_step_is_missed(bad, every):
    watcher = watch(nn.Linear(2, 2), config=HealthConfig(watch_every=every))
    readings = feed(watcher, [1.0] * 9 + [bad] + [1.0] * 2)
    found = [entry for reading in readings for entry in reading.bad]
    assert [(step, name) for step, name, _ in found] == [(9, "loss")]
    assert len(readings) == 12 // every


def test_bad_gradient_norm_is_named():
    (reading,) = feed(watch(nn.Linear(2, 2)), [1.0], norm=math.nan)
    assert not reading.finite and str(reading) == "step 0: gradient norm is nan"


def test_a_norm_beyond_the_range_of_the_terms_is_no_fault():
    reading = watch(nn.Linear(2, 2)).record(1, torch.tensor([1.0]).half(), torch.tensor(1e5))
    assert reading.finite


def test_terms_are_named_in_their_order():
    watcher = watch(nn.Linear(2, 2), names=("loss", "unifrac", "bases"))
    reading = watcher.record(5, torch.tensor([1.0, math.inf, math.nan]), torch.tensor(1.0))
    assert [name for _, name, _ in reading.bad] == ["unifrac", "bases"]


def test_spikes_but_not_noise():
    noise = torch.randn(200, generator=torch.Generator().manual_seed(0)) * 0.1 + 2
    values = noise.tolist()
    assert not [spike for reading in feed(watch(nn.Linear(2, 2)), values) for spike in reading.spikes]
    values[150] = values[160] = 9.0
    watcher = watch(nn.Linear(2, 2))
    spikes = [spike for reading in feed(watcher, values) for spike in reading.spikes]
    assert [spike.step for spike in spikes] == [150, 160] and watcher.spikes == 2
    assert spikes[0].mean == pytest.approx(2, abs=0.1)


def test_what_is_usual_is_that_of_the_last_steps_whatever_came_before():
    noise = 0.7 + 1e-2 * torch.randn(WINDOW, generator=torch.Generator().manual_seed(0))
    spikes = [spike for r in feed(watch(nn.Linear(2, 2)), [1e12, *noise.tolist(), 0.8]) for spike in r.spikes]
    assert [(spike.step, spike.value) for spike in spikes] == [(WINDOW + 1, pytest.approx(0.8))]
    assert spikes[0].mean == pytest.approx(float(noise.mean()))
    assert spikes[0].sigmas == pytest.approx(float((0.8 - noise.mean()) / noise.std()), rel=1e-3)


def test_a_falling_or_constant_loss_has_no_spikes():
    assert not [s for r in feed(watch(nn.Linear(2, 2)), [5 * 0.98**i for i in range(200)]) for s in r.spikes]
    assert not [s for r in feed(watch(nn.Linear(2, 2)), [1.0] * 50 + [1.005] * 50) for s in r.spikes]


def test_one_host_read_in_k_steps():
    reads = []

    class Reads(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default):
                reads.append(func)
            return func(*args, **(kwargs or {}))

    watcher = watch(nn.Linear(2, 2), config=HealthConfig(watch_every=10))
    term, norm = torch.tensor([1.0]), torch.tensor(1.0)
    with Reads():
        readings = [watcher.record(step, term, norm) for step in range(9)]
    assert readings == [None] * 9 and not reads


def test_update_against_weight():
    model = nn.Linear(2, 2, bias=False)
    nn.init.constant_(model.weight, 1.0)  # norm 2
    model.weight.grad = torch.full((2, 2), 1.0)
    optimizer, watcher = torch.optim.SGD(model.parameters(), lr=0.01), watch(model)
    with watcher.update(RATIO_EVERY):
        optimizer.step()
    reading = watcher.record(0, torch.tensor([1.0]), torch.tensor(1.0))
    assert reading.ratios == {"weight": pytest.approx(0.01)}  # 0.02 / 2
    with watcher.update(1):
        optimizer.step()
    assert watcher.record(1, torch.tensor([1.0]), torch.tensor(1.0)).ratios == {}


def test_weights_that_begin_at_zero_have_no_ratio():
    model = nn.Linear(2, 2)
    nn.init.zeros_(model.bias)
    model.weight.grad, model.bias.grad = torch.ones(2, 2), torch.ones(2)
    optimizer, watcher = torch.optim.SGD(model.parameters(), lr=0.01), watch(model)
    with watcher.update(RATIO_EVERY):
        optimizer.step()
    assert set(watcher.record(0, torch.tensor([1.0]), torch.tensor(1.0)).ratios) == {"weight"}


def test_reading_nothing():
    assert watch(nn.Linear(2, 2)).read().finite


def test_half_precision_norms():
    (reading,) = [watch(nn.Linear(2, 2)).record(0, torch.ones(1).bfloat16(), torch.tensor(1.0, dtype=torch.float64))]
    assert reading.finite
