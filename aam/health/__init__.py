"""Find, explain and survive numerical faults in any `nn.Module`.

The names below are loaded on first use, so that importing this package does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aam.health.groups import parameter_groups as parameter_groups
    from aam.health.guards import assert_finite as assert_finite
    from aam.health.guards import check_gradients as check_gradients
    from aam.health.guards import clamp_and_check as clamp_and_check
    from aam.health.linalg import robust_eigh as robust_eigh
    from aam.health.locator import locate as locate
    from aam.health.monitor import watch as watch
    from aam.health.stats import format_stats as format_stats

_HOME = {
    "assert_finite": "guards",
    "check_gradients": "guards",
    "clamp_and_check": "guards",
    "format_stats": "stats",
    "locate": "locator",
    "parameter_groups": "groups",
    "robust_eigh": "linalg",
    "watch": "monitor",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
