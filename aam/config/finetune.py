"""Settings of `aam train` and `aam baseline`, and the label schema that a fine-tuned model stores."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal, TypeVar

from aam.config.fields import (
    LARGEST_DECAY,
    LARGEST_RATE,
    LARGEST_WEIGHT,
    MOST_EPOCHS,
    MOST_STEPS,
    Optimizer,
    derived,
    option,
    part,
)
from aam.config.health import HealthConfig
from aam.config.learner import CLADES, LearnerConfig
from aam.config.pretrain import DataConfig, ModelConfig, OptimConfig, PretrainConfig
from aam.config.run import RunConfig

Task = Literal["regression", "quantiles", "classification", "ordinal"]
TargetLoss = Literal["auto", "huber", "mse", "mae", "asymmetric", "pinball", "cross-entropy"]
Transform = Literal["none", "zscore", "minmax", "log-zscore", "log-minmax"]
NUMERIC_TASKS: tuple[Task, ...] = ("regression", "quantiles")


@dataclass(frozen=True)
class StudiesConfig(DataConfig):
    """Input files of one study or several, and the settings of their samples; what needs one table takes `each()`."""

    table: tuple[Path, ...] = option(  # type: ignore[assignment]
        (),
        "Feature table with read counts of ASVs: BIOM (HDF5 or JSON), QIIME 2 .qza, or TSV; repeat the option for each study.",
    )
    sequences: tuple[Path, ...] = option(  # type: ignore[assignment]
        (),
        "ASV sequences (FASTA or .qza), needed if ASV ids are not sequences: one file for all tables, or one for each table in the same order.",
    )
    corpus: Path | None = option(None, "Corpus that `aam prepare` wrote; replaces --table and --sequences.")
    metadata: tuple[Path, ...] = option(  # type: ignore[assignment]
        (),
        "Sample metadata (TSV, QIIME 2 conventions): one file for all samples, or one for each table, or study of a corpus, in the same order.",
    )
    group_column: str | None = option(
        None,
        "Metadata column of groups, e.g. subjects: all samples of a group are trained on, or all are held out. The same name in two studies is two groups.",
    )
    study_column: str | None = option(
        None,
        "Metadata column of the study of each sample (default: several tables are a study each, named by file or folder).",
    )

    def shared(self) -> DataConfig:
        """The settings without the files of the studies."""
        return DataConfig(**{f.name: getattr(self, f.name) for f in fields(DataConfig) if f.name not in OF_STUDIES})

    def each(self) -> list[DataConfig]:
        """The settings of each table, with its file of sequences; without metadata, which may be of all tables."""
        own = self.sequences if len(self.sequences) > 1 else self.sequences * len(self.table)
        pairs = zip(self.table, own or (None,) * len(self.table), strict=True)
        return [replace(self.shared(), table=table, sequences=sequences) for table, sequences in pairs]


OF_STUDIES = ("table", "sequences", "metadata", "corpus")
"""Options of `StudiesConfig` that name the files of the studies."""


@dataclass(frozen=True)
class TargetConfig:
    """Target, samples to use, and covariates."""

    target: tuple[str, ...] = option(
        (), "Metadata column to predict; repeat the option to predict several numeric columns at once."
    )
    task: Task = option(
        "regression", "What to predict: numbers (regression, quantiles) or classes (classification, ordinal)."
    )
    where: tuple[str, ...] = option(
        (),
        "Use only the samples with this value, given as COLUMN=VALUE; repeat the option for other values of the column, of which a sample has one, or for other columns, which must all fit.",
    )
    as_class: tuple[str, ...] = option(
        (),
        "Make a class of values of the target, as NAME=VALUE, or of a range of numbers, as NAME=LOW:HIGH (LOW <= target < HIGH; LOW: and :HIGH are open at one end); repeat the option for each class or value; samples with other values have no label.",
    )
    covariate: tuple[str, ...] = option(
        (),
        "Metadata column, numeric or categorical, that the model reads besides the ASVs; repeat the option for several.",
    )
    class_order: tuple[str, ...] = option(
        (),
        "One class of an ordinal target; repeat the option from the lowest to the highest class (not needed if classes are numbers).",
    )
    target_transform: Transform = option(
        "zscore", "Scale on which numeric targets are learned; predictions are written in the target's own units."
    )
    loss: TargetLoss = option(
        "auto", "Loss to minimise; auto: huber for regression, pinball for quantiles, cross-entropy for classes."
    )
    over_penalty: float = option(
        1.0,
        "Weight of errors of predictions above the true value, with --loss asymmetric.",
        above=0.0,
        high=LARGEST_WEIGHT,
    )
    under_penalty: float = option(
        1.0,
        "Weight of errors of predictions below the true value, with --loss asymmetric.",
        above=0.0,
        high=LARGEST_WEIGHT,
    )
    quantiles: tuple[float, ...] = option(
        (0.05, 0.5, 0.95), "Quantile to predict; repeat the option in rising order.", above=0.0, high=0.999
    )
    class_weights: Literal["balanced", "none"] = option(
        "balanced", "Weights of the classes in the loss; balanced: every class has the same total weight."
    )


@dataclass(frozen=True)
class HeadConfig:
    """The head that predicts the target from embeddings, and which encoder layers are trained with it."""

    pretrained: Path | None = option(
        None,
        "Encoder that training starts from: shipped (the one that comes with aam), another name of `aam models`, a run directory or a checkpoint (default: random weights).",
    )
    adapt_steps: int = option(
        0,
        "Steps to pretrain the encoder further on each fold's training samples, without labels, before the head learns; needs "
        "--pretrained and --tree.",
        low=0,
        high=MOST_STEPS,
    )
    freeze: bool = option(False, "Train the head only; ASVs are embedded once, so an epoch takes seconds.")
    freeze_asvs: bool = option(False, "Train the head and the sample encoder; the ASV encoder stays fixed.")
    head_dim: int = option(128, "Hidden width of the head.", low=1, high=16_384)
    head_members: int = option(4, "Number of networks in the head; their outputs are averaged.", low=1, high=1024)
    identity_prevalence: float = option(
        0.02,
        "The head also reads the abundance of each ASV that at least this fraction of the training samples contain; "
        "1: of no ASV.",
        above=0.0,
        high=1.0,
    )
    head_dropout: float = option(0.5, "Dropout of the head.", low=0.0, high=0.9)
    covariate_dim: int = option(16, "Width of the embedding of a categorical covariate.", low=1, high=1024)
    covariate_dropout: float = option(
        0.1,
        "Fraction of the training inputs in which a covariate is hidden, so that the model can predict without it.",
        low=0.0,
        high=0.9,
    )


@dataclass(frozen=True)
class FinetuneOptimConfig(OptimConfig):
    """Optimiser of fine-tuning; deeper layers of a pretrained encoder learn more slowly."""

    optimizer: Optimizer = option(
        "adamw", "adamw: AdamW for all; muon: Muon for the matrices of the encoders' layers, as in `aam pretrain`."
    )
    lr: float = option(
        5e-4, "Peak learning rate of the head, and of an encoder without --pretrained.", above=0.0, high=LARGEST_RATE
    )
    weight_decay: float = option(1.0, "Weight decay, applied to matrices only.", low=0.0, high=LARGEST_DECAY)
    encoder_rate: float = option(
        0.1, "Learning rate of the last layer of a pretrained encoder, as a fraction of --lr.", low=0.0, high=1.0
    )
    layer_decay: float = option(
        0.7, "Learning rate of each encoder layer, as a fraction of that of the next layer.", above=0.0, high=1.0
    )


@dataclass(frozen=True)
class FinetuneRunConfig(RunConfig):
    """Length, device and output of a run; a head needs fewer epochs than an encoder."""

    epochs: int | None = option(
        40,
        "Passes over the training samples; the run ends at the first of --epochs, --max-steps and --max-minutes that it reaches. By default a frozen encoder (--freeze) has as many as make 300 steps, at least 10 and at most 40.",
        low=1,
        high=MOST_EPOCHS,
    )


@dataclass(frozen=True)
class FoldConfig:
    """Cross-validation: the folds, and the coverage of prediction intervals."""

    folds: int | None = option(
        None,
        "Number of folds of the cross-validation, one model each (default: one split by --validation-fraction).",
        low=2,
        high=10_000,
    )
    leave_one_group_out: bool = option(False, "Make one fold for each group of --group-column.")
    leave_one_study_out: bool = option(
        False,
        "Make one fold for each study: it is predicted by a model of the other studies. A study with one class alone is never left out.",
    )
    stratify: bool = option(True, "Spread every class evenly over the folds.")
    label_fraction: float = option(
        1.0,
        "Fraction of each fold's training samples whose labels are used, the same for every class; for learning curves.",
        above=0.0,
        high=1.0,
    )
    selection_fraction: float = option(
        0.0,
        "Fraction of each fold's training samples set aside to choose the best checkpoint; 0: use the last checkpoint.",
        low=0.0,
        high=0.5,
    )
    draws: int = option(4, "Number of rarefactions per sample; their predictions are averaged.", low=1, high=1000)
    coverage: float = option(
        0.9, "Fraction of the samples whose true value the prediction interval should contain.", above=0.0, high=0.999
    )


@dataclass(frozen=True)
class NumericTarget:
    """How a numeric target was scaled: f(y) = (y' - center) / scale, y' = log(1 + y) for the log transforms."""

    name: str = derived("")
    transform: Transform = derived("none")
    center: float = derived(0.0)
    scale: float = derived(1.0)


@dataclass(frozen=True)
class Covariate:
    """A covariate. It is numeric (centred and scaled) if `categories` is empty."""

    name: str = derived("")
    categories: tuple[str, ...] = derived(())
    center: float = derived(0.0)
    scale: float = derived(1.0)


@dataclass(frozen=True)
class TargetSchema:
    """Scales, classes and covariates of the training samples, which a model needs to encode and decode labels."""

    depth: int | None = derived(None, low=1)
    numbers: tuple[NumericTarget, ...] = derived(())
    classes: tuple[str, ...] = derived(())
    covariates: tuple[Covariate, ...] = derived(())
    identities: int = derived(0, low=0, high=1_000_000)

    def types(self) -> dict[str, str]:
        """Name -> numeric or categorical, of each covariate, as a file of metadata calls them."""
        return {each.name: "categorical" if each.categories else "numeric" for each in self.covariates}


@dataclass(frozen=True)
class FinetuneConfig:
    """All settings of one `aam train`; the checkpoint of a fold holds the `schema` of that fold."""

    data: StudiesConfig = part(StudiesConfig, "Data")
    target: TargetConfig = part(TargetConfig, "Target")
    learner: LearnerConfig = part(LearnerConfig, "Learner")
    head: HeadConfig = part(HeadConfig, "Start and head")
    model: ModelConfig = part(ModelConfig, "Encoder")
    optim: FinetuneOptimConfig = part(FinetuneOptimConfig, "Optimiser")
    fold: FoldConfig = part(FoldConfig, "Folds")
    run: FinetuneRunConfig = part(FinetuneRunConfig, "Run")
    health: HealthConfig = part(HealthConfig, "Health")
    schema: TargetSchema = field(default_factory=TargetSchema)


RunnableConfig = PretrainConfig | FinetuneConfig
"""What loop and step are configured by, whatever is learned."""
RunnableT = TypeVar("RunnableT", PretrainConfig, FinetuneConfig)


def is_clades(config: RunnableConfig) -> bool:
    """Whether this is the configuration of an ensemble on clades, which has no network."""
    return isinstance(config, FinetuneConfig) and config.learner.learner == CLADES
