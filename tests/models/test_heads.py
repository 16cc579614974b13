"""Heads on single vectors: Euclidean UniFrac, hidden ASVs, numbers; by hand and in their invariances."""

from __future__ import annotations

import math

import pytest
import torch
from generated_samples import tiny_model

from aam.models.heads import EuclideanUnifrac, HiddenASVs, SampleScalars


def euclidean() -> EuclideanUnifrac:
    torch.manual_seed(0)
    return EuclideanUnifrac(tiny_model())


def test_euclidean_by_hand():
    head = euclidean()
    with torch.no_grad():
        head.log_size.fill_(math.log(2.0))
    # size - a . b: 2 - (0.5 * 1 + 0.25 * 2) = 1 and 2 - (0.5 * 0 + 0.25 * 4) = 1
    found = head(torch.tensor([[0.5, 0.25]]), torch.tensor([[1.0, 2.0], [0.0, 4.0]]))
    torch.testing.assert_close(found, torch.tensor([[1.0, 1.0]]))


def test_it_is_half_a_squared_distance():
    """Point i is a_i and an axis of its own that fills its squared length up to the size: |p_i - p_j|^2 / 2."""
    head = euclidean().double()
    with torch.no_grad():
        head.log_size.fill_(math.log(9.0))
    shared = torch.rand(4, 3, dtype=torch.float64)  # squared length 3 at most
    own = (9.0 - shared.square().sum(1)).sqrt()
    points = torch.cat([shared, torch.diag(own)], dim=1)
    half = torch.cdist(points, points).square() / 2
    off = ~torch.eye(4, dtype=torch.bool)
    torch.testing.assert_close(head(shared, shared)[off], half[off])


def test_distances_are_symmetric_and_between_whichever_samples():
    head, samples = euclidean(), torch.randn(5, 32)
    points = head.coordinates(samples)
    whole = head(points, points)
    torch.testing.assert_close(whole, whole.T)
    torch.testing.assert_close(head(points[:2], points[2:]), whole[:2, 2:])


def test_calibrated_heads_start_at_the_mean_of_the_targets():
    head, samples = euclidean(), torch.randn(16, 32)
    head.start_at_mean(samples, mean=0.6, largest=0.9)
    points = head.coordinates(samples)
    pairs = head(points, points)[*torch.triu_indices(16, 16, 1)]
    assert pairs.mean().item() == pytest.approx(0.6, abs=0.02)


def test_gradients_do_not_vanish_where_all_samples_are_alike():
    """A squared difference has no gradient there, which is how earlier forms of this head stood still."""
    head = euclidean()
    samples = torch.ones(4, 32).requires_grad_()
    points = head.coordinates(samples)
    (head(points, points)[0, 1] - 0.5).square().backward()
    assert samples.grad[:2].abs().max() > 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_coordinates_keep_float32_under_autocast(dtype: torch.dtype):
    head, samples = euclidean(), torch.randn(3, 32)
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(head.coordinates(samples), head.coordinates(samples.float()))
        assert head.coordinates(samples.to(dtype)).dtype == torch.float32


def test_membership_is_an_inner_product_and_how_rare_an_asv_is():
    torch.manual_seed(0)
    head, samples, asvs = HiddenASVs(tiny_model()), torch.randn(3, 32), torch.randn(7, 32)
    found = head.membership(samples, asvs)
    assert found.shape == (3, 7)
    by_hand = head.sample(samples[1]) @ head.asv(asvs[4]) / math.sqrt(32) + head.rare(asvs[4])[0]
    torch.testing.assert_close(found[1, 4], by_hand)


def test_hidden_abundance_depends_on_sample_and_asv():
    torch.manual_seed(0)
    head, samples, slots = HiddenASVs(tiny_model()), torch.randn(2, 32), torch.randn(2, 5, 32)
    found = head.hidden_abundance(samples, slots)
    assert found.shape == (2, 5)
    joined = torch.nn.functional.gelu(head.amount_asv(slots[1, 3]) + head.amount_sample(samples[1]))
    torch.testing.assert_close(found[1, 3], head.amount(joined)[0])
    assert not torch.allclose(head.hidden_abundance(samples.flip(0), slots), found)


def test_scalars_read_single_vectors():
    torch.manual_seed(0)
    head = SampleScalars(tiny_model())
    samples, slots = torch.randn(4, 32), torch.randn(4, 6, 32)
    faith_pd, abundance = head.faith_pd(samples), head.abundance(slots)
    assert faith_pd.shape == (4,) and abundance.shape == (4, 6)
    by_hand = samples[2] @ head.pd.weight[0] / math.sqrt(32) + head.pd.bias[0]
    torch.testing.assert_close(faith_pd[2], by_hand)
    by_hand = slots[1, 5] @ head.amount.weight[0] / math.sqrt(32) + head.amount.bias[0]
    torch.testing.assert_close(abundance[1, 5], by_hand)
