"""The verdict tree: each cause planted, each named."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from aam.health import locate
from aam.health.verdict import Replays, judge

IDS = [f"s{i}" for i in range(8)]


class Setting:
    """A model, a batch, and replays of its step with one thing changed."""

    def __init__(self, after=lambda x: x, dtype=torch.float32, named=True):
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        self.x = torch.randn(8, 4)
        self.after, self.dtype, self.named = after, dtype, named
        self.calls = 0

    def run(self, keep=range(8), dtype=None):
        self.calls += 1
        model = self.model.to(dtype or self.dtype)
        x = self.x[list(keep)].to(dtype or self.dtype)
        ids = [IDS[i] for i in keep] if self.named else ()
        return locate(model, lambda: self.after(model(x) + 0 * x[:, :1], x).float().mean(), sample_ids=ids)

    def verdict(self):
        replays = Replays(
            again=self.run,
            in_fp32=lambda: self.run(dtype=torch.float32),
            without=lambda gone: self.run([i for i in range(8) if IDS[i] not in gone]),
            samples=IDS,
        )
        return judge(self.run(), replays)


def test_parameter():
    setting = Setting(lambda h, x: h)
    setting.model[0].bias.data[1] = math.nan
    assert setting.verdict().cause == "parameter"
    assert "0.bias" in str(setting.verdict())


def test_input():
    setting = Setting(lambda h, x: h)
    setting.x[5, 2] = math.inf
    verdict = setting.verdict()
    assert (verdict.cause, verdict.samples) == ("input", ("s5",))


def test_precision():
    verdict = Setting(lambda h, x: (h.abs() + 1) * 3e4 * 3e4, dtype=torch.float16).verdict()
    assert verdict.cause == "precision"
    assert "fp32: survives" in verdict.evidence


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("sample", [0, 3, 7])
def test_data(named, sample):
    """A sample whose values a logarithm cannot take; with or without rows that name it."""
    setting = Setting(
        lambda h, x: torch.log(x.sum(dim=1).clamp(max=5).sub(5).neg() + 1e-3 - (x[:, 0] == 99) * 2), named=named
    )
    setting.x[sample, 0] = 99
    verdict = setting.verdict()
    assert (verdict.cause, verdict.samples) == ("data", (IDS[sample],))
    assert setting.calls <= 3 + 4 + 1


def test_algorithm():
    verdict = Setting(lambda h, x: torch.log(h - 9)).verdict()
    assert verdict.cause == "algorithm" and not verdict.samples
    assert any(line.startswith("operation: NaN made by log") for line in verdict.evidence)


def test_transient():
    setting = Setting()
    setting.after = lambda h, x: torch.log(h - 9) if setting.calls == 1 else h
    verdict = setting.verdict()
    assert verdict.cause == "transient" and "all finite" in verdict.evidence[-1]


def test_nothing():
    assert Setting(lambda h, x: h).verdict().cause == "none"


def test_open_questions_stay_open():
    setting = Setting(lambda h, x: torch.log(h - 9))
    verdict = judge(setting.run(), Replays(again=setting.run))
    assert verdict.cause == "algorithm" and "fp32: not asked" in verdict.evidence
