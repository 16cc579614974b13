"""Heads begin at the mean of their targets, and the strangest first batch leaves a model that can learn."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from generated_samples import HIDING, Community, community, tiny_model

from aam.config import OptimConfig, PretrainConfig
from aam.corpus.batches import TrainingBatches
from aam.corpus.dataset import Batch
from aam.models.pretrain_model import PretrainModel
from aam.training.losses import above_diagonal
from aam.training.run import build_learner, start_heads_at_target_means, variance
from aam.training.step import Learner, score, step


def started(found: Community, token_limit: int | None = None, size: int = 8) -> tuple[Learner, Batch]:
    """A fresh learner and the batch that its heads were set on."""
    batches = TrainingBatches(found.dataset(token_limit), size, found.targets(), HIDING)
    config = PretrainConfig(model=tiny_model(), optim=OptimConfig(batch_size=size))
    return build_learner(config, batches, torch.device("cpu")), batches[0]


def test_heads_start_at_the_mean_of_their_targets():
    learner, batch = started(community(samples=16, asvs=80, richness=15))
    with torch.no_grad():
        output, _ = score(learner, batch)
    for name in ("unifrac", "euclidean"):
        mean = above_diagonal(getattr(output, name)).mean().item()
        assert mean == pytest.approx(above_diagonal(batch.unifrac).mean().item(), abs=0.03), name
    ratio = above_diagonal(output.patristic).mean() / above_diagonal(batch.patristic).mean()
    assert ratio.item() == pytest.approx(1.0, abs=0.05)
    assert output.faith_pd.mean().item() == pytest.approx(batch.faith_pd.log().mean().item(), abs=0.1)


def test_the_same_seed_gives_the_same_start():
    found = community(samples=16, asvs=80, richness=15)
    one, two = (started(found)[0] for _ in range(2))
    assert one.objective.scale == two.objective.scale
    for (name, left), right in zip(one.model.named_parameters(), two.model.parameters(), strict=True):
        assert torch.equal(left, right), name


def same_asv() -> Community:
    """Samples in which the first ASV dwarfs the rest."""
    found = community(samples=8, asvs=3, richness=3)
    counts = found.counts.copy()
    counts[:, [0]] = 10**6
    return dataclasses.replace(found, counts=counts.tocsr())


@pytest.mark.parametrize(
    ("found", "limit", "size"),
    [
        (same_asv(), 1, 8),  # one ASV in the whole batch: no pairs of ASVs, and all samples are the same
        (same_asv(), 2, 2),
        (community(samples=4, asvs=2, richness=1), None, 2),
        (community(samples=4, asvs=2, richness=2), 1, 4),
    ],
    ids=["one ASV", "two samples", "richness 1", "two ASVs"],
)
def test_degenerate_batches_train(found: Community, limit: int | None, size: int):
    learner, batch = started(found, limit, size)
    for number in range(3):
        result = step(learner, [batch], number, 3)
        assert torch.isfinite(result.terms).all() and torch.isfinite(result.grad_norm)
    assert all(parameter.isfinite().all() and parameter.abs().max() < 100 for parameter in learner.model.parameters())


def test_variances_of_nothing_and_of_constants_are_1():
    assert variance([]) == variance([torch.ones(1)]) == variance([torch.ones(3), torch.ones(2)]) == 1.0
    # 1, 2, 3, 4: squared deviations 2.25, 0.25, 0.25, 2.25 over 3
    assert variance([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])]) == pytest.approx(5 / 3)


def test_a_sample_on_branches_of_length_0_leaves_a_head_that_can_learn():
    found = community(samples=16, asvs=80, richness=15)
    batch = TrainingBatches(found.dataset(), 8, found.targets(), HIDING)[0]
    model = PretrainModel(tiny_model())
    start_heads_at_target_means(
        model, dataclasses.replace(batch, faith_pd=torch.where(torch.arange(8) == 3, 0.0, batch.faith_pd))
    )
    assert model.scalars.pd.bias.isfinite().all()
