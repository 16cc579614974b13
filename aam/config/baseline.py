"""Settings of `aam baseline` alone: which baselines predict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aam.config.fields import option

BaselineName = Literal[
    "random_forest",
    "random_forest_weighted",
    "study_forests",
    "gradient_boosting",
    "linear",
    "logistic_l1",
    "logistic_l2",
    "within_ridge_clades",
    "within_ridge_presence",
    "knn",
    "constant",
]


@dataclass(frozen=True)
class BaselineConfig:
    """Which baselines predict."""

    baseline: tuple[BaselineName, ...] = option(
        (),
        "Method to score; repeat the option for several (default: all that the data allow but gradient_boosting, which takes minutes; within_ridge_clades for several studies or with --reference).",
    )
    reference: Path | None = option(
        None,
        "Reference to place the ASVs on, for within_ridge_clades and knn: a folder that `aam reference` wrote, or shipped, the one that comes with aam (several studies: the default).",
    )
