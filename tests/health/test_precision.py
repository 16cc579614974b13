"""Precision bisect: overflows planted inside of modules and along the stream, judged right within three replays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from subjects import SUBJECTS
from torch import Tensor, nn

from aam.health.precision import bisect_precision, cast_tensors, convert_model

X = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))


class Norm(nn.Module):
    """Root-mean-square norm; `upcast` as careful implementations do it."""

    def __init__(self, upcast=True, floor=1e-6):
        super().__init__()
        self.weight, self.upcast, self.floor = nn.Parameter(torch.ones(8)), upcast, floor

    def forward(self, x: Tensor) -> Tensor:
        y = x.float() if self.upcast else x
        return (y / (y.square().mean(-1, keepdim=True) + self.floor).sqrt()).to(x.dtype) * self.weight


class Attention(nn.Module):
    def __init__(self, temper=0.3, hidden=-math.inf):
        super().__init__()
        self.q, self.out, self.temper, self.hidden = nn.Linear(8, 8), nn.Linear(8, 8), temper, hidden

    def forward(self, x: Tensor) -> Tensor:
        q = self.q(x)
        scores = q @ x.mT * self.temper
        mask = torch.full((5, 5), self.hidden, dtype=x.dtype, device=x.device).triu(1)
        return self.out(torch.softmax(scores + mask, dim=-1) @ x)


class Gate(nn.Module):
    """Feed-forward layer; `inside` is the size of what passes between its two layers."""

    def __init__(self, inside=1.0):
        super().__init__()
        self.up, self.down, self.inside = nn.Linear(8, 16), nn.Linear(16, 8), inside

    def forward(self, x: Tensor) -> Tensor:
        return self.down(torch.relu(self.up(x)) * self.inside * (1 / self.inside if self.inside < 1 else 1)) / max(
            self.inside, 1
        )


class Block(nn.Module):
    def __init__(self, growth=1.0):
        super().__init__()
        self.norm1, self.attention, self.norm2, self.mlp = Norm(), Attention(), Norm(), Gate()
        self.growth = growth

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x)) * self.growth
        return x + self.mlp(self.norm2(x)) * self.growth


class Stack(nn.Module):
    def __init__(self, layers=4):
        super().__init__()
        torch.manual_seed(0)
        self.inp = nn.Linear(8, 8)
        self.blocks = nn.ModuleList([Block() for _ in range(layers)])
        self.norm, self.head = Norm(), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


@dataclass
class Plant:
    change: object
    verdict: str
    first: str
    keep: tuple[str, ...] = ()


def gate(i):
    return Plant(lambda m: setattr(m.blocks[i].mlp, "inside", 4e5), "module", f"blocks.{i}.mlp", (f"blocks.{i}.mlp",))


def logits(i):
    name = f"blocks.{i}.attention"
    return Plant(lambda m: setattr(m.blocks[i].attention, "temper", 1e5), "module", name, (name,))


def norm(i):
    """The square of values around 500 is beyond 65,504 where nobody casts; x / inf is 0, finite and wrong."""

    def change(m):
        m.blocks[i].norm2.upcast, m.blocks[i].growth = False, 1000.0
        m.inp.weight.data.mul_(600)

    name = f"blocks.{i}.norm2"
    return Plant(change, "module", name, (name,))


def stream(i):
    return Plant(lambda m: setattr(m.blocks[i], "growth", 1e6), "stream", f"blocks.{i}")


def slow_stream():
    """Every block adds a little; the sum leaves the range in some block, none of whose parts is too large."""

    def change(m):
        for block in m.blocks:
            block.growth = 3e4

    return Plant(change, "stream", "blocks.")


def embedding():
    return Plant(lambda m: m.inp.weight.data.mul_(1e6), "stream", "inp")


def nothing(size):
    return Plant(lambda m: m.inp.weight.data.mul_(size), "fine", "")


def vanishing(i):
    """1e-8 is exactly 0 in fp16, so the norm of a zero row is 0 / 0."""

    def change(m):
        m.blocks[i].norm1.upcast, m.blocks[i].norm1.floor = False, 1e-8
        m.inp.weight.data.zero_()
        m.inp.bias.data.zero_()
        for block in m.blocks[:i]:
            block.growth = 0.0

    name = f"blocks.{i}.norm1"
    return Plant(change, "module", name, (name,))


def broken():
    return Plant(lambda m: setattr(m.blocks[2].attention, "temper", math.nan), "algorithm", "blocks.2.attention")


def two_gates():
    def change(m):
        m.blocks[1].mlp.inside = m.blocks[3].mlp.inside = 4e5

    return Plant(change, "module", "blocks.1.mlp", ("blocks.1.mlp", "blocks.3.mlp"))


PLANTS = {
    **{f"feed-forward {i}": gate(i) for i in range(4)},
    **{f"attention logits {i}": logits(i) for i in (0, 2, 3)},
    **{f"norm without upcast {i}": norm(i) for i in (0, 2)},
    **{f"stream from block {i}": stream(i) for i in range(4)},
    "stream that grows slowly": slow_stream(),
    "stream from the input layer": embedding(),
    **{f"floor that vanishes {i}": vanishing(i) for i in (0, 1)},
    "two feed-forward layers": two_gates(),
    **{f"nothing, inputs times {size:g}": nothing(size) for size in (1.0, 100.0, 3000.0)},
    "not the precision": broken(),
}  # fmt: skip


USUAL = {
    "feed-forward 1", "attention logits 2", "norm without upcast 0", "stream from block 2", "stream that grows slowly",
    "floor that vanishes 0", "two feed-forward layers", "nothing, inputs times 3000", "not the precision",
}  # fmt: skip
"""One of each kind, for the default tests."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in USUAL else pytest.mark.slow) for name in PLANTS]
)
def test_planted_precision_fault(name):
    plant, model = PLANTS[name], Stack()
    plant.change(model)
    report = bisect_precision(model, lambda m: m(X))
    assert report.verdict == plant.verdict, str(report)
    assert report.first == plant.first or (plant.first.endswith(".") and report.first.startswith(plant.first)), str(
        report
    )
    assert report.keep == plant.keep, str(report)
    assert len(report.survives) <= 4  # fp32 and three replays
    if report.verdict == "stream":
        assert report.survives["bfloat16"] and "not a module" in str(report)


