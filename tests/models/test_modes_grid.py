"""Every token limit, batch size, accumulation, mode and precision: finite outputs and gradients, and modes that agree.

Lengths that are 64 modulo 128, single slots and single pairs have each been a source of NaN in some attention kernel or
some division; the whole cross product is run, most of it among the slow tests. What cells share: batches of one token
limit and batch size, and the micro-batches of accumulation 4, whose first is accumulation 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache

import pytest
import torch
from generated_samples import Community, community, tiny_model
from torch import Tensor

from aam.config import LossConfig
from aam.corpus.dataset import Batch
from aam.models.pretrain_model import PretrainModel, PretrainOutput
from aam.training.losses import TargetScale
from aam.training.objective import PretrainObjective

TOKEN_LIMITS = [1, 2, 63, 64, 65, 128, 192, 256, 320, 512, 1024]
BATCH_SIZES = [1, 2, 6, 8]
ACCUMULATIONS = (1, 4)
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
USUAL = {"fp32": (1, 2, 64, 65, 192), "bf16": (1, 2, 64)}
"""Token limits of the default tests: one of each kind, short, since many a processor only imitates bfloat16."""
CELLS = [
    pytest.param(limit, precision, marks=() if limit in USUAL[precision] else pytest.mark.slow)
    for precision in PRECISIONS
    for limit in TOKEN_LIMITS
]
LENGTH = 10
HIDDEN = LossConfig(mask_ratio=0.3, masked_asvs=0.05, hidden_asvs=0.15, patristic_asvs=16)
OBJECTIVE = PretrainObjective(LossConfig(), TargetScale())


@cache
def samples_of(token_limit: int) -> Community:
    """Samples a little richer than the limit, so that it cuts; their ASVs overlap."""
    richness = token_limit + 1
    return community(samples=8 * max(ACCUMULATIONS), asvs=richness + 9, richness=richness, length=LENGTH)


def batches(token_limit: int, size: int) -> list[Batch]:
    """Micro-batches of one step."""
    return [
        samples_of(token_limit).batch(range(part * size, (part + 1) * size), token_limit, HIDDEN)
        for part in range(max(ACCUMULATIONS))
    ]


@cache
def model() -> PretrainModel:
    torch.manual_seed(0)
    return PretrainModel(tiny_model(LENGTH))


def forward(batch: Batch, precision: str) -> PretrainOutput:
    with torch.autocast("cpu", dtype=PRECISIONS[precision], enabled=precision != "fp32"):
        return model()(OBJECTIVE.inputs(batch))


def tensors(output: PretrainOutput) -> Iterator[tuple[str, Tensor]]:
    for field in dataclasses.fields(output):
        value = getattr(output, field.name)
        if field.name.startswith("reference_"):  # None without a reference
            continue
        assert value is not None, field.name
        yield field.name, value


def assert_finite(output: PretrainOutput, where: str) -> None:
    for name, tensor in tensors(output):
        assert torch.isfinite(tensor).all(), f"{name} {where}"


def assert_gradients_finite(where: str) -> None:
    norms = {name: parameter.grad.norm() for name, parameter in model().named_parameters()}
    assert torch.stack(list(norms.values())).isfinite().all(), f"gradients {where}: {norms}"


def step(cell: list[Batch], training: bool, precision: str) -> PretrainOutput:
    """Forward and backward of all micro-batches, gradients checked at each accumulation; the first output."""
    first = None
    model().train(training).zero_grad()
    for number, batch in enumerate(cell, 1):
        output = forward(batch, precision)
        where = f"training={training}, {precision}, micro-batch {number}"
        assert_finite(output, where)
        total = OBJECTIVE.losses(output, batch).total
        assert torch.isfinite(total), f"loss {where}"
        total.backward()
        if number in ACCUMULATIONS:
            assert_gradients_finite(where)
        first = output if first is None else first
    return first


@pytest.mark.parametrize(("token_limit", "precision"), CELLS)
def test_everything_is_finite_and_modes_agree(token_limit: int, precision: str):
    for size in BATCH_SIZES:
        cell = batches(token_limit, size)
        assert cell[0].index.shape == (size, token_limit)
        outputs = {"train": step(cell, True, precision), "eval": step(cell, False, precision)}
        for mode in (torch.no_grad, torch.inference_mode):  # without gradients nothing is accumulated
            with mode():
                outputs[mode.__name__] = forward(cell[0], precision)
            assert_finite(outputs[mode.__name__], f"{mode.__name__}, {precision}, batch size {size}")
        if precision == "fp32":
            for mode, output in outputs.items():
                for (name, tensor), (_, wanted) in zip(tensors(output), tensors(outputs["train"]), strict=True):
                    torch.testing.assert_close(tensor, wanted, atol=1e-5, rtol=0, msg=f"{name}, train against {mode}")
