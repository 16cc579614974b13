"""Settings of `aam train` and `aam baseline`, and what a fine-tuned model remembers of its labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from aam.config.fields import Optimizer, derived, option, part
from aam.config.health import HealthConfig
from aam.config.pretrain import DataConfig, ModelConfig, OptimConfig, PretrainConfig, RunConfig

Task = Literal["regression", "quantiles", "classification", "ordinal"]
TargetLoss = Literal["auto", "huber", "mse", "mae", "asymmetric", "pinball", "cross-entropy"]
Transform = Literal["none", "zscore", "minmax", "log-zscore", "log-minmax"]
NUMERIC_TASKS: tuple[Task, ...] = ("regression", "quantiles")


@dataclass(frozen=True)
class TargetConfig:
    """What is predicted, for which samples, and what else the model is told."""

    target: tuple[str, ...] = option(
        (), "Metadata column to predict; give the option again for several numeric columns at once."
    )
    task: Task = option("regression", "What the column is: numbers (regression, quantiles) or classes.")
    where: tuple[str, ...] = option((), "Use only samples with this value, as COLUMN=VALUE; several must all hold.")
    covariate: tuple[str, ...] = option(
        (), "Metadata column that the model is told beside the ASVs, numbers or categories; may be given again."
    )
    class_order: tuple[str, ...] = option(
        (), "Classes of an ordinal target from lowest to highest, one option each; numbers need no order."
    )
    target_transform: Transform = option(
        "zscore", "Scale on which numeric targets are learned; predictions are given in the target's own units."
    )
    loss: TargetLoss = option(
        "auto", "Loss: auto is huber for regression, pinball for quantiles, cross-entropy for classes."
    )
    over_penalty: float = option(1.0, "Weight of predictions above the truth, for the asymmetric loss.", above=0.0)
    under_penalty: float = option(1.0, "Weight of predictions below the truth, for the asymmetric loss.", above=0.0)
    quantiles: tuple[float, ...] = option(
        (0.05, 0.5, 0.95), "Quantiles to predict, rising, one option each.", above=0.0, high=0.999
    )
    class_weights: Literal["balanced", "none"] = option(
        "balanced", "Weight of the classes in the loss: balanced lets each class count the same."
    )


@dataclass(frozen=True)
class HeadConfig:
    """The network that reads the target off the encoder, and how much of the encoder learns with it."""

    pretrained: Path | None = option(
        None, "Start from the encoder of this run or checkpoint; without it the encoder starts from scratch."
    )
    adapt_steps: int = option(
        0,
        "Steps of pretraining on each fold's training samples, without their labels, before the head learns; needs "
        "--pretrained and --tree.",
        low=0,
    )
    freeze: bool = option(False, "Keep the whole encoder fixed; ASVs are embedded once, so epochs take seconds.")
    freeze_asvs: bool = option(False, "Keep the ASV encoder fixed and let the sample encoder learn.")
    head_dim: int = option(128, "Hidden width of the target head.", low=1)
    head_members: int = option(4, "Networks of the head that are averaged.", low=1)
    identity_prevalence: float = option(
        0.02,
        "ASVs in at least this part of the training samples also count as themselves, beside what their sequences say; "
        "1 leaves it to the sequences.",
        above=0.0,
        high=1.0,
    )
    head_dropout: float = option(0.5, "Dropout of the target head.", low=0.0, high=0.9)
    covariate_dim: int = option(16, "Width of the embedding of a categorical covariate.", low=1)
    covariate_dropout: float = option(
        0.1,
        "How often a covariate is hidden in training, which prepares for unseen and missing values.",
        low=0.0,
        high=0.9,
    )


@dataclass(frozen=True)
class FinetuneOptimConfig(OptimConfig):
    """Optimiser of fine-tuning; deeper layers of a pretrained encoder learn more slowly."""

    optimizer: Optimizer = option(
        "adamw", "adamw, or muon: the matrices of the encoders' layers learn as they do in `aam pretrain`."
    )
    lr: float = option(5e-4, "Peak learning rate of the head, and of an encoder from scratch.", above=0.0)
    weight_decay: float = option(1.0, "Weight decay, on matrices only.", low=0.0)
    encoder_rate: float = option(
        0.1, "Learning rate of a pretrained encoder's last layer, as a fraction of the head's.", low=0.0, high=1.0
    )
    layer_decay: float = option(
        0.7, "Each layer further down learns at this fraction of the rate above it.", above=0.0, high=1.0
    )


@dataclass(frozen=True)
class FinetuneRunConfig(RunConfig):
    """How long, where, and what is written; a head learns in fewer epochs than an encoder."""

    epochs: int | None = option(
        40, "Passes over the training samples; the first of the three budgets reached ends the run.", low=1
    )


@dataclass(frozen=True)
class FoldConfig:
    """How the honest figures are made: which samples test which model, and what the intervals promise."""

    folds: int | None = option(
        None, "Cross-validate in so many folds, a model each; without it one part is held out.", low=2
    )
    leave_one_group_out: bool = option(False, "One fold for each group of --group-column.")
    stratify: bool = option(True, "Give each fold its share of every class.")
    label_fraction: float = option(
        1.0,
        "Part of each fold's training samples whose labels are used, the same share of every class; for learning curves.",
        above=0.0,
        high=1.0,
    )
    selection_fraction: float = option(
        0.0,
        "Part of each fold's training samples held back to choose the best checkpoint; 0 keeps the last one.",
        low=0.0,
        high=0.5,
    )
    draws: int = option(4, "Rarefactions of each sample whose predictions are averaged.", low=1)
    coverage: float = option(0.9, "Part of the samples that prediction intervals are to cover.", above=0.0, high=0.999)


@dataclass(frozen=True)
class NumericTarget:
    """How a numeric target was scaled: f(y) = (y' - center) / scale, y' = log(1 + y) for the log transforms."""

    name: str = derived("")
    transform: Transform = derived("none")
    center: float = derived(0.0)
    scale: float = derived(1.0)


@dataclass(frozen=True)
class Covariate:
    """A column the model is told: numeric (centred and scaled) where `categories` is empty."""

    name: str = derived("")
    categories: tuple[str, ...] = derived(())
    center: float = derived(0.0)
    scale: float = derived(1.0)


@dataclass(frozen=True)
class TargetSchema:
    """What a fine-tuned model has to know of the samples it learned from, to read and write labels."""

    depth: int | None = derived(None)
    numbers: tuple[NumericTarget, ...] = derived(())
    classes: tuple[str, ...] = derived(())
    covariates: tuple[Covariate, ...] = derived(())
    identities: int = derived(0)


@dataclass(frozen=True)
class FinetuneConfig:
    """The whole of one `aam train`; a checkpoint of a fold holds that fold's `schema`."""

    data: DataConfig = part(DataConfig, "Data")
    target: TargetConfig = part(TargetConfig, "Target")
    head: HeadConfig = part(HeadConfig, "Head")
    model: ModelConfig = part(ModelConfig, "Encoder")
    optim: FinetuneOptimConfig = part(FinetuneOptimConfig, "Optimiser")
    fold: FoldConfig = part(FoldConfig, "Folds")
    run: FinetuneRunConfig = part(FinetuneRunConfig, "Run")
    health: HealthConfig = part(HealthConfig, "Health")
    schema: TargetSchema = field(default_factory=TargetSchema)


RunnableConfig = PretrainConfig | FinetuneConfig
"""What loop and step are configured by, whatever is learned."""
