"""The target head: probabilities, quantiles and features checked by their meaning."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from aam.config import Covariate, FinetuneConfig, HeadConfig, NumericTarget, TargetConfig, TargetSchema, tiny
from aam.models.finetune_model import FinetuneModel, TargetInputs
from aam.models.target_head import SampleView, TargetHead, ordinal_log_probabilities, rising_quantiles, sample_features

DIM = tiny().dim


def view(order: list[int] | None = None) -> SampleView:
    """Two samples over three ASVs; ASV 1 is number 0 of the known."""
    torch.manual_seed(0)
    asvs, samples = torch.randn(3, DIM), torch.randn(2, DIM)
    index, valid = torch.tensor([[0, 1, 2], [1, 0, 0]]), torch.tensor([[True, True, True], [True, False, False]])
    abundance = torch.tensor([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])
    if order is not None:
        index, valid, abundance = index[:, order], valid[:, order], abundance[:, order]
    nothing = torch.zeros(2, 0)
    return SampleView(asvs, samples, torch.tensor([-1, 0, -1]), index, valid, abundance, nothing, nothing.long())


def test_ordinal_probabilities_are_those_of_the_proportional_odds_model() -> None:
    score, steps = torch.tensor([[0.3], [-4.0]]), torch.tensor([-0.5, 0.2, 1.0])
    found = ordinal_log_probabilities(score, steps).exp()
    rises = [-0.5] + [math.log1p(math.exp(step + 1.0)) for step in (0.2, 1.0)]
    thresholds = np.cumsum(rises)
    for row, value in enumerate(score[:, 0].tolist()):
        above = [1.0, *(1 / (1 + np.exp(thresholds - value))), 0.0]
        assert found[row].tolist() == pytest.approx([above[k] - above[k + 1] for k in range(4)], abs=1e-6)
    assert found.sum(dim=1).tolist() == pytest.approx([1.0, 1.0])


def test_quantiles_never_cross() -> None:
    assert (rising_quantiles(torch.randn(50, 2, 5) * 10).diff(dim=-1) >= 0).all()


def test_features_know_known_asvs_and_forget_order() -> None:
    features = sample_features(view(), 1)
    assert features[:, 0].tolist() == pytest.approx([math.log1p(0.3e4), math.log1p(1e4)])  # abundance of ASV 1
    assert torch.allclose(features, sample_features(view([2, 0, 1]), 1), atol=1e-5)
    means = features[:, 1 : 1 + DIM]
    asvs = view().asvs
    assert torch.allclose(means[0], 0.5 * asvs[0] + 0.3 * asvs[1] + 0.2 * asvs[2], atol=1e-5)
    assert torch.allclose(means[1], asvs[1], atol=1e-5)


def test_padding_changes_nothing() -> None:
    padded = view()
    padded = dataclasses.replace(
        padded,
        index=torch.nn.functional.pad(padded.index, (0, 2)),
        valid=torch.nn.functional.pad(padded.valid, (0, 2)),
        abundance=torch.nn.functional.pad(padded.abundance, (0, 2), value=0.7),
    )
    assert torch.allclose(sample_features(padded, 1), sample_features(view(), 1), atol=1e-5)


def test_blocks_get_their_share_of_the_variance() -> None:
    schema = TargetSchema(numbers=(NumericTarget("y"),), identities=5)
    head = TargetHead(FinetuneConfig(model=tiny(), schema=schema))
    features = torch.randn(200, len(head.center)) * torch.logspace(-2, 2, len(head.center)) + 3.0
    features[:, 7] = 1.0
    head.standardise_features(features)
    scaled = (features - head.center) * head.gain
    assert scaled[:, 7].abs().max() == 0  # what never varies is left out
    total = scaled.var(dim=0).sum()
    assert total.item() == pytest.approx(features.shape[1], rel=1e-3)
    assert (scaled[:, :5].var(dim=0).sum() / total).item() == pytest.approx(0.5, rel=1e-3)
    assert torch.isfinite(head.gain).all()


def test_covariates_hide_in_training_only() -> None:
    covariates = (Covariate("site", ("a", "b")), Covariate("age"))
    config = FinetuneConfig(
        model=tiny(),
        target=TargetConfig(target=("y",)),
        head=HeadConfig(covariate_dropout=0.9),
        schema=TargetSchema(numbers=(NumericTarget("y"),), covariates=covariates),
    )
    encoder = TargetHead(config).covariates
    numeric, categories = torch.tensor([[1.5, 0.0]]).repeat(200, 1), torch.ones(200, 1, dtype=torch.long)
    encoder.eval()
    assert encoder(numeric, categories).unique(dim=0).shape[0] == 1
    encoder.train()
    hidden = (encoder(numeric, categories)[:, 1] == 1).float().mean().item()
    assert 0.8 < hidden < 1.0


def test_known_asvs_are_found_in_tables_of_another_length() -> None:
    config = FinetuneConfig(model=tiny(), schema=TargetSchema(numbers=(NumericTarget("y"),), identities=2))
    model = FinetuneModel(config).eval()
    model.learn_identities(np.array([[5, 1, 2, 3, 0], [5, 4, 4, 4, 4]], np.uint8))
    model.open_table(np.array([[5, 4, 4, 4, 4, 0, 0], [5, 1, 2, 3, 4, 0, 0], [5, 1, 2, 3, 0, 0, 0]], np.uint8), None)
    assert model.identity.tolist() == [1, -1, 0]


def test_a_model_without_a_table_says_so() -> None:
    config = FinetuneConfig(model=tiny(), schema=TargetSchema(numbers=(NumericTarget("y"),)))
    empty = torch.zeros(1, 1)
    inputs = TargetInputs(
        empty[0].long(), torch.ones(1, 3, dtype=torch.uint8), empty.long(), empty.bool(), empty, empty, empty
    )
    with pytest.raises(RuntimeError, match="open_table was not called"):
        FinetuneModel(config)(inputs)
