"""The models of `aam train` as estimators of scikit-learn: `AAMRegressor` and `AAMClassifier`.

Parameters are the options of `aam train`, with their defaults. A fit trains in a temporary folder, which it removes. It
restores the random state of torch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, check_consistent_length
from sklearn.utils.validation import check_is_fitted

from aam.checkpoint import open_encoder
from aam.config import (
    DataConfig,
    FinetuneConfig,
    FinetuneOptimConfig,
    FinetuneRunConfig,
    FoldConfig,
    HeadConfig,
    Preset,
    TargetConfig,
    TargetLoss,
    Task,
    TrainingPrecision,
    Transform,
    from_options,
)
from aam.config.fields import MOST_STEPS
from aam.corpus.batches import LabelledBatches
from aam.corpus.dataset import ASVDataset, Draw
from aam.corpus.equal_asvs import order_by_id
from aam.corpus.label_schema import encode_labels, fit_schema
from aam.corpus.labels import Labels
from aam.corpus.samples import TableSamples, tokenize_table
from aam.errors import ConfigError, MetadataError, speaks_python
from aam.inference.predictions import Predictions, average, decode, embed_asvs, predict_draws, probabilities
from aam.io.table import Table
from aam.models.devices import resolve_device
from aam.models.finetune_model import FinetuneModel
from aam.models.pretrain_model import PretrainModel
from aam.observer import Observer
from aam.sklearn.tables import TakesTables, warn_of_other_region
from aam.sklearn.targets import TargetValues, read_classes, read_numbers
from aam.stopping import StopRequest
from aam.training.finetune import Start, build_target_learner, count_identities
from aam.training.loop import TrainingRun, train
from aam.turns import in_turn
from aam.workflows.model_names import find_model
from aam.workflows.opening import frozen_epochs

MIN_ROWS = 2
"""Scales of features and targets need two samples."""
NEVER = MOST_STEPS
"""Steps between evaluations: a fit holds nothing out, so only its end is evaluated."""


@dataclass(eq=False, repr=False)
class FineTuned(TakesTables):
    """Base of both estimators. Parameters are the options of `aam train`, except these.

    `pretrained`: run or checkpoint whose encoder is taken, or the name of a model, "shipped" for the one that comes
    with aam; without it an encoder of size `preset` learns from scratch. `freeze` keeps it fixed, which is quick.
    `sequences`: the DNA of columns whose names are no DNA. `max_bp`: bases read of each (None: as many as the encoder
    can). `rarefy_depth`: draw so many reads of deeper samples, anew in each epoch; predictions average `draws` of them
    and depend on the name of a sample, or its row where names repeat (None: all reads). `precision`: auto is fp32 here.
    `epochs`: None is as many as `aam train` takes, with `freeze` alone fewer.
    Both steps warn of ASVs from another region, or the other strand, than those that the encoder has learned from.
    """

    task: ClassVar[Task]

    pretrained: str | Path | None = HeadConfig.pretrained
    _: KW_ONLY
    sequences: Mapping[str, str] | None = None
    freeze: bool = HeadConfig.freeze
    freeze_asvs: bool = HeadConfig.freeze_asvs
    rarefy_depth: int | None = None
    token_limit: int = DataConfig.token_limit
    max_bp: int | None = None
    preset: Preset = FinetuneRunConfig.preset
    identity_prevalence: float = HeadConfig.identity_prevalence
    head_dim: int = HeadConfig.head_dim
    head_members: int = HeadConfig.head_members
    head_dropout: float = HeadConfig.head_dropout
    batch_size: int = FinetuneOptimConfig.batch_size
    lr: float = FinetuneOptimConfig.lr
    weight_decay: float = FinetuneOptimConfig.weight_decay
    encoder_rate: float = FinetuneOptimConfig.encoder_rate
    layer_decay: float = FinetuneOptimConfig.layer_decay
    precision: TrainingPrecision = FinetuneOptimConfig.precision
    epochs: int | None = None
    max_steps: int | None = FinetuneRunConfig.max_steps
    max_minutes: float | None = FinetuneRunConfig.max_minutes
    draws: int = FoldConfig.draws
    seed: int = FinetuneRunConfig.seed
    device: str = FinetuneRunConfig.device

    def _config(self, targets: TargetValues, folder: str) -> FinetuneConfig:
        """The parameters as the configuration of `aam train`."""
        given = {known.name: getattr(self, known.name) for known in fields(self) if known.name != "sequences"}
        given["rarefy_depth"] = "none" if self.rarefy_depth is None else str(self.rarefy_depth)
        given["max_bp"] = DataConfig.max_bp if self.max_bp is None else self.max_bp
        given |= {"task": self.task, "target": targets.names, "output_dir": folder, "eval_every": NEVER}
        config = from_options(FinetuneConfig, given)
        if self.pretrained is None and (self.freeze or self.freeze_asvs):
            raise ConfigError("freeze keeps a pretrained encoder fixed, but there is none; give pretrained=RUN")
        return config

    @in_turn()
    def _learn(self, table: Table, targets: TargetValues) -> Self:
        """Fine-tune on these samples, as `aam train` on the training samples of a fold."""
        order = order_by_id(table)
        table, targets = table.select(samples=order), targets.rows(order)
        device = resolve_device(self.device)
        rng = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
        with rng, tempfile.TemporaryDirectory(prefix="aam-fit-") as folder:
            config, encoder = self._config(targets, folder), None
            if self.pretrained is not None:
                found = find_model(Path(self.pretrained), Observer())
                config = replace(config, head=replace(config.head, pretrained=found))
                encoder, model = open_encoder(found)
                warn_of_other_region(table, encoder.asv_encoder)
                bases = min(self.max_bp or model.max_bp, model.max_bp)
                data = replace(config.data, max_bp=bases, positions=model.positions)
                config = replace(config, model=model, data=data)
            config = replace(config, run=replace(config.run, epochs=self._epochs(config, len(table.sample_ids))))
            samples, labels = self._samples(table, config), targets.labels(table.sample_ids)
            schema = fit_schema(labels, config.target, targets.classes, self.rarefy_depth)
            known = count_identities(samples.counts, config.head.identity_prevalence)
            self.config_ = replace(config, schema=replace(schema, identities=known))
            start = read_start(self.config_, encoder, samples, device)
            self.model_ = fit_model(self.config_, samples, labels, start, device)
        return self

    def _epochs(self, config: FinetuneConfig, samples: int) -> int | None:
        """Passes over so many training samples: as given, or the default of `aam train`."""
        if self.epochs is not None:
            return self.epochs
        short = self.freeze and self.max_steps is None
        return frozen_epochs(samples, config.optim) if short else FinetuneRunConfig.epochs

    def _samples(self, table: Table, config: FinetuneConfig) -> ASVDataset:
        """All samples of a table, drawn by the parameters."""
        draw = Draw(self.rarefy_depth, self.token_limit, DataConfig.asv_selection, self.seed)
        return TableSamples(table, tokenize_table(table, config.data.max_bp, config.data.positions)).drawn(draw)

    @speaks_python
    def _predictions(self, X: Any) -> Predictions:
        """Predictions for each row of X, averaged over draws."""
        check_is_fitted(self, "model_")
        table = self._read(X, fitting=False)
        warn_of_other_region(table, self.model_.encoder.asv_encoder)
        samples, schema = self._samples(table, self.config_), self.config_.schema
        unknown = TargetValues(np.full((len(samples), len(schema.numbers)), np.nan)).labels(table.sample_ids)
        raw = predict_draws(self.model_, samples, encode_labels(unknown, schema), self.draws)
        return average([decode(raw, self.config_)], self.config_)


def read_start(
    config: FinetuneConfig, encoder: PretrainModel | None, samples: ASVDataset, device: torch.device
) -> Start:
    """The initial weights, and the embeddings of the ASVs if these are not trained."""
    if encoder is None:
        return Start(None, None)
    frozen = config.head.freeze or config.head.freeze_asvs
    return Start(encoder.state_dict(), embed_asvs(encoder.to(device), samples.tokens) if frozen else None)


def fit_model(
    config: FinetuneConfig, samples: ASVDataset, labels: Labels, start: Start, device: torch.device
) -> FinetuneModel:
    """Train a model until its budget is spent."""
    batches = LabelledBatches(samples, config.optim.batch_size, encode_labels(labels, config.schema))
    learner = build_target_learner(config, batches, start, device)
    run = TrainingRun(config, learner, batches, lambda learner: {}, selects=False, saves=False)
    train(run, run.start_or_restore(), StopRequest())  # Ctrl-C raises as everywhere in Python
    model = learner.model.eval()
    model.embedded = None
    return model


@dataclass(eq=False, repr=False)
class AAMRegressor(RegressorMixin, FineTuned):
    """Numbers from counts [N, A] of ASVs: y [N], or several columns [N, T] at once, in their own units.

    `target_transform` is the scale they are learned on, `loss` the error that is minimised.
    """

    task = "regression"

    target_transform: Transform = field(default=TargetConfig.target_transform, kw_only=True)
    loss: TargetLoss = field(default=TargetConfig.loss, kw_only=True)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.regressor_tags.poor_score = (
            True  # random numbers as counts: samples differ in their sum, which says nothing
        )
        return tags

    @speaks_python
    def fit(self, X: Any, y: Any) -> AAMRegressor:
        """Learn y [N] or [N, T] from the table X."""
        table = self._read(X, fitting=True, least=MIN_ROWS)
        numbers = read_numbers(y, self)
        check_consistent_length(table.counts, numbers)
        self.single_target_ = numbers.ndim == 1
        return self._learn(table, TargetValues(numbers.reshape(len(numbers), -1)))

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Predicted targets of each row, [N] or [N, T] like y."""
        values = self._predictions(X).values[:, :, 0]
        return values[:, 0] if self.single_target_ else values


