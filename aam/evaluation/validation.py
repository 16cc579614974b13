"""What the loop asks of held-out samples again and again: the losses, and the figures of the model alone."""

from __future__ import annotations

from collections.abc import Callable

import torch

from aam.data.dataset import Batch
from aam.evaluation.heldout import HeldOut
from aam.models.pretrain_model import PretrainModel
from aam.training.losses import Losses


def validate(model: PretrainModel, held_out: HeldOut, score: Callable[[Batch], Losses]) -> dict[str, float]:
    """Mean loss terms over the held-out batches, weighted by samples, and the held-out figures."""
    training = model.training
    model.eval()
    sums: dict[str, float] = {}
    with torch.inference_mode():
        for batch in held_out.batches:
            losses = score(batch)
            for name, value in {"loss": losses.total, **losses.terms}.items():
                sums[name] = sums.get(name, 0.0) + value.item() * len(batch.sample_ids)
    model.train(training)
    count = sum(len(batch.sample_ids) for batch in held_out.batches)
    return {name: value / count for name, value in sums.items()} | held_out.figures(model)
