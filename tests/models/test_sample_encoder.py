"""Sample encoder: a set of ASVs with abundances, whatever their order and however much padding stands beside them."""

from __future__ import annotations

import math

import pytest
import torch
from generated_samples import tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aam.models.chunks import LIMITS, Limits
from aam.models.sample_encoder import LOG_FLOOR, SampleEncoder, log_abundance

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def encoder(dtype: torch.dtype = torch.float32) -> SampleEncoder:
    torch.manual_seed(0)
    return SampleEncoder(tiny_model(sample_layers=2)).to(dtype)


def sample(slots: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    """ASV embeddings [1, S, D], relative abundances [1, S] and `valid` of one sample without padding."""
    generator = torch.Generator().manual_seed(seed)
    asvs = torch.randn(1, slots, 32, generator=generator, dtype=torch.float64)
    weight = torch.rand(1, slots, generator=generator, dtype=torch.float64) + 0.01
    return asvs.to(dtype), (weight / weight.sum()).to(dtype), torch.ones(1, slots, dtype=torch.bool)


def test_log_abundance_by_hand():
    found = log_abundance(torch.tensor([1.0, math.exp(-3.0), 0.0]))
    torch.testing.assert_close(found, torch.tensor([0.0, -3.0, math.log(LOG_FLOOR)]))


@given(seed=st.integers(0, 2**31), slots=st.integers(1, 12))
@settings(max_examples=30)
def test_the_order_of_asvs_changes_nothing(seed: int, slots: int):
    asvs, abundance, valid = sample(slots, seed)
    order = torch.randperm(slots, generator=torch.Generator().manual_seed(seed))
    counted = torch.arange(slots)[None] % 3 > 0
    one = encoder()(asvs, abundance, valid, counted)
    other = encoder()(asvs[:, order], abundance[:, order], valid, counted[:, order])
    torch.testing.assert_close(other.embeddings, one.embeddings, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(other.states, one.states[:, order], atol=1e-5, rtol=1e-5)


@given(seed=st.integers(0, 2**31), slots=st.integers(1, 9), padding=st.integers(1, 30))
@settings(max_examples=30)
def test_the_amount_of_padding_changes_nothing(seed: int, slots: int, padding: int):
    asvs, abundance, valid = sample(slots, seed)
    pad = torch.nn.functional.pad
    model = encoder()
    padded = model(pad(asvs, (0, 0, 0, padding)), pad(abundance, (0, padding)), pad(valid, (0, padding)))
    torch.testing.assert_close(padded.embeddings, model(asvs, abundance, valid).embeddings, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf, 1e30])
def test_junk_in_padding_changes_exactly_nothing(junk: float):
    model, (asvs, abundance, _) = encoder(), sample(6)
    valid = torch.tensor([[True, True, False, True, False, False]])
    outputs = []
    for filler in (0.0, junk):
        model.zero_grad()
        rows = asvs.masked_fill(~valid[..., None], filler).requires_grad_()
        amount = abundance.masked_fill(~valid, filler).requires_grad_()
        found = model(rows, amount, valid)
        found.embeddings.pow(3).sum().backward()
        grads = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
        outputs.append([found.embeddings, found.states[valid], rows.grad, amount.grad, *grads])
    for clean, dirty in zip(*outputs, strict=True):
        assert torch.equal(clean, dirty)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_sample_of_padding_gives_zeros_and_zero_gradients(dtype: torch.dtype):
    model, (asvs, abundance, valid) = encoder(dtype), sample(5, dtype=dtype)
    asvs.requires_grad_()
    found = model(asvs, abundance, ~valid)
    assert not found.embeddings.any() and found.states.isfinite().all()
    found.embeddings.square().sum().backward()
    assert not asvs.grad.any()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or not parameter.grad.any(), name


def test_an_uncounted_abundance_is_not_seen_and_a_counted_one_is():
    model, (asvs, abundance, valid) = encoder(), sample(4)
    counted = torch.tensor([[True, False, True, True]])
    other = abundance.clone()
    other[0, 1] = 0.9
    assert torch.equal(model(asvs, abundance, valid, counted).states, model(asvs, other, valid, counted).states)
    assert not torch.allclose(model(asvs, abundance, valid).embeddings, model(asvs, other, valid).embeddings, atol=1e-4)


def test_samples_of_a_batch_do_not_see_each_other():
    model = encoder()
    one, two = sample(5, seed=1), sample(5, seed=2)
    together = model(*(torch.cat(pair) for pair in zip(one, two, strict=True)))
    apart = torch.cat([model(*one).embeddings, model(*two).embeddings])
    torch.testing.assert_close(together.embeddings, apart, atol=1e-6, rtol=1e-6)


def test_samples_of_like_size_are_encoded_together(monkeypatch: pytest.MonkeyPatch):
    """Sizes 9, 2, 8, 2, 1 in chunks of 18 slots at most: the small ones are three, the large ones two."""
    model = encoder()
    monkeypatch.setitem(LIMITS, "cpu", Limits(18, 0))
    valid = torch.arange(9) < torch.tensor([[9], [2], [8], [2], [1]])
    assert [rows.tolist() for rows in model.plan(valid).chunks] == [[1, 3, 4], [0, 2]]
    whole, asvs = model.plan(valid[:1]), torch.randn(5, 9, 32, generator=torch.Generator().manual_seed(0))
    assert [rows.tolist() for rows in whole.chunks] == [[0]]
    found, wanted = (run(asvs, valid / 9.0, valid) for run in (model, model.encode))
    torch.testing.assert_close(found.embeddings, wanted.embeddings, atol=1e-6, rtol=0)
    torch.testing.assert_close(found.states[valid], wanted.states[valid], atol=1e-5, rtol=0)
    assert not found.states[4, 2:].any()  # beyond its chunk


def test_recomputation_repeats_the_dropout_of_samples(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    model = SampleEncoder(tiny_model(sample_layers=2, dropout=0.5))
    asvs, valid = torch.randn(6, 5, 32), torch.arange(5) < torch.tensor([[5], [2], [4], [1], [1], [5]])
    found = []
    for kept in (0, 10**9):
        monkeypatch.setitem(LIMITS, "cpu", Limits(8, kept))
        model.zero_grad()
        torch.manual_seed(1)
        model(asvs, valid / 5.0, valid).embeddings.square().sum().backward()
        found.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    torch.testing.assert_close(*found, atol=1e-5, rtol=1e-5)
