"""Every setting of a run, once: a field is the default, the option, the help text, the YAML key and the checkpoint record.

Nothing here reads files or imports torch. Other modules take one of these objects and have no defaults of their own.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from aam.errors import ConfigError

Selection = Literal["abundance", "random", "weighted"]
Metric = Literal["unweighted", "weighted", "weighted_normalized", "generalized"]
UnifracMetric = Literal["unweighted", "weighted", "weighted_normalized", "generalized", "faith_pd"]
UnifracEngine = Literal["torch", "unifrac", "skbio"]
UnifracHead = Literal["latent-tree", "euclidean", "both"]
Precision = Literal["fp32", "bf16", "fp16"]
OnFault = Literal["stop", "skip", "rollback"]
Preset = Literal["tiny", "small", "base", "large"]


def option(
    default: Any, help: str, *, low: float | None = None, high: float | None = None, above: float | None = None
) -> Any:
    """A config field: its default, its one help line, and the bounds that are enforced (`above` excludes the bound)."""
    return field(default=default, metadata={"help": help, "low": low, "high": high, "above": above})


def derived(default: Any) -> Any:
    """A config field that is computed from options and recorded, but is no option itself."""
    return field(default=default, metadata={"derived": True})


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
    example: bool = option(False, "Use the embedded example: 190 infant stool samples, 310 ASVs, with their tree.")
    metadata: Path | None = option(None, "Sample metadata (TSV, QIIME 2 conventions); needed by --group-column.")
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
    lr: float = option(2e-3, "Peak learning rate.", above=0.0)
    weight_decay: float = option(0.1, "AdamW weight decay, on matrices only.", low=0.0)
    warmup_fraction: float = option(
        0.1, "Part of the run over which the learning rate rises; then it falls as a cosine.", low=0.0, high=1.0
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
    seed: int = option(0, "Seed of split, rarefaction, masking and weights.", low=0)
    device: str = option("auto", "auto, cpu, cuda or cuda:N.")
    num_workers: int = option(0, "Processes that assemble batches; 0 assembles them in the training process.", low=0)
    resume: bool = option(False, "Go on with the run in the output directory.")
    dry_run: bool = option(False, "Print the plan (samples kept, parameters, steps, memory, time) and stop.")


@dataclass(frozen=True)
class HealthConfig:
    """What a run does about numerical faults, and the switches for debugging them (each also an AAM_* variable)."""

    on_fault: OnFault = option(
        "stop",
        "After a non-finite loss or gradient: stop, skip the step and quarantine its data, or roll back to the last good checkpoint.",
    )
    intervention_budget: float = option(
        0.001,
        "Largest fraction of the steps with a skip, clamp, sanitised gradient or fallback; above it the run stops.",
        low=0.0,
        high=1.0,
    )
    quarantine_budget: float = option(
        0.0, "Largest fraction of the samples that may be quarantined; above it the run fails.", low=0.0, high=1.0
    )
    watch_every: int = option(1, "Steps between reads of the finite flag.", low=1)
    spike_sigma: float = option(
        6.0,
        "Losses and gradient norms this many standard deviations above their recent mean are counted as spikes.",
        above=0.0,
    )
    nan_debug: bool = option(False, "Print the full report of a fault instead of its first lines.")
    debug_finite: bool = option(False, "Check every operation of every step (about 1.3 x slower).")
    anomaly_detect: bool = option(
        False, "Use the anomaly mode of torch (about 1.5 x slower; silent where only the loss is NaN)."
    )
    safe_clamp: bool = option(False, "Clamp the outputs of the model's blocks, counted; an emergency measure.")
    sanitize_grads: bool = option(
        False, "Replace non-finite gradients by 0, counted; an emergency measure that applies made-up gradients."
    )
    skip_step_on_nan: bool = option(
        False, "Skip a step with a non-finite gradient, counted, whatever the policy for faults."
    )


@dataclass(frozen=True)
class PretrainConfig:
    """The whole of one `aam pretrain`."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=RunConfig)


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

C = TypeVar("C")


def options(cls: type) -> dict[str, tuple[dataclasses.Field, Any]]:
    """Name -> (field, type) of every user option of a config class."""
    hints = typing.get_type_hints(cls)
    return {f.name: (f, hints[f.name]) for f in fields(cls) if "help" in f.metadata}


