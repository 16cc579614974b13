"""Settings of `aam prepare`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aam.config.fields import Metric, Optimizer, Precision, Preset, Selection, UnifracHead, derived, option, part
from aam.config.health import HealthConfig


@dataclass(frozen=True)
class DataConfig:
    """What is read, how samples are drawn from it, and which of them are held out."""

    table: Path | None = option(None, "Feature table: BIOM (HDF5 or JSON), QIIME 2 .qza, or TSV; features are ASVs.")
    tree: Path | None = option(
        None, "Rooted phylogeny with branch lengths: Newick or QIIME 2 .qza; its tips are the table's features."
    )
    sequences: Path | None = option(
        None, "ASV sequences (FASTA or .qza) where feature ids are not sequences, e.g. MD5 hashes."
    )
    unifrac_matrix: Path | None = option(
        None, "Precomputed UniFrac matrix instead of a tree: .npy, .h5, .tsv or .qza, aligned by sample id."
    )
    corpus: Path | None = option(
        None, "Folder that `aam prepare` wrote, instead of --table, --tree and --sequences; opens at once at any size."
    )
    example: bool = option(False, "Use the embedded example: 190 infant stool samples, 310 ASVs, with their tree.")
    metadata: Path | None = option(
        None, "Sample metadata (TSV, QIIME 2 conventions), for every option that names a column."
    )
    group_column: str | None = option(
        None, "Metadata column whose groups (e.g. subjects) never sit on both sides of the split."
    )
    validation_fraction: float = option(
        0.2, "Fraction of the samples (or of the groups) held out.", above=0.0, high=0.9
    )
    validation_samples: Path | None = option(
        None, "File with the ids of the held-out samples, one a line, instead of a random split."
    )
    rarefy_depth: str = option(
        "auto",
        "Reads drawn per sample and epoch: a number, 'none' for all reads, or 'auto' for the largest depth, at most 5000, that keeps 90 % of the samples.",
    )
    token_limit: int = option(1024, "Most ASVs of a sample the model sees.", low=1)
    asv_selection: Selection = option("abundance", "Which ASVs stay where a sample has more than the token limit.")
    max_bp: int = option(150, "Bases of a sequence the model sees; longer ones are cut.", low=1)
    max_missing: float = option(
        0.1,
        "Largest fraction of the ASVs that may be absent from the tree; they are dropped and counted.",
        low=0.0,
        high=1.0,
    )


@dataclass(frozen=True)
class ModelConfig:
    """Size and shape of the network."""

    asv_encoder: Literal["transformer", "mlp"] = option(
        "transformer", "Encoder of single ASVs: transformer, or a one-hot MLP as fast baseline."
    )
    dim: int = option(128, "Width of ASV and sample embeddings.", low=1)
    heads: int = option(4, "Attention heads; must divide the width.", low=1)
    asv_layers: int = option(2, "Transformer blocks over the nucleotides of an ASV.", low=1)
    sample_layers: int = option(2, "Transformer blocks over the ASVs of a sample.", low=1)
    ffn_ratio: int = option(4, "Hidden width of the feed-forward layers, as a multiple of the width.", low=1)
    patch: int = option(5, "Neighbouring bases that share one transformer position.", low=1)
    pool_queries: int = option(8, "Learned queries of the pooling from nucleotides to one ASV vector.", low=1)
    dropout: float = option(0.1, "Dropout of the sample encoder.", low=0.0, high=0.9)
    asv_dropout: float = option(0.0, "Dropout of the ASV encoder; slow on CPU.", low=0.0, high=0.9)
    branches: int = option(512, "Latent branches of the UniFrac head.", low=1)
    unifrac_head: UnifracHead = option(
        "both", "UniFrac from ASV embeddings (latent-tree), from sample embeddings (euclidean), or both."
    )
    unifrac_metric: Metric = option("unweighted", "Which UniFrac is learned.")
    unifrac_alpha: float = option(0.5, "Exponent of generalized UniFrac.", low=0.0, high=1.0)
    max_bp: int = derived(150)


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms and how inputs are hidden from the model."""

    nucleotide_weight: float = option(0.1, "Weight of masked nucleotides.", low=0.0)
    unifrac_weight: float = option(1.0, "Weight of UniFrac by the latent tree.", low=0.0)
    euclidean_weight: float = option(0.1, "Weight of UniFrac by sample embeddings.", low=0.0)
    patristic_weight: float = option(0.4, "Weight of tip-to-tip tree distances.", low=0.0)
    masked_asv_weight: float = option(0.01, "Weight of telling hidden ASVs of a sample from absent ones.", low=0.0)
    count_weight: float = option(0.01, "Weight of hidden log abundances.", low=0.0)
    faith_pd_weight: float = option(0.01, "Weight of Faith's phylogenetic diversity.", low=0.0)
    mask_ratio: float = option(0.15, "Fraction of the bases hidden in a masked ASV.", above=0.0, high=0.9)
    masked_asvs: float = option(
        0.125, "Fraction of a batch's distinct ASVs that also enter masked, for the nucleotide loss.", low=0.0, high=1.0
    )
    hidden_asvs: float = option(
        0.15,
        "Fraction of a sample's ASVs hidden from the sample encoder; as many have only their count hidden.",
        low=0.0,
        high=0.4,
    )
    patristic_asvs: int = option(256, "ASVs of a batch whose tree distances are compared.", low=0)


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser, schedule and arithmetic."""

    batch_size: int = option(32, "Samples of one forward pass.", low=2)
    accumulate: int = option(1, "Forward passes summed into one optimiser step.", low=1)
    optimizer: Optimizer = option(
        "muon", "adamw, or muon: AdamW, but Muon at 3 times the learning rate for the matrices of the encoders' layers."
    )
    lr: float = option(3e-3, "Peak learning rate.", above=0.0)
    weight_decay: float = option(0.1, "Weight decay, on matrices only.", low=0.0)
    warmup_fraction: float = option(
        0.05, "Part of the run over which the learning rate rises; from then on it falls to 0.", low=0.0, high=1.0
    )
    clip_norm: float = option(1.0, "Gradients are scaled down to this norm.", above=0.0)
    precision: Precision = option("fp32", "Arithmetic of the matrix products.")
    compile: bool = option(False, "Compile the model with torch.compile; pays on GPUs, not on CPUs.")


@dataclass(frozen=True)
class RunConfig:
    """How long, where, and what is written."""

    output_dir: Path = option(
        Path("aam-run"), "Folder for checkpoints, curves, metrics and the manifest; must not hold another run."
    )
    preset: Preset = option("small", "Model size; single model options override it.")
    epochs: int | None = option(
        None,
        "Passes over the training samples; the first of the three budgets reached ends the run (default: 100 epochs).",
        low=1,
    )
    max_steps: int | None = option(None, "Optimiser steps.", low=1)
    max_minutes: float | None = option(None, "Minutes of training.", above=0.0)
    patience: int = option(0, "Stop after so many evaluations without a better validation loss; 0 never does.", low=0)
    eval_every: int | None = option(None, "Steps between evaluations (default: about 10 a run).", low=1)
    seed: int = option(0, "Seed of split, rarefaction, masking and weights.", low=0, high=2**32 - 1)
    device: str = option("auto", "auto, cpu, cuda or cuda:N.")
    num_workers: int = option(0, "Processes that assemble batches; 0 assembles them in the training process.", low=0)
    resume: bool = option(False, "Go on with the run in the output directory.")
    preflight: bool = option(True, "Check that the model can learn from these data before training starts.")
    dry_run: bool = option(False, "Print the plan (samples kept, parameters, steps, memory, time) and stop.")


@dataclass(frozen=True)
class StartConfig:
    """What the weights of a pretraining begin with."""

    pretrained: Path | None = option(
        None,
        "Go on from the encoder of this run or checkpoint, say on your own study; without it training starts from scratch.",
    )


@dataclass(frozen=True)
class RanksConfig:
    """Runs of several processes, which `torchrun` starts."""

    shard: bool = option(
        False,
        "Divide weights, gradients and optimiser state among the processes of torchrun, for models too large for one device.",
    )
    rank_timeout: float = option(
        600.0,
        "Seconds after which a process of torchrun takes another for lost that gives no sign, e.g. with its machine; the checks before a run take a minute.",
        above=0.0,
    )


@dataclass(frozen=True)
class PretrainConfig:
    """The whole of one `aam pretrain`."""

    data: DataConfig = part(DataConfig, "Data")
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


@dataclass(frozen=True)
class PrepareConfig:
    """What a corpus is made of; tables, trees and sequences belong together in the order in which they are given."""

    table: tuple[Path, ...] = option(
        (), "Feature table: BIOM (HDF5 or JSON), QIIME 2 .qza, or TSV; give the option again for each further study."
    )
    tree: tuple[Path, ...] = option(
        (), "Rooted phylogeny with branch lengths: one for all tables, or one for each, in their order."
    )
    sequences: tuple[Path, ...] = option(
        (), "ASV sequences (FASTA or .qza) where feature ids are not sequences: one for all tables, or one for each."
    )
    max_bp: int = option(
        DataConfig.max_bp, "Bases of a sequence that a model can be shown; longer ones are cut.", low=1
    )
    max_missing: float = option(
        DataConfig.max_missing,
        "Largest fraction of the ASVs of a table that may be absent from its tree; they are dropped and counted.",
        low=0.0,
        high=1.0,
    )
