"""Where a model computes, by name."""

from __future__ import annotations

import torch

from aam.errors import ConfigError


def resolve_device(name: str) -> torch.device:
    """The device of a name; `auto` prefers CUDA. Raises ConfigError for one that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"--device is {name!r}, expected auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device is {name!r}, expected auto, cpu, cuda or cuda:N")
    found = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= found:
        raise ConfigError(
            f"--device is {name!r}, but torch {torch.__version__} finds {found} CUDA devices; use --device cpu or auto"
        )
    return device
