"""Settings of the commands that apply a trained model, and of `aam unifrac`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from aam.config.convert import part_of
from aam.config.fields import Precision, UnifracEngine, UnifracMetric, option
from aam.config.finetune import FoldConfig
from aam.config.pretrain import DataConfig, ModelConfig, RunConfig

ExportWhat = Literal["asvs", "samples"]
EmbedWhat = Literal["samples", "asvs", "branches"]
DistanceMethod = Literal["auto", "latent-tree", "grown-tree"]


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


class Inputs(NamedTuple):
    """The path of a trained model, and the settings of the samples that it is applied to."""

    model: Path
    data: DataConfig
    apply: ApplyConfig = ApplyConfig()
    run: RunConfig = RunConfig()

    @classmethod
    def of(cls, model: Path, asked: dict[str, Any]) -> Inputs:
        """From options by name, of which those of other classes are ignored; raises ConfigError for a wrong value."""
        return cls(model, part_of(DataConfig, asked), part_of(ApplyConfig, asked), part_of(RunConfig, asked))


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
