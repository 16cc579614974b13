"""Building blocks of config fields: choices, defaults with a help line, and bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

Selection = Literal["abundance", "random", "weighted"]
Metric = Literal["unweighted", "weighted", "weighted_normalized", "generalized"]
UnifracMetric = Literal[Metric, "faith_pd"]
UnifracEngine = Literal["torch", "unifrac", "skbio"]
UnifracHead = Literal["latent-tree", "euclidean", "both"]
Precision = Literal["fp32", "bf16", "fp16"]
TrainingPrecision = Literal[Precision, "auto"]
"""`auto` stands for fp32 until a run has chosen between it and bf16."""
Optimizer = Literal["muon", "adamw"]
OnFault = Literal["stop", "skip", "rollback"]
Preset = Literal["tiny", "small", "base", "large"]
Orient = Literal["auto", "none"]
SHIPPED = "shipped"
"""Word that stands for the encoder, or the reference, that comes with the package."""
Positions = Literal["read", "gene"]
Windows = Literal["reads", "random"]
GENE_COLUMNS = 1739
"""Columns of the profile of the 16S gene in `aam.gene`."""
AUTO_BASES = 0
"""The number of bases that stands for `--max-bp auto` until the data tell it."""
MOST_BASES, MOST_TOKENS = 20_000, 1_000_000
"""Largest --max-bp: twice the longest rRNA operon."""
MOST_STEPS, MOST_EPOCHS, TEN_YEARS = 10**9, 10**6, 5_256_000.0
"""Longest runs, in steps, epochs and minutes; more is a slip of the keyboard."""
MOST_THREADS = 1024
"""More cores than a node of a cluster has."""
LARGEST_WEIGHT, LARGEST_RATE, LARGEST_DECAY = 1e6, 100.0, 1000.0
"""Largest weights of loss terms, learning rates and weight decays: far above any that learns."""


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    words: Mapping[str, int] | None = None,
) -> Any:
    """Define a config field: default, help line, and bounds to enforce (`above` excludes the bound itself).

    `words` are values that an option of a number takes besides, each with the number that stands for it.
    """
    bounds = {"low": low, "high": high, "above": above}
    return field(default=default, metadata={"help": help, "words": words or {}} | bounds)


def part(kind: type, title: str) -> Any:
    """Define a field that is itself a config class; the help lists its options under this title."""
    return field(default_factory=kind, metadata={"title": title})


def derived(default: Any, *, low: float | None = None, high: float | None = None) -> Any:
    """Define a field that is computed from options or data; it is recorded, and checked when read, but is no option."""
    return field(default=default, metadata={"derived": True, "low": low, "high": high})


def option_flag(name: str) -> str:
    """The command-line spelling of a field name."""
    return "--" + name.replace("_", "-")
