"""Losses of labels by hand, class weights, and learning rates down the encoder."""

from __future__ import annotations

import pytest
import torch

from aam.config import FinetuneConfig, NumericTarget, TargetConfig, TargetSchema, tiny
from aam.errors import ConfigError
from aam.models.finetune_model import FinetuneModel
from aam.training.finetune import groups_with_rates, layers_below_head
from aam.training.objective import (
    BEND,
    TargetObjective,
    balanced_weights,
    class_loss,
    loss_name,
    number_losses,
    pinball_loss,
)


def losses_of(loss: str, predicted: list[float], true: list[float], **more: float) -> list[float]:
    config = TargetConfig(target=("y",), loss=loss, **more)
    return number_losses(torch.tensor(predicted)[:, None, None], torch.tensor(true)[:, None], config)[:, 0].tolist()


def test_number_losses_by_hand() -> None:
    assert losses_of("mse", [2.0, 0.0], [0.0, 1.0]) == [4.0, 1.0]
    assert losses_of("mae", [2.0, 0.0], [0.0, 1.0]) == [2.0, 1.0]
    # beyond the bend d a Huber error e costs d (|e| - d / 2), here divided by d; within it e^2 / 2d
    assert losses_of("huber", [2.0, 0.1], [0.0, 0.0]) == pytest.approx([2.0 - BEND / 2, 0.01 / (2 * BEND)])
    assert losses_of("asymmetric", [2.0, 0.0], [0.0, 1.0], over_penalty=3.0, under_penalty=0.5) == [6.0, 0.5]


def test_pinball_by_hand() -> None:
    # truth 1: of quantile 0.9 predicted 0, one unit short costs 0.9; predicted 3, two above cost 0.1 each
    assert pinball_loss(torch.tensor([[[0.0]], [[3.0]]]), torch.tensor([[1.0], [1.0]]), (0.9,))[
        :, 0
    ].tolist() == pytest.approx([0.9, 0.2])


def test_missing_numbers_do_not_count() -> None:
    objective = TargetObjective(TargetConfig(target=("a", "b"), loss="mse"), None)
    predicted = torch.tensor([[1.0, 5.0], [3.0, 7.0]])[..., None]
    known = torch.tensor([[True, False], [True, False]])
    losses = objective.score(predicted, torch.zeros(2, 2), known, torch.tensor([-1, -1]))
    assert losses.terms["a"].item() == 5.0  # (1 + 9) / 2
    assert losses.terms["b"].item() == 0.0
    assert losses.total.item() == 2.5


def test_balanced_classes_weigh_the_same() -> None:
    classes = torch.tensor([0, 0, 0, 1, -1])
    weights = balanced_weights(classes, 3)
    assert weights.tolist() == pytest.approx([4 / 6, 2.0, 0.0])  # 4 samples, 2 classes of 3 and 1; none of the third
    logits = torch.zeros(5, 3)
    assert class_loss(logits, classes, weights).item() == pytest.approx(torch.tensor(3.0).log().item())
    assert class_loss(logits, torch.full((5,), -1), weights).item() == 0.0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"loss": "pinball"}, "cannot score --task regression"),
        ({"task": "quantiles", "quantiles": (0.9, 0.1)}, "rising"),
    ],
)
def test_losses_that_do_not_fit_are_refused(more, message) -> None:
    with pytest.raises(ConfigError, match=message):
        loss_name(TargetConfig(target=("y",), **more))


def test_deeper_layers_learn_more_slowly() -> None:
    config = FinetuneConfig(model=tiny(), schema=TargetSchema(numbers=(NumericTarget("y"),)))
    groups = groups_with_rates(FinetuneModel(config), config, pretrained=True)
    scale = {name: group["scale"] for group in groups for name in group["names"]}
    rate, decay = config.optim.encoder_rate, config.optim.layer_decay
    assert scale["head.hidden"] == 1.0
    assert scale["encoder.sample_encoder.pooling.query.weight"] == rate
    assert scale["encoder.sample_encoder.transformer.blocks.0.attention.merge.weight"] == rate
    assert scale["encoder.asv_encoder.pooling.query.weight"] == pytest.approx(rate * decay)
    assert scale["encoder.asv_encoder.base.weight"] == pytest.approx(rate * decay**2)
    model = FinetuneModel(config)
    learned = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert set(scale) == learned
    assert {group["scale"] for group in groups_with_rates(model, config, pretrained=False)} == {1.0}


def test_blocks_are_counted_from_the_head() -> None:
    model = tiny()
    assert layers_below_head("head.top", model) is None
    assert layers_below_head("encoder.asv_encoder.transformer.norm.weight", model) == 1
    assert layers_below_head("encoder.sample_encoder.abundance.0.weight", model) == 1
