"""One update: the mean gradient of its batches, nothing at all where something is not finite."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from generated_samples import HIDING, community, tiny_model
from torch import Tensor

from aam.config import OptimConfig, PretrainConfig
from aam.corpus.batches import TrainingBatches
from aam.corpus.dataset import Batch
from aam.errors import NonFiniteError
from aam.training.run import build_learner
from aam.training.step import Learner, score, step

COMMUNITY = community(samples=16, asvs=40, richness=10)
HORIZON = 10


def batches() -> TrainingBatches:
    return TrainingBatches(COMMUNITY.dataset(8, depth=60), 4, COMMUNITY.targets(), HIDING)


def learner(**optim: object) -> Learner:
    config = PretrainConfig(model=tiny_model(), optim=OptimConfig(**{"batch_size": 4} | optim))
    return build_learner(config, batches(), torch.device("cpu"))


def weights(found: Learner) -> dict[str, Tensor]:
    """Everything that an update changes."""
    tensors = {name: tensor.clone() for name, tensor in found.model.state_dict().items()}
    for index, entry in found.optimizer.state_dict()["state"].items():
        tensors |= {f"{index}.{name}": tensor.clone() for name, tensor in entry.items()}
    return tensors


def assert_untouched(found: Learner, before: dict[str, Tensor]) -> None:
    after = weights(found)
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name].nan_to_num(7.0), tensor.nan_to_num(7.0)), name


def spoiled(batch: Batch, name: str) -> Batch:
    """The batch with a NaN in one of its targets."""
    tensor = getattr(batch, name).clone()
    tensor.view(-1)[1] = math.nan
    return dataclasses.replace(batch, **{name: tensor})


def test_every_weight_moves_from_the_first_step_on():
    found = learner()
    before = weights(found)
    step(found, [batches()[0]], 0, HORIZON)
    still = [name for name, tensor in found.model.state_dict().items() if torch.equal(tensor, before[name])]
    assert still == []


def test_a_step_is_a_function_of_weights_batches_and_numbers():
    results = [step(learner(), [batches()[3]], 2, HORIZON) for _ in range(2)]
    assert torch.equal(results[0].terms, results[1].terms) and torch.equal(results[0].grad_norm, results[1].grad_norm)


def test_accumulated_gradients_are_the_mean_of_those_of_the_batches():
    micro = [batches()[number] for number in range(4)]
    alone, totals = learner(), []
    for batch in micro:
        total = score(alone, batch)[1].total
        total.backward()  # gradients add up
        totals.append(total.item())
    together = learner(clip_norm=1e9)
    result = step(together, micro, 0, HORIZON)
    for (name, one), other in zip(alone.model.named_parameters(), together.model.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad / 4, atol=1e-6, rtol=1e-4, msg=name)
    assert result.names[0] == "loss" and result.terms[0].item() == pytest.approx(sum(totals) / 4, rel=1e-5)
    assert result.samples == 16


def test_gradients_are_clipped_and_the_norm_before_is_told():
    found = learner(clip_norm=0.01)
    result = step(found, [batches()[0]], 0, HORIZON)
    clipped = torch.stack([parameter.grad.norm() for parameter in found.model.parameters()]).norm()
    assert result.grad_norm > 0.1 and clipped.item() == pytest.approx(0.01, rel=1e-3)


def test_a_weight_that_is_nan_is_named_and_nothing_is_updated():
    found = learner()
    step(found, [batches()[0]], 0, HORIZON)
    with torch.no_grad():
        found.model.latent_tree.tip.weight[0, 3] = math.nan
    before, batch = weights(found), batches()[1]
    with pytest.raises(NonFiniteError) as caught:
        step(found, [batch], 1, HORIZON)
    text = str(caught.value)
    assert text.startswith("NaN values found in parameter latent_tree.tip.weight with shape torch.Size([1, 32]): min=")
    named, more = ", ".join(batch.sample_ids[:3]), len(batch.sample_ids) - 3
    assert f"(step 2, samples {named} and {more} more); nothing was updated" in text
    assert_untouched(found, before)


@pytest.mark.parametrize(
    ("place", "name"),
    [
        pytest.param(place, name, marks=() if place == number else pytest.mark.slow)
        for place in range(3)
        for number, name in enumerate(["unifrac", "patristic", "faith_pd"])
    ],
)
def test_a_target_that_is_nan_is_named_with_the_samples_of_its_batch(name: str, place: int):
    found, micro = learner(), [batches()[number] for number in range(3)]
    micro[place] = spoiled(micro[place], name)
    before = weights(found)
    with pytest.raises(NonFiniteError, match=f"NaN values found in {name}_true with shape") as caught:
        step(found, micro, 0, HORIZON)
    assert f"samples {', '.join(micro[place].sample_ids[:3])}" in str(caught.value)
    assert_untouched(found, before)


def test_a_gradient_that_is_infinite_is_named():
    found = learner()
    weight = found.model.hidden_asvs.rare.weight
    weight.register_hook(lambda gradient: gradient + math.inf)
    before = weights(found)
    with pytest.raises(NonFiniteError, match=r"(?s)non-finite loss or gradients at step 1.*hidden_asvs\.rare\.w"):
        step(found, [batches()[0]], 0, HORIZON)
    assert_untouched(found, before)


def test_a_step_without_patristic_targets_or_faith_pd():
    """As with a precomputed UniFrac matrix."""
    found = learner()
    batch = dataclasses.replace(batches()[0], patristic=None, patristic_rows=None, faith_pd=None)
    result = step(found, [batch], 0, HORIZON)
    assert {"patristic", "faith_pd"}.isdisjoint(result.names) and torch.isfinite(result.terms).all()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_much_the_same(precision: str):
    exact = step(learner(), [batches()[0]], 0, HORIZON)
    found = learner(precision=precision)
    before = weights(found)
    half = step(found, [batches()[0]], 0, HORIZON)
    torch.testing.assert_close(half.terms, exact.terms, atol=0.05, rtol=0.05)
    assert half.grad_norm.item() == pytest.approx(exact.grad_norm.item(), rel=0.1)
    assert not torch.equal(weights(found)["latent_tree.tip.weight"], before["latent_tree.tip.weight"])
    assert all(parameter.dtype == torch.float32 for parameter in found.model.parameters())


def test_gradients_that_overflow_fp16_are_skipped_and_the_scale_is_halved():
    found = learner(precision="fp16")
    found.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**100)
    before = weights(found)
    step(found, [batches()[0]], 0, HORIZON)
    after = weights(found)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not any(after[name].any() for name in after.keys() - before.keys())  # the moments are still 0
    assert found.scaler.get_scale() == 2.0**99


def test_a_weight_that_is_nan_is_no_overflow():
    found = learner(precision="fp16")
    with torch.no_grad():
        found.model.latent_tree.tip.weight[0, 3] = math.nan
    with pytest.raises(NonFiniteError, match="parameter latent_tree.tip.weight"):
        step(found, [batches()[0]], 0, HORIZON)
