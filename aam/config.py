"""Every setting of a run, once: a field is the default, the option, the help text, the YAML key and the checkpoint record.

Nothing here reads files or imports torch. Other modules take one of these objects and have no defaults of their own.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from aam.errors import ConfigError

Selection = Literal["abundance", "random", "weighted"]
Metric = Literal["unweighted", "weighted", "weighted_normalized", "generalized"]
UnifracHead = Literal["latent-tree", "euclidean", "both"]
Precision = Literal["fp32", "bf16", "fp16"]
OnFault = Literal["stop", "skip", "rollback"]
Preset = Literal["tiny", "small", "base", "large"]


def option(default: Any, help: str, *, low: float | None = None, high: float | None = None, above: float | None = None) -> Any:
    """A config field: its default, its one help line and the bounds that `validate` enforces (`above` excludes the bound)."""
    return field(default=default, metadata={"help": help, "low": low, "high": high, "above": above})


@dataclass(frozen=True)
class DataConfig:
    """What is read, how samples are drawn from it, and which of them are held out."""

    table: Path | None = option(None, "Feature table: BIOM (HDF5 or JSON), QIIME 2 .qza, or TSV; features are ASVs.")
    tree: Path | None = option(None, "Rooted phylogeny with branch lengths: Newick or QIIME 2 .qza; its tips are the table's features.")
    sequences: Path | None = option(None, "ASV sequences (FASTA or .qza) where feature ids are not sequences, e.g. MD5 hashes.")
    unifrac_matrix: Path | None = option(None, "Precomputed UniFrac matrix instead of a tree: .npy, .h5, .tsv or .qza, aligned by sample id.")
    example: bool = option(False, "Use the embedded example: 190 infant stool samples, 310 ASVs, with their tree.")
    metadata: Path | None = option(None, "Sample metadata (TSV, QIIME 2 conventions); needed by --group-column.")
    group_column: str | None = option(None, "Metadata column whose groups (e.g. subjects) never sit on both sides of the split.")
    validation_fraction: float = option(0.2, "Fraction of the samples (or of the groups) held out.", above=0.0, high=0.9)
    validation_samples: Path | None = option(None, "File with the ids of the held-out samples, one a line, instead of a random split.")
    rarefy_depth: str = option("auto", "Reads drawn per sample and epoch: a number, 'none' for all reads, or 'auto' for the largest depth, at most 5000, that keeps 90 % of the samples.")
    token_limit: int = option(1024, "Most ASVs of a sample the model sees.", low=1)
    asv_selection: Selection = option("abundance", "Which ASVs stay where a sample has more than the token limit.")
    max_bp: int = option(150, "Bases of a sequence the model sees; longer ones are cut.", low=1)
    max_missing: float = option(0.1, "Largest fraction of the ASVs that may be absent from the tree; they are dropped and counted.", low=0.0, high=1.0)


@dataclass(frozen=True)
class ModelConfig:
    """Size and shape of the network."""

    asv_encoder: Literal["transformer", "mlp"] = option("transformer", "Encoder of single ASVs: transformer, or a one-hot MLP as fast baseline.")
    dim: int = option(128, "Width of ASV and sample embeddings.", low=1)
    heads: int = option(4, "Attention heads; must divide the width.", low=1)
    asv_layers: int = option(3, "Transformer blocks over the nucleotides of an ASV.", low=1)
    sample_layers: int = option(2, "Transformer blocks over the ASVs of a sample.", low=1)
    ffn_ratio: int = option(4, "Hidden width of the feed-forward layers, as a multiple of the width.", low=1)
    patch: int = option(5, "Neighbouring bases that share one transformer position.", low=1)
    pool_queries: int = option(8, "Learned queries of the pooling from nucleotides to one ASV vector.", low=1)
    dropout: float = option(0.1, "Dropout of the sample encoder.", low=0.0, high=0.9)
    asv_dropout: float = option(0.0, "Dropout of the ASV encoder; slow on CPU.", low=0.0, high=0.9)
    branches: int = option(512, "Latent branches of the UniFrac head.", low=1)
    unifrac_head: UnifracHead = option("both", "UniFrac from ASV embeddings (latent-tree), from sample embeddings (euclidean), or both.")
    unifrac_metric: Metric = option("unweighted", "Which UniFrac is learned.")
    unifrac_alpha: float = option(0.5, "Exponent of generalized UniFrac.", low=0.0, high=1.0)
    max_bp: int = option(150, "Bases of a sequence the model sees; set from the data options.", low=1)


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms and how inputs are hidden from the model."""

    nucleotide_weight: float = option(0.1, "Weight of masked nucleotides.", low=0.0)
    unifrac_weight: float = option(1.0, "Weight of UniFrac by the latent tree.", low=0.0)
    euclidean_weight: float = option(0.1, "Weight of UniFrac by sample embeddings.", low=0.0)
    patristic_weight: float = option(0.03, "Weight of tip-to-tip tree distances.", low=0.0)
    masked_asv_weight: float = option(0.01, "Weight of telling hidden ASVs of a sample from absent ones.", low=0.0)
    count_weight: float = option(0.01, "Weight of hidden log abundances.", low=0.0)
    faith_pd_weight: float = option(0.01, "Weight of Faith's phylogenetic diversity.", low=0.0)
    mask_ratio: float = option(0.15, "Fraction of the bases hidden in a masked ASV.", above=0.0, high=0.9)
    masked_asvs: float = option(0.25, "Fraction of a batch's distinct ASVs that also enter masked, for the nucleotide loss.", low=0.0, high=1.0)
    hidden_asvs: float = option(0.15, "Fraction of a sample's ASVs hidden from the sample encoder; as many have only their count hidden.", low=0.0, high=0.4)
    patristic_asvs: int = option(256, "ASVs of a batch whose tree distances are compared.", low=0)