def test_prediction_comes_from_the_fp32_run():
    model = Stack()
    stream(2).change(model)
    report = bisect_precision(model, lambda m: m(X))
    assert report.predicted[0].module == "blocks.2" and report.predicted[0].absmax > 65504
    assert report.predicted[0].dtype is torch.float32


def test_bfloat16_has_the_range_of_fp32():
    model = Stack()
    stream(2).change(model)
    report = bisect_precision(model, lambda m: m(X), dtype=torch.bfloat16)
    assert report.verdict == "fine" and len(report.survives) == 2


def test_gemma_whose_stream_leaves_the_range_of_fp16():
    """The case on record: fp16 fails, bf16 survives, and no module in fp32 would help."""
    subject = SUBJECTS["gemma"]()
    for layer in subject.model.model.layers:
        layer.post_feedforward_layernorm.weight.data.fill_(2.5e4)
    tokens = torch.randint(1, 50, (2, 6))
    report = bisect_precision(subject.model, lambda m: m(input_ids=tokens).logits)
    assert report.verdict == "stream", str(report)
    assert report.survives == {"fp32": True, "float16": False, "bfloat16": True}
    assert report.first.startswith("model.layers.")


def test_the_model_is_left_as_it_was():
    model = Stack()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    bisect_precision(model, lambda m: m(X))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model._forward_pre_hooks


def test_kept_modules_have_the_original_weights():
    model = Stack()
    twin = convert_model(model, torch.float16, keep=("blocks.1.mlp",))
    assert torch.equal(twin.blocks[1].mlp.up.weight, model.blocks[1].mlp.up.weight)
    assert twin.blocks[0].mlp.up.weight.dtype is torch.float16
    assert twin(X).dtype is torch.float16


@dataclass(frozen=True)
class Record:
    values: Tensor
    ids: list[str]


def test_cast_reaches_into_records():
    done = cast_tensors({"a": (Record(torch.ones(1), ["x"]), torch.ones(1).long())}, torch.float16)
    assert done["a"][0].values.dtype is torch.float16 and done["a"][0].ids == ["x"]
    assert done["a"][1].dtype is torch.int64
