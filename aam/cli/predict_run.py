"""The sequence of a prediction: open the models, keep the samples they can take, predict, calibrate, write."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click
import pandas as pd

from aam.checkpoint import Finetuned, find_members, open_predictors
from aam.cli.data_notes import tell_data, tell_flattered, tell_known, tell_misfit
from aam.cli.study_folds import tell_missing_folds
from aam.cli.terminal import status
from aam.config import DataConfig, FinetuneConfig, PredictConfig, RunConfig
from aam.corpus.dataset import ASVDataset, draw_of
from aam.corpus.label_schema import encode
from aam.corpus.study import NewSamples, open_new_samples
from aam.errors import ConfigError
from aam.evaluation.calibration import Calibration, read_calibration, unbounded
from aam.inference.predictions import (
    Predictions,
    average,
    decode,
    flat,
    predict_draws,
    prediction_table,
    target_figures,
)
from aam.io.ids import SAMPLE_ID
from aam.io.output import new_file, refuse_existing
from aam.models.devices import resolve_device
from aam.text import counted


def predict_and_report(model: Path, job: PredictConfig, data: DataConfig, run: RunConfig, output: Path) -> None:
    """Write the predictions, and beside them the samples that were refused; say what was done."""
    members, calibration = open_predictors(model), read_calibration(model)
    tell_missing_folds(model, len(members))
    config = members[0].config
    with status("reading the data"):
        data = dataclasses.replace(data, rarefy_depth=depth_setting(job, config), max_bp=config.data.max_bp)
        new = open_new_samples(data, config.target)
    tell_data(new.table, {})  # what was refused stands in a file
    tell_known(find_members(model)[0], new.tokens)
    tell_misfit(members[0].encoder.asv_encoder, new.table.sequences)
    refused_path = output.with_name(f"{output.stem}.refused.tsv")
    refuse_existing(refused_path)
    with status(f"predicting {counted(len(new.table.sample_ids), 'samples')}"):
        found = predict_all(members, new, job, run)
    config = dataclasses.replace(config, fold=dataclasses.replace(config.fold, coverage=job.coverage))
    table = prediction_table(new.table.sample_ids, found, config, calibration)
    with new_file(output) as partial:
        table.to_csv(partial, sep="\t", float_format="%.6g")
    if new.refused:
        refused = pd.DataFrame({"reason": new.refused}).rename_axis(SAMPLE_ID)
        with new_file(refused_path) as partial:
            refused.to_csv(partial, sep="\t")
        click.echo(f"{counted(len(refused), 'samples')} refused, with reasons in {refused_path}", err=True)
    for text in unbounded(calibration or Calibration(), config.target.target, job.coverage):
        click.echo(f"Warning: {text}", err=True)
    tell(table, new, members, calibration)
    if new.truth is not None:
        tell_flattered(model, new.truth.index[new.truth.notna().any(axis=1)])
    click.echo(f"{counted(len(table), 'samples')} predicted by {counted(len(members), 'models')}: {output}")


def depth_setting(job: PredictConfig, config: FinetuneConfig) -> str:
    """Reads per sample as an option value: as asked, else as in training."""
    if job.rarefy_depth is None:
        return "none" if config.schema.depth is None else str(config.schema.depth)
    if job.rarefy_depth != "none" and not job.rarefy_depth.isdecimal():
        raise ConfigError(f"--rarefy-depth is {job.rarefy_depth!r}, expected a whole number or 'none'")
    return job.rarefy_depth


def predict_all(members: list[Finetuned], new: NewSamples, job: PredictConfig, run: RunConfig) -> Predictions:
    """Average over models and draws; each model reads covariates and writes numbers by its own scales."""
    device, repeats = resolve_device(run.device), []
    for member in members:
        draw = draw_of(member.config.data, new.depth, run.seed)
        samples = ASVDataset(new.table.counts, new.tokens, new.table.sample_ids, draw)
        raw = predict_draws(member.model.to(device), samples, encode(new.labels, member.config.schema), job.draws)
        repeats.append(decode(raw, member.config))
    return average(repeats, members[0].config)


def tell(table: pd.DataFrame, new: NewSamples, members: list[Finetuned], calibration: Calibration | None) -> None:
    """What a user should know of these predictions, on stderr: scores where the truth is known, and what is missing."""
    config = members[0].config
    if calibration is None:
        click.echo("no calibration beside this checkpoint: no intervals, uncalibrated probabilities", err=True)
    for name, count in new.unseen(config.schema).items():
        click.echo(
            f"covariate {name!r}: {counted(count, 'samples')} with a missing or new value, taken as unknown", err=True
        )
    if new.truth is not None:
        for name, value in flat(target_figures(table, new.truth, config, None)).items():
            if not name.endswith(("_low", "_high")):
                click.echo(f"{name:<24}{value:.4f}", err=True)
