"""The kernel mean by hand, what it is invariant to, and that it tells apart what a mean of embeddings does not."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from aam.config import tiny
from aam.models.kernel_mean import NARROW, WIDE, KernelMean
from aam.models.sample_encoder import SampleEncoder

B, S, D = 3, 6, 8


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    valid = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]], dtype=torch.bool)
    abundance = torch.where(valid, torch.rand(B, S), 0.0)
    return torch.randn(B, S, D), abundance / abundance.sum(1, keepdim=True), valid


def test_by_hand(inputs):
    """Features of ASV s are cos(z_s V + phase), weighted by the root of its abundance over the sum of the roots."""
    asvs, abundance, valid = inputs
    layer = KernelMean(D, 32)
    found = layer(*inputs).detach().numpy()
    v, phase = layer.frequency.numpy(), layer.phase.numpy()
    for row in range(B):
        total, roots = np.zeros(32), 0.0
        for slot in range(S):
            if valid[row, slot]:
                root = float(abundance[row, slot]) ** 0.5
                total += root * np.cos(asvs[row, slot].numpy() @ v + phase)
                roots += root
        wanted = total / roots @ layer.project.weight.detach().numpy().T + layer.project.bias.detach().numpy()
        np.testing.assert_allclose(found[row], wanted, atol=1e-5)


def test_inner_products_of_features_are_a_kernel():
    """With one width, the mean of 2 cos cos is exp(-d^2 / 2 w^2) in expectation; checked with many features."""
    torch.manual_seed(0)
    layer = KernelMean(D, 200_000)
    widths = torch.linspace(math.log(NARROW), math.log(WIDE), 200_000).exp()
    left, right = torch.zeros(D), torch.full((D,), 0.1)
    waves = [torch.cos(z @ layer.frequency + layer.phase) for z in (left, right)]
    wanted = torch.exp(-0.5 * (left - right).square().sum() / widths**2).mean()
    assert 2 * (waves[0] * waves[1]).mean().item() == pytest.approx(wanted.item(), abs=0.01)


def test_order_padding_and_what_stands_in_padding_do_not_matter(inputs):
    asvs, abundance, valid = inputs
    layer = KernelMean(D, 32)
    order = torch.randperm(S)
    torch.testing.assert_close(layer(asvs[:, order], abundance[:, order], valid[:, order]), layer(*inputs))
    spoilt = torch.where(valid[..., None], asvs, torch.nan)
    torch.testing.assert_close(layer(spoilt, abundance, valid), layer(*inputs))


def test_no_asv_gives_finite_values_and_gradients(inputs):
    asvs, abundance, valid = inputs
    layer = KernelMean(D, 32)
    asvs = asvs.requires_grad_()
    found = layer(asvs, torch.zeros_like(abundance), torch.zeros_like(valid))
    found.square().sum().backward()
    assert torch.isfinite(found).all() and torch.isfinite(asvs.grad).all()


def test_outputs_start_with_mean_0_and_deviation_1(inputs):
    torch.manual_seed(2)
    valid = torch.ones(40, 12, dtype=torch.bool)
    asvs, abundance = 3 * torch.randn(40, 12, D), torch.full((40, 12), 1 / 12)
    layer = KernelMean(D, 64)
    layer.initialise_from(asvs, abundance, valid)
    found = layer(asvs, abundance, valid)
    torch.testing.assert_close(found.mean(0), torch.zeros(D), atol=1e-4, rtol=0)
    torch.testing.assert_close(found.std(0), torch.ones(D), atol=1e-4, rtol=0)


def test_a_sample_encoder_with_it_hides_what_is_hidden(inputs):
    """An ASV that is not seen, and the abundance of one that is not counted, change nothing."""
    asvs, abundance, valid = inputs
    encoder = SampleEncoder(replace(tiny(), dim=D, mean_features=64)).eval()
    counted = valid.clone()
    counted[0, 2] = False
    seen = valid.clone()
    seen[0, 1] = False
    first = encoder(asvs, abundance, seen, counted).embeddings
    other, amounts = asvs.clone(), abundance.clone()
    other[0, 1] += 1
    amounts[0, 2] *= 3
    torch.testing.assert_close(encoder(other, amounts, seen, counted).embeddings, first)
    assert (encoder(asvs, abundance, valid).embeddings - first).abs().max() > 1e-3