@dataclass(frozen=True)
class OptimConfig:
    """Optimiser, schedule and arithmetic."""

    batch_size: int = option(32, "Samples of one forward pass.", low=2)
    accumulate: int = option(1, "Forward passes summed into one optimiser step.", low=1)
    lr: float = option(1e-3, "Peak learning rate.", above=0.0)
    weight_decay: float = option(0.1, "AdamW weight decay, on matrices only.", low=0.0)
    warmup_fraction: float = option(0.1, "Part of the run over which the learning rate rises; then it falls as a cosine.", low=0.0, high=1.0)
    clip_norm: float = option(1.0, "Gradients are scaled down to this norm.", above=0.0)
    precision: Precision = option("fp32", "Arithmetic of the matrix products.")
    compile: bool = option(False, "Compile the model with torch.compile; pays on GPUs, not on CPUs.")


@dataclass(frozen=True)
class RunConfig:
    """How long, where, and what is written."""

    output_dir: Path = option(Path("aam-run"), "Folder for checkpoints, curves, metrics and the manifest; must not hold another run.")
    preset: Preset = option("small", "Model size; single model options override it.")
    epochs: int | None = option(None, "Passes over the training samples; the first of the three budgets reached ends the run (default: 100 epochs).", low=1)
    max_steps: int | None = option(None, "Optimiser steps.", low=1)
    max_minutes: float | None = option(None, "Minutes of training.", above=0.0)
    patience: int = option(0, "Stop after so many evaluations without a better validation loss; 0 never does.", low=0)
    eval_every: int | None = option(None, "Steps between evaluations (default: about 10 a run).", low=1)
    seed: int = option(0, "Seed of split, rarefaction, masking and weights.", low=0)
    device: str = option("auto", "auto, cpu, cuda or cuda:N.")
    num_workers: int = option(0, "Processes that assemble batches; 0 assembles them in the training process.", low=0)
    resume: bool = option(False, "Go on with the run in the output directory.")
    dry_run: bool = option(False, "Print the plan (samples kept, parameters, steps, memory, time) and stop.")


@dataclass(frozen=True)
class HealthConfig:
    """What a run does about numerical faults, and the switches for debugging them (each also an AAM_* variable)."""

    on_fault: OnFault = option("stop", "After a non-finite loss or gradient: stop, skip the step and quarantine its data, or roll back to the last good checkpoint.")
    intervention_budget: float = option(0.001, "Largest fraction of the steps with a skip, clamp, sanitised gradient or fallback; above it the run stops.", low=0.0, high=1.0)
    quarantine_budget: float = option(0.0, "Largest fraction of the samples that may be quarantined; above it the run fails.", low=0.0, high=1.0)
    watch_every: int = option(1, "Steps between reads of the finite flag.", low=1)
    spike_sigma: float = option(6.0, "Losses and gradient norms this many standard deviations above their recent mean are counted as spikes.", above=0.0)
    nan_debug: bool = option(False, "Print the full report of a fault instead of its first lines.")
    debug_finite: bool = option(False, "Check every operation of every step (about 1.3 x slower).")
    anomaly_detect: bool = option(False, "Use the anomaly mode of torch (about 1.5 x slower; silent where only the loss is NaN).")
    safe_clamp: bool = option(False, "Clamp the outputs of the model's blocks, counted; an emergency measure.")
    sanitize_grads: bool = option(False, "Replace non-finite gradients by 0, counted; an emergency measure that applies made-up gradients.")
    skip_step_on_nan: bool = option(False, "Skip a step with a non-finite gradient, counted, whatever the policy for faults.")


@dataclass(frozen=True)
class PretrainConfig:
    """The whole of one `aam pretrain`."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=RunConfig)
