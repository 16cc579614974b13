"""What a run could do better on the machine at hand, in a line on stderr."""

from __future__ import annotations

import torch

from aam.cli.terminal import TERMINAL
from aam.config import Precision
from aam.workflows.notes import say_precision_advice


def tell_precision(precision: Precision, device: torch.device) -> None:
    """Recommend bfloat16 where a run does without it on hardware that has it."""
    say_precision_advice(precision, device, TERMINAL)
