"""AttentionPooling: weighted means by hand, nothing from padding, and a defined zero where a row has no key."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aam.models.attention_pooling import AttentionPooling

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
JUNK = [math.nan, math.inf, -math.inf, 1e30, -7.0]


def pooling(dim: int = 8, queries: int = 1, dtype: torch.dtype = torch.float32) -> AttentionPooling:
    torch.manual_seed(0)
    return AttentionPooling(dim, queries).to(dtype)


def gradients(module: torch.nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in module.parameters()]


def test_one_query_by_hand():
    pool = AttentionPooling(2)
    with torch.no_grad():
        pool.query.weight.copy_(torch.tensor([[math.sqrt(2.0) * math.log(3.0), 0.0]]))
        pool.merge.weight.copy_(torch.eye(2))
        pool.merge.bias.zero_()
    pool.norm = torch.nn.Identity()
    # Scores q . x / sqrt(2): log 3 and 0, so the weights are 3/4 and 1/4; the third position is padding.
    rows = torch.tensor([[[1.0, 4.0], [0.0, 8.0], [100.0, 100.0]]])
    found = pool(rows, torch.tensor([[True, True, False]]))
    torch.testing.assert_close(found, torch.tensor([[0.75, 0.75 * 4 + 0.25 * 8]]))


def test_contract_of_shapes():
    assert AttentionPooling(8)(torch.randn(3, 5, 8), torch.ones(3, 5, dtype=torch.bool)).shape == (3, 8)
    assert AttentionPooling(8, 4)(torch.randn(3, 5, 8)).shape == (3, 8)


def test_masks_of_numbers_are_masks():
    rows, mask = torch.randn(2, 4, 8), torch.tensor([[1, 1, 0, 0], [1, 0, 1, 1]])
    assert torch.equal(pooling()(rows, mask), pooling()(rows, mask.bool()))
    assert torch.equal(pooling()(rows, mask.float()), pooling()(rows, mask.bool()))


def test_no_mask_is_a_mask_of_all():
    rows = torch.randn(3, 5, 8)
    torch.testing.assert_close(pooling(queries=4)(rows), pooling(queries=4)(rows, torch.ones(3, 5)), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("queries", [1, 4])
def test_rows_of_padding_give_zeros_and_zero_gradients(dtype: torch.dtype, queries: int):
    pool = pooling(queries=queries, dtype=dtype)
    rows = torch.randn(2, 3, 8, dtype=dtype, requires_grad=True)
    found = pool(rows, torch.zeros(2, 3, dtype=torch.bool))
    assert torch.equal(found, torch.zeros(2, 8, dtype=dtype))
    found.square().sum().backward()
    for gradient in [rows.grad, *gradients(pool)]:
        assert torch.equal(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_row_of_padding_leaves_the_others_alone(dtype: torch.dtype):
    pool = pooling(dtype=dtype)
    rows = torch.randn(3, 4, 8, dtype=dtype, requires_grad=True)
    mask = torch.tensor([[True] * 4, [False] * 4, [True, False, True, False]])
    found = pool(rows, mask)
    found.sum().backward()
    assert torch.equal(found[1], torch.zeros(8, dtype=dtype)) and found.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients(pool))
    assert rows.grad.isfinite().all() and not rows.grad[~mask].any()
    # exactly what the other two give without it, up to the rounding of a product of another size
    alone = pool(rows[[0, 2]], mask[[0, 2]])
    torch.testing.assert_close(found[[0, 2]], alone, atol=4 * torch.finfo(dtype).eps, rtol=0)


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("training", [True, False])
def test_junk_in_padding_changes_exactly_nothing(junk: float, training: bool):
    pool = pooling(queries=4).train(training)
    mask = torch.tensor([[True, False, True], [False, False, False], [True, True, True]])
    outputs = []
    for filler in (0.0, junk):
        pool.zero_grad()
        rows = torch.randn(3, 3, 8, generator=torch.Generator().manual_seed(1))
        rows = rows.masked_fill(~mask[..., None], filler).requires_grad_()
        found = pool(rows, mask)
        found.pow(3).sum().backward()
        outputs.append([found, rows.grad, *gradients(pool)])
    for clean, dirty in zip(*outputs, strict=True):
        assert torch.equal(clean, dirty)


@given(seed=st.integers(0, 2**31), slots=st.integers(1, 9), padding=st.integers(0, 9))
@settings(max_examples=40)
def test_order_and_padding_change_nothing(seed: int, slots: int, padding: int):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(1, slots, 8, generator=generator)
    order = torch.randperm(slots + padding, generator=generator)
    more = torch.cat([rows, torch.full((1, padding, 8), 3.0)], dim=1)[:, order]
    mask = (torch.arange(slots + padding) < slots)[None][:, order]
    pool = pooling(queries=2)
    torch.testing.assert_close(pool(more, mask), pool(rows), atol=1e-5, rtol=0)


def test_calibration_spreads_the_projection_before_the_norm():
    pool, rows = pooling(queries=4), 0.01 * torch.randn(64, 5, 8) + 3.0
    pool.standardise_outputs(rows)
    pool.norm = torch.nn.Identity()
    found = pool(rows)
    torch.testing.assert_close(found.mean(0), torch.zeros(8), atol=1e-3, rtol=0)
    torch.testing.assert_close(found.std(0), torch.ones(8), atol=1e-3, rtol=0)


@pytest.mark.parametrize("rows", [torch.ones(1, 4, 8), torch.ones(5, 4, 8), torch.zeros(2, 4, 8)])
def test_calibration_on_rows_that_are_all_alike_keeps_the_weights_sane(rows: Tensor):
    pool = pooling(queries=4)
    before = pool.merge.weight.clone()
    pool.standardise_outputs(rows)
    assert torch.equal(pool.merge.weight, before) and pool.merge.bias.isfinite().all()


def test_gradients_agree_with_differences():
    pool = pooling(dim=3, queries=2, dtype=torch.float64)
    rows = torch.randn(3, 4, 3, dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True] * 4, [False] * 4, [True, False, False, False]])
    assert torch.autograd.gradcheck(lambda x: pool(x, mask), rows)
