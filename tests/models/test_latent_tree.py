"""The latent tree: its formulas as plain loops, and a real tree in its place gives the real distances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from generated_samples import Community, community, tiny_model
from torch import Tensor

from aam.config import Metric
from aam.models.latent_tree import Branches, LatentTree

METRICS: list[Metric] = ["unweighted", "weighted", "weighted_normalized", "generalized"]
MEMBERS = [[0.9, 0.1], [0.5, 0.3], [0.2, 0.8]]
TIPS = [0.4, 0.7, 0.1]
LENGTHS = [2.0, 3.0]
SAMPLES = [{0: 0.25, 1: 0.75}, {1: 0.5, 2: 0.5}, {2: 1.0}]
"""Three ASVs on two branches, and three samples of them: ASV -> relative abundance."""


def tree(metric: Metric = "unweighted", scale: float = 1.0, alpha: float = 0.5) -> LatentTree:
    found = LatentTree(tiny_model(unifrac_metric=metric, unifrac_alpha=alpha)).double()
    with torch.no_grad():
        found.log_scale.fill_(math.log(scale))
    return found


def by_hand() -> Branches:
    return Branches(*(torch.tensor(part, dtype=torch.float64) for part in (MEMBERS, TIPS, LENGTHS)))


def slots(samples: list[dict[int, float]]) -> tuple[Tensor, Tensor, Tensor]:
    """index, valid and abundance [B, S] of samples given as ASV -> relative abundance."""
    width = max(map(len, samples))
    index = torch.zeros(len(samples), width, dtype=torch.int64)
    valid, abundance = index.bool(), index.double()
    for row, sample in enumerate(samples):
        for place, (asv, share) in enumerate(sample.items()):
            index[row, place], valid[row, place], abundance[row, place] = asv, True, share
    return index, valid, abundance


def loop(one: dict[int, float], other: dict[int, float], metric: str, alpha: float) -> float:
    """The distance as DESIGN has it: a sum over latent branches and private tips."""
    amounts = []
    for branch, length in enumerate(LENGTHS):
        if metric == "unweighted":
            amounts.append((length, *(max(MEMBERS[asv][branch] for asv in side) for side in (one, other))))
        else:
            sums = (sum(MEMBERS[asv][branch] * share for asv, share in side.items()) for side in (one, other))
            amounts.append((length, *sums))
    for asv, length in enumerate(TIPS):
        shares = [side.get(asv, 0.0) for side in (one, other)]
        if metric == "unweighted":
            shares = [float(share > 0) for share in shares]
        amounts.append((length, *shares))
    above = below = 0.0
    for length, p, q in amounts:
        if metric == "unweighted":
            above += length * (p + q - 2 * min(p, q))
            below += length * (p + q - min(p, q))
        elif metric == "generalized":
            above += length * (p + q) ** alpha * abs(p - q) / (p + q) if p + q else 0.0
            below += length * (p + q) ** alpha if p + q else 0.0
        else:
            above += length * abs(p - q)
            below += length * (p + q)
    return above if metric == "weighted" else above / below


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_formulas_are_those_of_plain_loops(metric: Metric, alpha: float):
    model = tree(metric, alpha=alpha)
    placed = model.place_samples(by_hand(), *slots(SAMPLES))
    found = model.unifrac(by_hand(), placed, placed)
    wanted = [[loop(one, other, metric, alpha) for other in SAMPLES] for one in SAMPLES]
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), atol=1e-11, rtol=0)


def test_unweighted_by_hand():
    model = tree()
    placed = model.place_samples(by_hand(), *slots(SAMPLES))
    # Largest memberships: sample 0 (ASVs 0, 1) 0.9 and 0.3; sample 2 (ASV 2) 0.2 and 0.8.
    torch.testing.assert_close(placed.x[[0, 2]], torch.tensor([[0.9, 0.3], [0.2, 0.8]], dtype=torch.float64))
    # Shared: min(0.9, 0.2) * 2 + min(0.3, 0.8) * 3 = 1.3, no tip.
    # United: 0.9 * 2 + 0.8 * 3 + tips 0.4 + 0.7 + 0.1 = 5.4.
    found = model.unifrac(by_hand(), placed, placed)[0, 2]
    assert found.item() == pytest.approx((5.4 - 1.3) / 5.4)


def test_patristic_and_faith_pd_by_hand():
    model = tree(scale=0.5)
    # |0.9 - 0.2| * 2 + |0.1 - 0.8| * 3 + tips 0.4 + 0.1 = 4.0, times the scale
    assert model.patristic(by_hand())[0, 2].item() == pytest.approx(0.5 * 4.0)
    index, valid, _ = slots(SAMPLES)
    # sample 0: 0.9 * 2 + 0.3 * 3 + tips 0.4 + 0.7 = 3.8; sample 2: 0.2 * 2 + 0.8 * 3 + 0.1 = 2.9
    found = model.faith_pd(by_hand(), index, valid)
    assert found[[0, 2]].tolist() == pytest.approx([0.5 * 3.8, 0.5 * 2.9])


def test_only_weighted_distances_have_units():
    """The three quotients do not know in what the lengths are measured, the weighted sum and Faith PD do."""
    for metric in METRICS:
        ratios = []
        for scale in (1.0, 3.0):
            model = tree(metric, scale)
            placed = model.place_samples(by_hand(), *slots(SAMPLES))
            ratios.append(model.unifrac(by_hand(), placed, placed)[0, 1].item())
        assert ratios[1] / ratios[0] == pytest.approx(3.0 if metric == "weighted" else 1.0)


def real_branches(found: Community) -> Branches:
    """A real tree as latent branches: membership is 1 below an inner node, tips are the branches of the leaves."""
    real = found.tree
    leaf = real.leaves_of(found.names)
    tip_nodes = real.tips()
    inner = np.setdiff1d(np.arange(len(real.length)), tip_nodes)
    members = (real.first[inner] <= leaf[:, None]) & (leaf[:, None] < real.last[inner])
    parts = (members.astype(float), real.length[tip_nodes][leaf], real.length[inner])
    return Branches(*map(torch.from_numpy, parts))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("metric", METRICS)
def test_a_real_tree_in_its_place_gives_the_real_figures(metric: Metric, dtype: torch.dtype):
    found = community(samples=6, asvs=40, richness=11)
    branches = Branches(*(part.to(dtype) for part in real_branches(found)))
    batch = found.batch(range(6), hiding=None)
    targets = found.targets(metric)
    counts = [found.counts[[row]].toarray()[0] for row in range(6)]
    columns = [np.flatnonzero(row) for row in counts]
    true = targets([""] * 6, columns, [row[chosen] for row, chosen in zip(counts, columns, strict=True)])
    model = tree(metric)
    slots_of_batch = (batch.asvs[batch.index], batch.valid, batch.abundance.to(dtype))
    placed = model.place_samples(branches, *slots_of_batch)
    off_diagonal = ~torch.eye(6, dtype=torch.bool)
    tolerance = {"atol": 1e-6 if dtype is torch.float64 else 1e-5, "rtol": 1e-6}
    distances = model.unifrac(branches, placed, placed).double()
    torch.testing.assert_close(distances[off_diagonal], torch.from_numpy(true.unifrac)[off_diagonal], **tolerance)
    faith = model.faith_pd(branches, *slots_of_batch[:2]).double()
    torch.testing.assert_close(faith, torch.from_numpy(true.faith_pd), **tolerance)
    between = model.patristic(branches).double()
    apart = ~torch.eye(40, dtype=torch.bool)
    torch.testing.assert_close(between[apart], torch.from_numpy(targets.patristic(np.arange(40)))[apart], **tolerance)


@pytest.mark.parametrize("metric", METRICS)
def test_equal_samples_are_at_distance_0_and_samples_without_anything_in_common_at_1(metric: Metric):
    model = tree(metric)
    branches = Branches(*(torch.tensor(part, dtype=torch.float64) for part in ([[1, 0], [0, 1]], [1, 1], [2, 3])))
    placed = model.place_samples(branches, *slots([{0: 1.0}, {0: 1.0}, {1: 1.0}]))
    found = model.unifrac(branches, placed, placed)
    assert found[0, 1].item() == pytest.approx(0.0, abs=1e-12)
    # nothing shared: (2 + 1) + (3 + 1) = 7 in units of length, 1 as a fraction
    assert found[0, 2].item() == pytest.approx(7.0 if metric == "weighted" else 1.0)


@pytest.mark.parametrize("metric", METRICS)
def test_padding_has_no_part(metric: Metric):
    model, (index, valid, abundance) = tree(metric), slots(SAMPLES)
    clean = model.place_samples(by_hand(), index, valid, abundance)
    junk = model.place_samples(by_hand(), index.masked_fill(~valid, 2), valid, abundance.masked_fill(~valid, math.nan))
    assert torch.equal(junk.x, clean.x) and torch.equal(junk.tips, clean.tips)


@pytest.mark.parametrize("metric", METRICS)
def test_gradients_agree_with_differences(metric: Metric):
    """Also where two samples are the same and where an ASV is shared, the kinks of |a - b| and of the maximum."""
    torch.manual_seed(0)
    model = LatentTree(tiny_model(unifrac_metric=metric, branches=5)).double()
    index, valid, abundance = slots([*SAMPLES, SAMPLES[0]])
    embeddings = torch.randn(3, 32, dtype=torch.float64)
    one, two = torch.triu_indices(4, 4, 1)

    def figures(members: Tensor, tips: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        branches = Branches(members, tips, lengths)
        placed = model.place_samples(branches, index, valid, abundance)
        between = model.patristic(branches)[*torch.triu_indices(3, 3, 1)]
        return model.unifrac(branches, placed, placed)[one, two], between, model.faith_pd(branches, index, valid)

    start = [part.detach().requires_grad_() for part in drawn(model, embeddings)]
    assert torch.autograd.gradcheck(figures, start)


def drawn(model: LatentTree, embeddings: Tensor) -> Branches:
    """Branches of a fresh head in float64; `forward` itself answers in float32."""
    members = torch.sigmoid(model.membership(embeddings))
    softplus = torch.nn.functional.softplus
    return Branches(members, softplus(model.tip(embeddings))[:, 0], softplus(model.length))


@pytest.mark.parametrize("metric", METRICS)
def test_a_fresh_head_has_finite_figures_and_gradients(metric: Metric):
    torch.manual_seed(0)
    model = LatentTree(tiny_model(unifrac_metric=metric))
    embeddings = torch.randn(3, 32, requires_grad=True)
    branches = model(embeddings)
    assert branches.members.shape == (3, 64) and branches.tips.shape == (3,) and branches.lengths.shape == (64,)
    assert ((branches.members >= 0) & (branches.members <= 1)).all()
    assert (branches.tips >= 0).all() and (branches.lengths >= 0).all()
    index, valid, abundance = slots([*SAMPLES, SAMPLES[0]])
    placed = model.place_samples(branches, index, valid, abundance.float())
    distances = model.unifrac(branches, placed, placed)
    (distances.sum() + model.patristic(branches).sum()).backward()
    assert distances.isfinite().all() and embeddings.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("metric", ["unweighted", "weighted_normalized", "generalized"])
@pytest.mark.parametrize("mean", [0.45, 0.53])
def test_calibrated_heads_start_at_the_mean_of_the_targets(metric: Metric, mean: float):
    torch.manual_seed(0)
    model, batch = LatentTree(tiny_model(unifrac_metric=metric)), community(6, 60, 12).batch(range(6), hiding=None)
    embeddings = torch.randn(len(batch.asvs), 32)
    model.start_at_mean(embeddings, batch.index, batch.valid, batch.abundance, mean)
    branches = model(embeddings)
    placed = model.place_samples(branches, batch.index, batch.valid, batch.abundance)
    pairs = model.unifrac(branches, placed, placed)[*torch.triu_indices(6, 6, 1)]
    assert pairs.mean().item() == pytest.approx(mean, abs=0.01)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_branches_keep_float32_under_autocast(dtype: torch.dtype):
    torch.manual_seed(0)
    model, embeddings = LatentTree(tiny_model()), torch.randn(5, 32)
    with torch.autocast("cpu", dtype=dtype):
        found = model(embeddings)
    for part, wanted in zip(found, model(embeddings), strict=True):
        assert torch.equal(part, wanted)
