"""Attention All Microbes: a transformer pretrained on amplicon sequences, their abundances and their phylogeny."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

_HOME = {
    "open_model": "aam.checkpoint",
    "read_table": "aam.io.table",
    "read_tree": "aam.phylogeny.tree",
}
"""Public name -> the module it is imported from when it is first used, so that `import aam` costs nothing."""

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
