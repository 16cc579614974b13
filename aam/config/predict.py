"""Settings of `aam predict`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aam.config.fields import option
from aam.config.finetune import FoldConfig


@dataclass(frozen=True)
class PredictConfig:
    """What is predicted from and how; the files it reads are options of `DataConfig`."""

    model: Path | None = option(
        None, "Run directory of `aam train` (all its folds predict together), or a checkpoint in it."
    )
    draws: int = option(8, "Rarefactions of each sample whose predictions are averaged.", low=1)
    coverage: float = option(
        FoldConfig.coverage, "Part of the samples that prediction intervals are to cover.", above=0.0, high=0.999
    )
    rarefy_depth: str | None = option(
        None, "Reads drawn per sample, a number or 'none' (default: as in training); shallower samples are refused."
    )
