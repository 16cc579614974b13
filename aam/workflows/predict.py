"""Predictions of a fine-tuned model for the samples of any table, calibrated, and scored if true values exist."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from aam.checkpoint import Finetuned, find_members, open_predictors
from aam.config import NUMERIC_TASKS, DataConfig, FinetuneConfig, PredictConfig, RunConfig
from aam.corpus.dataset import Draw, build_draw
from aam.corpus.label_schema import encode_labels
from aam.corpus.study import NewSamples, open_new_samples
from aam.errors import ConfigError
from aam.evaluation.calibration import CALIBRATION, Calibration, read_calibration
from aam.evaluation.intervals import warn_of_infinite_intervals
from aam.inference import predictions
from aam.io.ids import SAMPLE_ID
from aam.models.devices import resolve_device
from aam.observer import Observer, Progress
from aam.report.model_card import run_folder
from aam.spelling import whole_of
from aam.text import counted, name_few
from aam.training.run_files import check_recorded
from aam.workflows import notes
from aam.workflows.model_names import find_model
from aam.workflows.opened import say_limit, say_opened
from aam.workflows.opening import for_model
from aam.workflows.predict_clades import predict_clades
from aam.workflows.prevalence import at_prevalence, parse_prevalence
from aam.workflows.stored_clades import StoredClades, find_clades, open_clades
from aam.workflows.transfer_card import TransferCard


@dataclass(frozen=True)
class NewPredictions:
    """Predictions of samples by id (columns as in `prediction_table`), averaged over `models` models.

    `refused` are reasons by id of samples that cannot be predicted. `scores` are the metrics as `flatten_metrics`
    gives them, with the ends of their intervals; empty if the targets are unknown. `card`: how far the table lies from
    training, of a model of clades.
    """

    table: pd.DataFrame
    refused: pd.Series
    scores: dict[str, float]
    models: int
    card: TransferCard | None = None

    @property
    def refusal(self) -> str:
        """How many samples cannot be predicted, and the reasons of the first three."""
        total = len(self.table) + len(self.refused)
        reasons = name_few([f"{sample}: {reason}" for sample, reason in self.refused.items()], 3)
        return f"{len(self.refused):,} of {counted(total, 'samples')} cannot be predicted: {reasons}"


def predict(model: Path, data: DataConfig, config: PredictConfig, run: RunConfig, observer: Observer) -> NewPredictions:
    """Predict all samples of a table that the models of a run can read; raises an InputError for unusable files."""
    model = find_model(model, observer)
    predictors = open_any(model, observer)
    trained, text = predictors.config, config.prevalence
    calibration = stored_calibration(model, trained)
    wanted = None if text is None else parse_prevalence(text, trained.schema.classes)
    with observer.stage("reading the data"):
        data = for_model(data, trained.data, model)
        data = replace(data, rarefy_depth=depth_setting(config, trained), max_bp=trained.data.max_bp)
        new = open_new_samples(data, trained.target, trained.schema)
    if trained.target.where:
        observer.say(f"the model has learned from samples with {' and '.join(trained.target.where)} alone")
    for text in new.doubts:
        observer.warn(text)
    say_opened(new, observer, data.max_bp)
    if isinstance(predictors, StoredClades):
        repeats, card = predict_clades(predictors, find_members(model)[0], new, observer)
        found = predictions.average([repeats], trained)
    else:
        card = None
        notes.say_labelled_share(find_members(model), new.tokens, observer)
        notes.warn_of_other_region(predictors.members[0].encoder.asv_encoder, new.table.sequences, observer)
        notes.warn_of_unlike_reads(trained, new, observer)
        notes.warn_of_other_study(find_members(model)[0], new, observer)
        say_limit(new.drawn(draw_of(predictors.members[0].config, new, config, run)), observer)
        with observer.progress(f"predicting {counted(len(new.table.sample_ids), 'samples')}") as progress:
            found = predict_all(predictors.members, new, config, run, progress)
    if wanted is not None:
        found, calibration = at_prevalence(found, wanted, calibration), Calibration()
        observer.say(f"mean probability of {trained.schema.classes[1]}: {wanted:g}, by --prevalence")
    trained = replace(trained, fold=replace(trained.fold, coverage=config.coverage))
    table = predictions.prediction_table(new.table.sample_ids, found, trained, calibration)
    for text in warn_of_infinite_intervals(
        (calibration or Calibration()).residuals, trained.target.target, config.coverage
    ):
        observer.warn(text)
    if calibration is None:
        observer.say("no calibration beside this checkpoint: no intervals, uncalibrated probabilities")
    for name, count in new.unseen(trained.schema).items():
        observer.say(f"covariate {name!r}: {counted(count, 'samples')} with a missing or new value, read as unknown")
    scores = dict[str, float]()
    if new.truth is not None:
        scores = predictions.flatten_metrics(predictions.score_targets(table, new.truth, trained, None))
        notes.warn_of_training_samples(model, new.truth.index[new.truth.notna().any(axis=1)], observer)
    else:
        notes.say_training_samples(model, new.table.sample_ids, observer)
    refused = pd.Series(new.refused, name="reason", dtype=object).rename_axis(SAMPLE_ID)
    return NewPredictions(table, refused, scores, predictors.models, card)


@dataclass(frozen=True)
class Networks:
    """The models of the folds of a run, whose predictions are averaged."""

    members: list[Finetuned]

    @property
    def config(self) -> FinetuneConfig:
        """The configuration of the first."""
        return self.members[0].config

    @property
    def models(self) -> int:
        """How many there are."""
        return len(self.members)


def open_any(model: Path, observer: Observer) -> Networks | StoredClades:
    """What a run of `aam train` has learned; warns of missing folds."""
    stored = find_clades(model)
    if stored is not None:
        return open_clades(stored)
    members = open_predictors(model)
    notes.warn_of_missing_folds(model, len(members), observer)
    return Networks(members)


def stored_calibration(model: Path, trained: FinetuneConfig) -> Calibration | None:
    """The calibration beside a model, None if there is none; raises CheckpointError for one of another run."""
    if (run_folder(model) / CALIBRATION).exists():
        check_recorded(run_folder(model), CALIBRATION, "train again, or restore it")
    return read_calibration(model, len(trained.target.target) if trained.target.task in NUMERIC_TASKS else 0)


def depth_setting(config: PredictConfig, trained: FinetuneConfig) -> str:
    """Reads per sample as an option value: the given one, else that of training."""
    if config.rarefy_depth is None:
        return "none" if trained.schema.depth is None else str(trained.schema.depth)
    if config.rarefy_depth != "none" and whole_of(config.rarefy_depth) is None:
        raise ConfigError(f"--rarefy-depth is {config.rarefy_depth!r}, expected a whole number or 'none'")
    return config.rarefy_depth


def draw_of(trained: FinetuneConfig, new: NewSamples, config: PredictConfig, run: RunConfig) -> Draw:
    """How the samples are drawn: as in training, but with the depth and the token limit that were asked for."""
    draw = build_draw(trained.data, new.depth, run.seed)
    return draw if config.token_limit is None else replace(draw, token_limit=config.token_limit)


def predict_all(
    members: list[Finetuned], new: NewSamples, config: PredictConfig, run: RunConfig, progress: Progress
) -> predictions.Predictions:
    """Average over models and draws; each model reads covariates and writes numbers by its own scales."""
    device, repeats = resolve_device(run.device), []
    for before, member in enumerate(members):

        def of_all(done: int, total: int, before: int = before) -> None:
            progress(before * total + done, len(members) * total)

        samples = new.drawn(draw_of(member.config, new, config, run))
        labels = encode_labels(new.labels, member.config.schema)
        raw = predictions.predict_draws(member.model.to(device), samples, labels, config.draws, of_all)
        repeats.append(predictions.decode(raw, member.config))
    return predictions.average(repeats, members[0].config)
