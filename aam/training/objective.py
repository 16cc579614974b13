"""What a training run asks of its model: the seam at which pretraining and fine-tuning differ.

The step hands an objective a batch and gets back what the model may see of it; it runs the model, and hands the output
back to be scored. It knows nothing of nucleotides, trees or labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from aam.config import LossConfig
from aam.data.dataset import Batch
from aam.models.pretrain_model import PretrainInputs, PretrainOutput
from aam.training.losses import Losses, TargetScale, pretrain_losses


class Objective(Protocol):
    """The questions of a run; batches are on the device of the model, outputs are dataclasses of tensors or None."""

    def inputs(self, batch: Any) -> Any:
        """What the model may see of a batch: the argument of its `forward`."""

    def losses(self, output: Any, batch: Any) -> Losses:
        """Score an output; nothing is read from the device."""

    def targets(self, batch: Any) -> list[tuple[str, Tensor | None]]:
        """What the output was compared with, by name; looked through where a loss is not finite."""


@dataclass(frozen=True)
class PretrainObjective:
    """Masked nucleotides, UniFrac, tree distances, hidden ASVs, counts and Faith PD."""

    weights: LossConfig
    scale: TargetScale

    def inputs(self, batch: Batch) -> PretrainInputs:
        return model_inputs(batch)

    def losses(self, output: PretrainOutput, batch: Batch) -> Losses:
        return pretrain_losses(output, batch, self.weights, self.scale)

    def targets(self, batch: Batch) -> list[tuple[str, Tensor | None]]:
        return [
            ("unifrac_true", batch.unifrac),
            ("faith_pd_true", batch.faith_pd),
            ("patristic_true", batch.patristic),
        ]


def model_inputs(batch: Batch) -> PretrainInputs:
    """What the pretraining model may see of a batch."""
    return PretrainInputs(
        tokens=batch.tokens,
        index=batch.index,
        valid=batch.valid,
        abundance=batch.abundance,
        seen=~batch.hidden,
        counted=~batch.uncounted,
        masked_tokens=batch.masked_tokens,
        masked_at=batch.masked_at,
        patristic_rows=batch.patristic_rows,
    )
