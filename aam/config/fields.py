"""Building blocks of config fields: choices, defaults with a help line, and bounds."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

Selection = Literal["abundance", "random", "weighted"]
Metric = Literal["unweighted", "weighted", "weighted_normalized", "generalized"]
UnifracMetric = Literal[Metric, "faith_pd"]
UnifracEngine = Literal["torch", "unifrac", "skbio"]
UnifracHead = Literal["latent-tree", "euclidean", "both"]
Precision = Literal["fp32", "bf16", "fp16"]
Optimizer = Literal["muon", "adamw"]
OnFault = Literal["stop", "skip", "rollback"]
Preset = Literal["tiny", "small", "base", "large"]


def option(
    default: Any, help: str, *, low: float | None = None, high: float | None = None, above: float | None = None
) -> Any:
    """Define a config field: default, help line, and bounds to enforce (`above` excludes the bound itself)."""
    return field(default=default, metadata={"help": help, "low": low, "high": high, "above": above})


def part(kind: type, title: str) -> Any:
    """Define a field that is itself a config class; the help lists its options under this title."""
    return field(default_factory=kind, metadata={"title": title})


def derived(default: Any) -> Any:
    """Define a field that is computed from options or data; it is recorded but is no option."""
    return field(default=default, metadata={"derived": True})
