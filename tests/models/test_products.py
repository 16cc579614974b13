"""Attention by products is torch's own, forward and backward; dropout from random bits is dropout."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from aam.models import layers as products
from aam.models.layers import Drop, ProductAttention, dropout_factors, product_attention

ROWS, LENGTH, HEADS, WIDTH = 3, 7, 2, 4


def packed(dtype: torch.dtype) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(ROWS, LENGTH, 3, HEADS, WIDTH).to(dtype).requires_grad_()


def both(inputs: Tensor, mixed: Tensor) -> tuple[Tensor, Tensor]:
    """The output, and the gradient of an arbitrary sum of it, in double precision."""
    (gradient,) = torch.autograd.grad((mixed.double() * torch.arange(WIDTH * HEADS)).sum(), inputs)
    return mixed.detach().double(), gradient.double()


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)]
)
@pytest.mark.parametrize("masked", [False, True])
def test_products_are_the_attention_of_torch(dtype: torch.dtype, tolerance: float, masked: bool):
    inputs = packed(dtype)
    exact = inputs.detach().double().requires_grad_()
    valid = (torch.arange(LENGTH) < torch.tensor([7, 3, 1])[:, None]) if masked else None
    mask = None if valid is None else valid[:, None, None, :]
    query, key, value = exact.permute(2, 0, 3, 1, 4).unbind(0)
    wanted = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)
    found = ProductAttention.apply(inputs, valid, 0.0)
    for ours, theirs in zip(both(inputs, found), both(exact, wanted), strict=True):
        torch.testing.assert_close(ours, theirs, atol=tolerance * float(theirs.abs().max()), rtol=0)


def test_what_is_dropped_is_dropped_going_backward_too():
    """The same bits, written out: weights of softmax, times what is kept, times values."""
    inputs = packed(torch.float32)
    torch.manual_seed(1)
    found = ProductAttention.apply(inputs, None, 0.5)
    torch.manual_seed(1)
    query, key, value = inputs.permute(2, 0, 3, 1, 4).unbind(0)
    weights = torch.softmax(query @ key.transpose(2, 3) / WIDTH**0.5, dim=-1)
    kept = dropout_factors(weights.flatten(0, 1), 0.5).view(weights.shape)
    wanted = (weights * kept @ value).transpose(1, 2).flatten(2)
    for ours, theirs in zip(both(inputs, found), both(inputs, wanted), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_rows_a_few_at_a_time_change_nothing(monkeypatch, masked: bool):
    inputs = packed(torch.float64)
    valid = (torch.arange(LENGTH) < torch.tensor([7, 3, 1])[:, None]) if masked else None
    whole = ProductAttention.apply(inputs, valid, 0.0)
    monkeypatch.setattr(products, "SCORES_AT_ONCE", 2 * HEADS * LENGTH**2)  # two rows, then the third
    for ours, theirs in zip(both(inputs, product_attention(inputs, valid, 0.0)), both(inputs, whole), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


def test_no_rows_are_no_attention():
    assert ProductAttention.apply(packed(torch.bfloat16)[:0], None, 0.1).shape == (0, LENGTH, HEADS * WIDTH)


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_as_much_is_dropped_as_asked(dropout: float):
    """Of 400,000 entries; five deviations of a share are 5 sqrt(p (1 - p) / 100,000) in each of the four lanes."""
    torch.manual_seed(0)
    kept = dropout_factors(torch.empty(4, 100_000), dropout)
    assert set(kept.unique().tolist()) == {0.0, torch.tensor(1.0 / (1.0 - dropout)).item()}
    lanes = (kept.flatten().view(-1, 4) == 0).double().mean(0)
    spread = 5 * (dropout * (1 - dropout) / 100_000) ** 0.5
    assert float((lanes - dropout).abs().max()) < spread


def test_dropout_is_off_in_evaluation_and_repeats_with_the_seed():
    states, drop = torch.ones(5, 3), Drop(0.5)
    torch.manual_seed(0)
    once = drop(states)
    torch.manual_seed(0)
    assert torch.equal(once, drop(states))
    assert drop.eval()(states) is states
