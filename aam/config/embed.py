"""Settings of the commands that put a trained model to a table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aam.config.fields import Precision, option
from aam.config.unifrac import UnifracConfig

ExportWhat = Literal["asvs", "samples"]
EmbedWhat = Literal["samples", "asvs", "branches"]
DistanceMethod = Literal["auto", "latent-tree", "grown-tree"]


@dataclass(frozen=True)
class ApplyConfig:
    """What every command with --model takes beside it and the table."""

    rarefy_depth: str = option(
        UnifracConfig.rarefy_depth,
        "Reads drawn per sample: a number, 'none' for all reads, or 'auto'; shallower samples are dropped.",
    )
    cache: Path | None = option(
        None, "Folder that keeps ASV embeddings by sequence and weights; later runs go on from what is there."
    )
    precision: Precision = option(
        "fp32",
        "Arithmetic of the encoders' matrix products; bf16 takes half the time where there is hardware for it, and "
        "embeddings differ by about 0.5 %.",
    )


@dataclass(frozen=True)
class EmbedConfig:
    """What `aam embed` writes."""

    what: EmbedWhat = option(
        "samples", "Sample embeddings, ASV embeddings, or coordinates of samples on the latent branches."
    )


@dataclass(frozen=True)
class DistanceConfig:
    """How `aam distance` finds UniFrac."""

    method: DistanceMethod = option(
        "auto",
        "By the branches that were learned, for studies like those of training; on a tree grown from learned distances "
        "between the ASVs, for other studies; auto tells by the ASVs that samples share with those of training.",
    )


@dataclass(frozen=True)
class ExportConfig:
    """What `aam export` writes."""

    what: ExportWhat = option("asvs", "The encoder of ASVs, or that of samples from embedded ASVs.")


@dataclass(frozen=True)
class ExplainConfig:
    """What `aam explain` looks at."""

    of: str | None = option(
        None, "Target or class that is explained, of a model of `aam train` (default: its first target, or last class)."
    )
    max_samples: int = option(200, "Most samples that are explained; more are drawn down to this, seeded.", low=1)
