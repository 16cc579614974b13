"""Attributions that can be checked: by hand on a linear scalar, by completeness, by what deletion does."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from trained_run import save_run

from aam.checkpoint import open_model
from aam.config import DataConfig
from aam.corpus.samples import open_samples
from aam.inference import explain as explaining
from aam.inference.asvs import encode_asvs
from aam.inference.embed import Encoding
from aam.inference.explain import (
    DELETED_COUNTS,
    RANKINGS,
    Explanation,
    Slots,
    attention_weights,
    distance_to_mean,
    drop_leading_slots,
    explain,
    integrated_gradients,
)
from aam.report.target_figures import plot_explanation

RNG = np.random.default_rng(0)


def slots(seed: int = 0) -> Slots:
    """Two samples of 3 and 2 ASVs with embeddings of width 32."""
    generator = torch.Generator().manual_seed(seed)
    abundance = torch.tensor([[0.5, 0.3, 0.2], [0.9, 0.1, 0.0]])
    return Slots(torch.randn(2, 3, 32, generator=generator), abundance, abundance > 0)


@pytest.fixture(scope="module")
def encoding(tmp_path_factory: pytest.TempPathFactory) -> Encoding:
    model, _ = open_model(save_run(tmp_path_factory.mktemp("run")))
    found = open_samples(DataConfig(example=True), "none", 0, 150)
    drawn = found.drawn()
    return Encoding(model, [drawn[row] for row in range(12)], encode_asvs(model, found.tokens, found.columns), None)


def test_a_linear_scalar_by_hand():
    some, weight, baseline = slots(), torch.arange(32.0), torch.full((32,), 0.5)
    found = integrated_gradients(lambda s: ((s.asvs @ weight) * s.valid).sum(1), some, baseline[None], RNG)
    by_hand = ((some.asvs - baseline) @ weight) * some.valid
    assert torch.allclose(found, by_hand, atol=1e-3)
    assert found[1, 2] == 0


def test_abundance_is_attributed_along_its_logarithm():
    found = integrated_gradients(
        lambda s: (s.valid * s.abundance.clamp_min(1e-9).log()).sum(1), slots(), torch.zeros(1, 32), RNG
    )
    assert found[0] == pytest.approx([np.log(0.5 * 3), np.log(0.3 * 3), np.log(0.2 * 3)], abs=1e-5)
    assert found[1] == pytest.approx([np.log(0.9 * 2), np.log(0.1 * 2), 0], abs=1e-5)


def test_attributions_add_up_to_the_difference(encoding: Encoding, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(explaining, "PATH_STEPS", 48)  # a sum of few places is near the integral, not equal
    some, baseline = slots(), torch.linspace(-1, 1, 32) ** 3
    scalar = distance_to_mean(encoding.model, torch.ones(32))
    found = integrated_gradients(scalar, some, baseline[None], RNG)
    equal = torch.where(some.valid, 1.0 / some.valid.sum(1, keepdim=True), 0.0)
    with torch.no_grad():
        difference = scalar(some) - scalar(Slots(baseline.expand_as(some.asvs), equal, some.valid))
    assert torch.allclose(found.sum(1), difference, atol=2e-3, rtol=1e-2)


def test_attention_sums_to_one_and_leaves_padding_out(encoding: Encoding):
    weights = attention_weights(encoding.model, slots())
    assert weights.sum(1) == pytest.approx([1, 1], abs=1e-6)
    assert weights[1, 2] == 0


def test_deleting_the_leading_slots_scales_the_rest():
    left = drop_leading_slots(slots(), torch.tensor([[1.0, 3.0, 2.0], [1.0, 2.0, 9.0]]), 1)
    assert left.valid.tolist() == [[True, False, True], [True, False, False]]
    assert left.abundance[0] == pytest.approx([0.5 / 0.7, 0, 0.2 / 0.7])
    assert left.abundance[1] == pytest.approx([1, 0, 0])


def test_deletion_tells_a_driver_from_chance(encoding: Encoding):
    """The output is made to depend on one ASV: it leads, has the whole share, and deleting it does what it must."""
    column = int(encoding.samples[0].asvs[0])
    driver = encoding.asvs.embeddings[column].clone()

    def scalar(s: Slots) -> torch.Tensor:
        alike = (torch.exp(-(s.asvs - driver).square().mean(-1) / 1e-4)) * s.valid
        return alike.sum(1)

    found = explain(encoding, scalar, 12)
    assert found.order()[0] == column
    assert found.deletion[RANKINGS.index("integrated gradients"), 0] > 2 * found.deletion[RANKINGS.index("random"), 0]


@pytest.fixture(scope="module")
def explained(encoding: Encoding) -> Explanation:
    """What makes up the size of 8 of the samples."""
    return explain(encoding, distance_to_mean(encoding.model, torch.zeros(32)), 8, seed=1)


def test_shares_add_up_and_samples_are_counted(encoding: Encoding, explained: Explanation):
    found = explained
    assert found.explained_samples == 8 and found.share.sum() == pytest.approx(1)
    rows = np.sort(np.random.default_rng(1).permutation(12)[:8])
    carried = np.bincount(np.concatenate([encoding.samples[row].asvs for row in rows]), minlength=len(found.share))
    assert np.array_equal(found.samples, carried)
    assert (found.share[carried == 0] == 0).all() and found.deletion.shape == (len(RANKINGS), len(DELETED_COUNTS))


@pytest.mark.parametrize("tree", [True, False])
def test_the_figure_is_drawn(explained: Explanation, tree: bool):
    target, names = BytesIO(), ["ACGT" * 10] * len(explained.share)
    plot_explanation(explained, names, np.arange(len(names)) if tree else None, target)
    assert target.getvalue().startswith(b"\x89PNG")


def test_the_verdict_is_on_all_numbers_of_deleted_asvs(explained: Explanation):
    shares, chance = RANKINGS.index("integrated gradients"), RANKINGS.index("random")

    def verdict(*times: float) -> str:
        changes, there = np.ones_like(explained.deletion), np.zeros_like(explained.deleted_samples)
        changes[shares, : len(times)], changes[chance], there[: len(times)] = times, 1.0, 5
        return replace(explained, deletion=changes, deleted_samples=there).verdict()

    assert verdict(3.0, 1.5).startswith("the shares tell what matters: ") and "1.5 to 3.0 times as much" in verdict(
        3, 1.5
    )
    assert verdict(0.9, 1.5).startswith("the shares say little: ")
    assert verdict(0.9).startswith("the shares say nothing: ") and "output 0.9 times as much" in verdict(0.9)
    assert verdict() == ""
