"""Find, explain and survive numerical faults in any `nn.Module`.

The names below are loaded on first use, so that importing this package does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aam.health.groups import parameter_groups as parameter_groups
    from aam.health.stats import format_stats as format_stats

_HOME = {
    "parameter_groups": "groups",
    "format_stats": "stats",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
