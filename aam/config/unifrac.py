"""Settings of `aam unifrac`."""

from __future__ import annotations

from dataclasses import dataclass

from aam.config.fields import UnifracEngine, UnifracMetric, option
from aam.config.pretrain import ModelConfig


@dataclass(frozen=True)
class UnifracConfig:
    """What `aam unifrac` computes; the files it reads are options of `DataConfig`."""

    metric: UnifracMetric = option("unweighted", "Which distance; faith_pd is a diversity, one number per sample.")
    alpha: float = option(ModelConfig.unifrac_alpha, "Exponent of generalized UniFrac.", low=0.0, high=1.0)
    engine: UnifracEngine = option(
        "torch", "What computes it: our own kernel (torch), the unifrac package, or scikit-bio."
    )
    rarefy_depth: str = option(
        "none", "Reads drawn per sample: a number, 'none' for all reads, or 'auto'; shallower samples are dropped."
    )