@dataclass(eq=False, repr=False)
class AAMClassifier(ClassifierMixin, FineTuned):
    """Classes from counts [N, A] of ASVs; `classes_` in the order of the columns of `predict_proba`.

    `class_weights`: balanced lets each class count the same in the loss. Probabilities are as learned;
    `CalibratedClassifierCV` calibrates them.
    """

    task = "classification"

    class_weights: Literal["balanced", "none"] = field(default=TargetConfig.class_weights, kw_only=True)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True  # random numbers as counts: see `AAMRegressor`
        return tags

    @speaks_python
    def fit(self, X: Any, y: Any) -> AAMClassifier:
        """Learn the classes y [N], of any type, from the table X."""
        table = self._read(X, fitting=True, least=MIN_ROWS)
        labels = read_classes(y, self)
        check_consistent_length(table.counts, labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise MetadataError(f"y holds one class, {str(self.classes_[0])!r}, expected at least two")
        return self._learn(table, TargetValues(np.zeros((len(codes), 0)), codes))

    def predict(self, X: Any) -> NDArray[Any]:
        """The likeliest class of each row [N]."""
        likeliest = self.predict_proba(X).argmax(axis=1)
        return self.classes_[likeliest]

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Probabilities [N, C] in the order of `classes_`."""
        return probabilities(self._predictions(X).values)
