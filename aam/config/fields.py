"""What a config field is made of: choices, defaults with a help line, and bounds."""

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
    """A config field: its default, its one help line, and the bounds that are enforced (`above` excludes the bound)."""
    return field(default=default, metadata={"help": help, "low": low, "high": high, "above": above})


def part(kind: type, title: str) -> Any:
    """A field that is itself a config class; its options stand under this title in the help."""
    return field(default_factory=kind, metadata={"title": title})


def derived(default: Any) -> Any:
    """A config field that is computed from options and recorded, but is no option itself."""
    return field(default=default, metadata={"derived": True})
