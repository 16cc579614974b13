"""Settings of the commands that apply a trained model, and of `aam unifrac`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from aam.config.convert import from_some
from aam.config.fields import MOST_TOKENS, SHIPPED, Precision, UnifracEngine, UnifracMetric, option
from aam.config.finetune import FoldConfig
from aam.config.pretrain import DataConfig, ModelConfig
from aam.config.run import RunConfig

ExportWhat = Literal["asvs", "samples"]
EmbedWhat = Literal["samples", "asvs", "branches"]
DistanceMethod = Literal["auto", "latent-tree", "grown-tree", "placement"]
InsertionTips = Literal["asvs", "reference"]


@dataclass(frozen=True)
class UnifracConfig:
    """Settings of `aam unifrac`; its input files are options of `DataConfig`."""

    metric: UnifracMetric = option(
        "unweighted", "What to compute: a UniFrac distance, or faith_pd, one number per sample."
    )
    alpha: float = option(ModelConfig.unifrac_alpha, "Exponent alpha of generalised UniFrac.", low=0.0, high=1.0)
    engine: UnifracEngine = option("torch", "What computes it: aam itself (torch), the unifrac package, or scikit-bio.")
    rarefy_depth: str = option(
        "none",
        "Reads drawn per sample: a number, 'none' for all reads, or 'auto' as in `aam pretrain`; samples with fewer reads are dropped.",
    )


@dataclass(frozen=True)
class ApplyConfig:
    """Settings that all commands with --model share, besides the model and the table."""

    rarefy_depth: str = option(
        UnifracConfig.rarefy_depth,
        "Reads drawn per sample: a number, 'none' for all reads, or 'auto' for the depth of training (without a model: as in `aam pretrain`); samples with fewer reads are dropped.",
    )
    token_limit: int | None = option(
        None,
        "Largest number of ASVs per sample that the model reads (default: as in training).",
        low=1,
        high=MOST_TOKENS,
    )
    cache: Path | None = option(None, "Folder of stored ASV embeddings; later commands with the same model reuse them.")
    precision: Precision = option(
        "fp32",
        "Number format of the encoders' matrix products; bf16 takes half the time on hardware that supports it, and "
        "embeddings differ by about 0.5 %.",
    )


class Inputs(NamedTuple):
    """A trained model, by folder or by name, and the settings of the samples that it is applied to."""

    model: Path
    data: DataConfig
    apply: ApplyConfig = ApplyConfig()
    run: RunConfig = RunConfig()

    @classmethod
    def of(cls, model: Path | None, asked: dict[str, Any]) -> Inputs:
        """Build from options by name; without a model, of the encoder that comes with the package.

        Ignores options of other classes, raises ConfigError for a wrong value.
        """
        model = model or Path(SHIPPED)
        return cls(model, from_some(DataConfig, asked), from_some(ApplyConfig, asked), from_some(RunConfig, asked))


@dataclass(frozen=True)
class EmbedConfig:
    """Settings of `aam embed`."""

    what: EmbedWhat = option(
        "samples",
        "What to write: sample embeddings, ASV embeddings, or each sample's coordinates on the latent branches.",
    )


@dataclass(frozen=True)
class DistanceConfig:
    """Settings of `aam distance`."""

    method: DistanceMethod = option(
        "auto",
        "How to find UniFrac: placement of the ASVs on a reference tree; by a model, latent-tree for the studies that it was "
        "trained on and grown-tree for other studies. auto is placement without --model; with it, how similar the ASVs of "
        "the table are to those of training decides between the other two.",
    )


@dataclass(frozen=True)
class PlaceConfig:
    """Settings of `aam place` besides the reference; its input files are options of `DataConfig`."""

    tree: InsertionTips = option(
        "asvs", "Tips of insertion-tree.nwk: the ASVs alone, or the ASVs and those of the reference."
    )
    confidence: float = option(0.7, "Lowest confidence of the last rank of a taxon in taxonomy.tsv.", low=0.0, high=1.0)


@dataclass(frozen=True)
class ExportConfig:
    """Settings of `aam export`."""

    what: ExportWhat = option("asvs", "Which encoder to write: of ASVs, or of samples from ASV embeddings.")


@dataclass(frozen=True)
class ExplainConfig:
    """Settings of `aam explain`."""

    of: str | None = option(
        None, "Target or class to explain, for a model of `aam train` (default: its first target, or its last class)."
    )
    max_samples: int = option(
        200,
        "Largest number of samples to explain; of a larger table this many are drawn by --seed.",
        low=1,
        high=10_000_000,
    )
    taxonomy: Path | None = option(
        None, "Lineages of the ASVs, to name them: taxonomy.tsv of `aam place`, or of QIIME 2 (.qza or .tsv)."
    )


@dataclass(frozen=True)
class PredictConfig:
    """Settings of `aam predict`; its input files are options of `DataConfig`."""

    model: Path | None = option(
        None,
        "Run directory of `aam train` (the predictions of all its folds are averaged), a checkpoint in it, or the name of a model of `aam models`.",
    )
    draws: int = option(8, "Number of rarefactions per sample; their predictions are averaged.", low=1, high=1000)
    coverage: float = option(
        FoldConfig.coverage,
        "Fraction of the samples whose true value the prediction interval should contain.",
        above=0.0,
        high=0.999,
    )
    rarefy_depth: str | None = option(
        None,
        "Reads drawn per sample: a number, or 'none' for all reads (default: as in training); samples with fewer reads are not predicted.",
    )
    token_limit: int | None = option(
        None,
        "Largest number of ASVs per sample that the model reads (default: as in training).",
        low=1,
        high=MOST_TOKENS,
    )
    prevalence: str | None = option(
        None,
        "How frequent one of two classes is among the samples, as CLASS=FRACTION, or FRACTION for the second class; the probabilities are shifted so that this is their mean.",
    )