def groups(cls: type) -> dict[str, type]:
    """Name -> config class of the groups that a whole-run config is made of."""
    return {name: hint for name, hint in typing.get_type_hints(cls).items() if dataclasses.is_dataclass(hint)}


def from_options(cls: type[C], given: dict[str, Any]) -> C:
    """A whole-run config from flat option values; what is not given has its default, the model that of the preset.

    Raises ConfigError for a name that is no option, a wrong type or a value out of bounds.
    """
    parts = groups(cls)
    known = {name: part for part, group in parts.items() for name in options(group)}
    for name in given:
        if name not in known:
            raise ConfigError(f"unknown option {name!r}{suggest(name, known)}")
    by_part = {part: {n: v for n, v in given.items() if known[n] == part} for part in parts}
    preset = convert("preset", given.get("preset", RunConfig.preset), Preset)
    built = {part: from_dict(group, by_part[part]) for part, group in parts.items() if part != "model"}
    start = dataclasses.asdict(PRESETS[preset]()) | {"max_bp": built["data"].max_bp}
    return check_together(cls(**built, model=from_dict(parts["model"], start | by_part["model"])))


def check_together(config: C) -> C:
    """Refuse values that are fine alone and wrong together."""
    model: ModelConfig = config.model  # type: ignore[attr-defined]
    if model.dim % model.heads:
        raise ConfigError(f"--dim {model.dim} is not a multiple of --heads {model.heads}; change one of them")
    return config


def from_dict(cls: type[C], values: dict[str, Any]) -> C:
    """A config object from plain values, checked; the inverse of `to_dict`. Raises ConfigError naming the key."""
    hints = typing.get_type_hints(cls)
    bounds = {f.name: f.metadata for f in fields(cls)}  # type: ignore[arg-type]
    found = {}
    for name, value in values.items():
        if name not in hints:
            raise ConfigError(f"unknown key {name!r}{suggest(name, hints)}")
        nested = dataclasses.is_dataclass(hints[name])
        found[name] = from_dict(hints[name], value) if nested else convert(name, value, hints[name])
        check_bounds(name, found[name], bounds[name])
    return cls(**found)


def to_dict(config: Any) -> dict[str, Any]:
    """Plain JSON values of a config object."""
    return {
        f.name: to_dict(value) if dataclasses.is_dataclass(value) else str(value) if isinstance(value, Path) else value
        for f in fields(config)
        for value in (getattr(config, f.name),)
    }


def suggest(name: str, known: typing.Iterable[str]) -> str:
    """`; did you mean …?`, or nothing where no known name is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def convert(name: str, value: Any, hint: Any) -> Any:
    """A value as the type of its field; numbers may come as text, because YAML reads 1e-4 as text."""
    choices = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return None if value is None else convert(name, value, next(c for c in choices if c is not types.NoneType))
    if typing.get_origin(hint) is Literal:
        if value not in choices:
            raise ConfigError(f"{flag(name)} is {value!r}, expected one of {', '.join(choices)}")
        return value
    if hint is bool:
        if not isinstance(value, bool):
            raise ConfigError(f"{flag(name)} is {value!r}, expected true or false")
        return value
    try:
        if isinstance(value, bool) or (hint is int and isinstance(value, float) and not value.is_integer()):
            raise ValueError
        return hint(value)
    except (TypeError, ValueError):
        expected = {int: "a whole number", float: "a number", Path: "a path", str: "text"}[hint]
        raise ConfigError(f"{flag(name)} is {value!r}, expected {expected}") from None


def check_bounds(name: str, value: Any, bounds: typing.Mapping[str, Any]) -> None:
    """Raise ConfigError for a number that is not finite or out of the bounds of its field."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    low, high, above = (bounds.get(key) for key in ("low", "high", "above"))
    fits = math.isfinite(value) and (low is None or value >= low) and (high is None or value <= high)
    if not fits or (above is not None and value <= above):
        words = {"at least": low, "more than": above, "at most": high}
        limits = [f"{word} {bound:g}" for word, bound in words.items() if bound is not None]
        raise ConfigError(f"{flag(name)} is {value:g}, expected {' and '.join(limits) or 'a finite number'}")


def flag(name: str) -> str:
    """The command-line spelling of a field name."""
    return "--" + name.replace("_", "-")
