"""Settings of `aam pretrain`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aam.config.fields import (
    AUTO_BASES,
    LARGEST_DECAY,
    LARGEST_RATE,
    LARGEST_WEIGHT,
    MOST_BASES,
    MOST_TOKENS,
    Metric,
    Optimizer,
    Orient,
    Positions,
    Selection,
    TrainingPrecision,
    UnifracHead,
    derived,
    option,
    part,
)
from aam.config.health import HealthConfig
from aam.config.reads import ReadsRecord
from aam.config.reference import TipsConfig
from aam.config.run import RanksConfig, RunConfig


@dataclass(frozen=True)
class DataConfig:
    """Input files, drawing of samples, and held-out samples."""

    table: Path | None = option(
        None, "Feature table with read counts of ASVs: BIOM (HDF5 or JSON), QIIME 2 .qza, or TSV."
    )
    tree: Path | None = option(
        None, "Rooted phylogeny with branch lengths: Newick or QIIME 2 .qza; its tips are named like the table's ASVs."
    )
    sequences: Path | None = option(
        None, "ASV sequences (FASTA or .qza); needed if the table's ASV ids are not sequences but, e.g., MD5 hashes."
    )
    unifrac_matrix: Path | None = option(
        None, "Precomputed UniFrac matrix to use instead of a tree: .npy, .h5, .tsv or .qza; samples are matched by id."
    )
    corpus: Path | None = option(None, "Corpus that `aam prepare` wrote; replaces --table, --tree and --sequences.")
    example: bool = option(False, "Use the embedded example: 190 infant stool samples, 310 ASVs, with their tree.")
    metadata: Path | None = option(
        None, "Sample metadata (TSV, QIIME 2 conventions); needed by every option that names a column."
    )
    group_column: str | None = option(
        None, "Metadata column of groups, e.g. subjects: all samples of a group are trained on, or all are held out."
    )
    validation_fraction: float = option(
        0.2, "Fraction of the samples (with --group-column: of the groups) to hold out.", above=0.0, high=0.9
    )
    validation_samples: Path | None = option(
        None, "File with the ids of the held-out samples, one per line; replaces the random split."
    )
    rarefy_depth: str = option(
        "auto",
        "Reads drawn per sample, anew in each epoch: a number, 'none' for all reads, or 'auto' for the largest depth, at most 5000, that keeps 90 % of the samples.",
    )
    token_limit: int = option(1024, "Largest number of ASVs per sample that the model reads.", low=1, high=MOST_TOKENS)
    asv_selection: Selection = option("abundance", "Which ASVs to keep if a sample has more than the token limit.")
    max_bp: int = option(
        150,
        "Number of bases read from the start of each sequence; longer sequences are cut; auto: the length of the reads.",
        low=1,
        words={"auto": AUTO_BASES},
        high=MOST_BASES,
    )
    positions: Positions = option(
        "read",
        "What a base's position is for the model: its number in the read, or (gene) its column on the 16S gene, by which reads of any region fit one model.",
    )
    trim: str = option(
        "none",
        "Bases of the reads to keep: none cuts nothing, auto keeps the bases of the 16S gene that all reads of the table have (with a model: that all reads of its training had), START:LENGTH keeps LENGTH bases from column START of the gene on.",
    )
    orient: Orient = option("auto", "Reads of the minus strand: auto reverse complements them, none leaves them.")
    max_missing: float = option(
        0.1,
        "Largest fraction of the ASVs that may be missing from the tree; missing ASVs are dropped and counted.",
        low=0.0,
        high=1.0,
    )
    reads: tuple[ReadsRecord, ...] = derived(())


@dataclass(frozen=True)
class ModelConfig:
    """Size and shape of the network."""

    asv_encoder: Literal["transformer", "mlp"] = option(
        "transformer", "Network that encodes each ASV: a transformer, or a one-hot MLP as a fast baseline."
    )
    dim: int = option(128, "Width of the ASV and sample embeddings.", low=1, high=16_384)
    heads: int = option(4, "Number of attention heads; --dim must be a multiple of it.", low=1, high=1024)
    asv_layers: int = option(2, "Number of transformer blocks of the ASV encoder.", low=1, high=256)
    sample_layers: int = option(2, "Number of transformer blocks of the sample encoder.", low=1, high=256)
    ffn_ratio: int = option(4, "Hidden width of the feed-forward layers, as a multiple of --dim.", low=1, high=64)
    patch: int = option(5, "Number of neighbouring bases that share one transformer position.", low=1, high=1024)
    pool_queries: int = option(
        8, "Number of learned queries that pool the positions of an ASV into its embedding.", low=1, high=1024
    )
    mean_features: int = option(
        0,
        "Random features of ASV embeddings whose mean over a sample is added to its embedding, which keeps ASVs apart that attention blends; 0: none.",
        low=0,
        high=65_536,
    )
    dropout: float = option(0.1, "Dropout of the sample encoder.", low=0.0, high=0.9)
    asv_dropout: float = option(0.0, "Dropout of the ASV encoder; slow on CPUs.", low=0.0, high=0.9)
    branches: int = option(512, "Number of latent branches of the latent tree.", low=1, high=65_536)
    unifrac_head: UnifracHead = option(
        "both",
        "What predicts UniFrac: the latent tree of the ASV embeddings, the sample embeddings (euclidean), or both.",
    )
    unifrac_metric: Metric = option("unweighted", "Which UniFrac the model learns.")
    unifrac_alpha: float = option(0.5, "Exponent alpha of generalised UniFrac.", low=0.0, high=1.0)
    max_bp: int = derived(150, low=0, high=MOST_BASES)
    positions: Positions = derived("read")


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms and how inputs are hidden from the model."""

    nucleotide_weight: float = option(0.1, "Weight of the loss of masked nucleotides.", low=0.0, high=LARGEST_WEIGHT)
    unifrac_weight: float = option(
        1.0, "Weight of the loss of UniFrac predicted by the latent tree.", low=0.0, high=LARGEST_WEIGHT
    )
    euclidean_weight: float = option(
        0.1, "Weight of the loss of UniFrac predicted from the sample embeddings.", low=0.0, high=LARGEST_WEIGHT
    )
    patristic_weight: float = option(
        0.4, "Weight of the loss of patristic (tip-to-tip) distances.", low=0.0, high=LARGEST_WEIGHT
    )
    masked_asv_weight: float = option(
        0.01,
        "Weight of the loss that separates a sample's hidden ASVs from ASVs absent from it.",
        low=0.0,
        high=LARGEST_WEIGHT,
    )
    count_weight: float = option(0.01, "Weight of the loss of hidden log abundances.", low=0.0, high=LARGEST_WEIGHT)
    faith_pd_weight: float = option(0.01, "Weight of the loss of Faith PD.", low=0.0, high=LARGEST_WEIGHT)
    mask_ratio: float = option(0.15, "Fraction of the bases of a masked ASV that are hidden.", above=0.0, high=0.9)
    masked_asvs: float = option(
        0.125,
        "Fraction of a batch's distinct ASVs that the ASV encoder also reads with hidden bases, for the nucleotide loss.",
        low=0.0,
        high=1.0,
    )
    hidden_asvs: float = option(
        0.15,
        "Fraction of a sample's ASVs that are hidden from the sample encoder; for the same number of other ASVs only the abundance is hidden.",
        low=0.0,
        high=0.4,
    )
    patristic_asvs: int = option(
        256, "Number of ASVs per batch whose patristic distances are learned.", low=0, high=16_384
    )
    reference_patristic_weight: float = option(
        0.4, "Weight of the loss of tree distances between tips of --reference.", low=0.0, high=LARGEST_WEIGHT
    )
    reference_nucleotide_weight: float = option(
        0.1, "Weight of the loss of masked nucleotides of tips of --reference.", low=0.0, high=LARGEST_WEIGHT
    )
    same_scale: bool = option(
        False,
        "Take the table's tree to have the units of --reference, as where SEPP inserted the ASVs in it; otherwise each tree has a scale of its own.",
    )


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser, schedule and arithmetic."""

    batch_size: int = option(32, "Samples per forward pass.", low=2, high=16_384)
    accumulate: int = option(1, "Forward passes whose gradients are summed into one step.", low=1, high=1024)
    optimizer: Optimizer = option(
        "muon",
        "muon: Muon at 3 times the learning rate for the matrices of the encoders' layers, AdamW for the rest; adamw: AdamW for all.",
    )
    lr: float = option(3e-3, "Peak learning rate.", above=0.0, high=LARGEST_RATE)
    weight_decay: float = option(0.1, "Weight decay, applied to matrices only.", low=0.0, high=LARGEST_DECAY)
    warmup_fraction: float = option(
        0.05,
        "Fraction of the run over which the learning rate rises to its peak; after that it falls to 0 linearly.",
        low=0.0,
        high=1.0,
    )
    clip_norm: float = option(
        1.0, "Largest gradient norm; larger gradients are scaled down to it.", above=0.0, high=1e12
    )
    precision: TrainingPrecision = option(
        "auto",
        "Number format of the matrix products; auto: bf16 where it is measured to be faster and the first batch comes out alike, else fp32; a resumed run keeps its format.",
    )
    compile: bool = option(False, "Compile the model with torch.compile: faster on GPUs, not on CPUs.")


@dataclass(frozen=True)
class StartConfig:
    """Initial weights of a pretraining."""

    pretrained: Path | None = option(
        None,
        "Model whose encoder pretraining starts from: a run directory, a checkpoint, a name of `aam models`, or shipped (default: random weights).",
    )
    restart_samples: bool = option(
        False,
        "Take the ASV encoder and the latent tree of --pretrained alone; the sample encoder begins anew, with the --sample-layers, --mean-features and --dropout given.",
    )
    freeze_asvs: bool = option(
        False,
        "Keep the ASV encoder of --pretrained as it is; all that reads its embeddings learns. Each ASV is encoded once, so a step takes a fraction of the time.",
    )


@dataclass(frozen=True)
class PretrainConfig:
    """All settings of one `aam pretrain`."""

    data: DataConfig = part(DataConfig, "Data")
    tips: TipsConfig = part(TipsConfig, "Reference")
    start: StartConfig = part(StartConfig, "Model")
    model: ModelConfig = part(ModelConfig, "Model")
    loss: LossConfig = part(LossConfig, "Losses")
    optim: OptimConfig = part(OptimConfig, "Optimiser")
    run: RunConfig = part(RunConfig, "Run")
    health: HealthConfig = part(HealthConfig, "Health")
    ranks: RanksConfig = part(RanksConfig, "Ranks")


def tiny() -> ModelConfig:
    """For tests and first looks."""
    return ModelConfig(dim=32, heads=2, asv_layers=1, sample_layers=1, pool_queries=4, branches=64)


def small() -> ModelConfig:
    """The default: trains on a laptop."""
    return ModelConfig()


def base() -> ModelConfig:
    """For one GPU."""
    return ModelConfig(dim=256, heads=8, asv_layers=6, sample_layers=4, patch=3)


def large() -> ModelConfig:
    """For several GPUs: every base has a transformer position of its own."""
    return ModelConfig(dim=512, heads=8, asv_layers=12, sample_layers=6, patch=1, branches=1024)


PRESETS = {"tiny": tiny, "small": small, "base": base, "large": large}
