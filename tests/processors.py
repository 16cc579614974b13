"""Cases that take minutes on a processor that only imitates bfloat16, and seconds on another."""

from __future__ import annotations

from typing import Any

import pytest
import torch

FAST_BF16 = torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "AVX2")
"""Whether torch makes products in bfloat16 with oneDNN, which needs AVX-512; else each takes many times as long."""


def slow_without_bf16(*values: Any) -> Any:
    """A case of `parametrize` that is marked slow where bfloat16 is imitated."""
    return pytest.param(*values, marks=() if FAST_BF16 else pytest.mark.slow)
