"""`aam predict`: predictions of a fine-tuned model for the samples of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aam.cli.options import OUTPUT, READS, add_options, fields_of, option_values
from aam.config import DataConfig, PredictConfig, RunConfig, from_some
from aam.errors import ConfigError
from aam.text import counted

INPUT_OPTIONS = ("table", "sequences", "example", "metadata", *READS)
"""The options of `DataConfig` that matter here."""
RUN_OPTIONS = ("seed", "device")


@click.command("predict")
@add_options(fields_of(PredictConfig) | fields_of(DataConfig, INPUT_OPTIONS) | fields_of(RunConfig, RUN_OPTIONS))
@click.option("-o", "--output", required=True, type=OUTPUT, help="File to write: .tsv.")
def command(output: Path, **values: Any) -> None:
    """Predict the target for the samples of a table with a model of `aam train`, and how certain that is.

    Numbers are written with a prediction interval, classes with probabilities; both are adjusted to the errors of
    held-out samples. Metadata is needed only for covariates; if it also has the target, the predictions are scored.
    Samples that cannot be predicted are listed with the reason in predictions.refused.tsv, next to the output.

    A model of several studies (--learner clades) also says how different the table is from the studies of training, and
    how well studies were predicted that were left out; predictions.transfer.json, next to the output, has the numbers.
    In a new study the order of the samples can be used as it is. The probabilities assume that all classes are equally
    frequent; if you know how frequent a class is, give --prevalence CLASS=FRACTION.

    \b
    Example: aam predict --model age-model --table new.biom -o predictions.tsv
    """
    from aam.cli.terminal import TERMINAL
    from aam.io.frames import EXACT, write_frame
    from aam.io.output import all_or_none, check_output, new_file, refuse_existing, write_new_json

    asked = option_values(values)
    config, data, run = from_some(PredictConfig, asked), from_some(DataConfig, asked), from_some(RunConfig, asked)
    if config.model is None:
        raise ConfigError("no model; give --model RUN, the output directory of `aam train`")
    check_output(output, (".tsv",))
    refused = output.with_name(f"{output.stem}.refused.tsv")
    card = output.with_name(f"{output.stem}.transfer.json")
    refuse_existing(refused)
    refuse_existing(card)
    with TERMINAL.stage("starting"):
        from aam.workflows.predict import predict
    found = predict(config.model, data, config, run, TERMINAL)
    with all_or_none():
        with new_file(output) as partial:
            write_frame(partial, found.table, EXACT)
        if len(found.refused):
            with new_file(refused) as partial:
                write_frame(partial, found.refused)
        if found.card is not None:
            write_new_json(card, found.card.record())
    if len(found.refused):
        TERMINAL.warn(f"{found.refusal}; all reasons are in {refused}")
    for name, value in found.scores.items():
        if not name.endswith(("_low", "_high")):
            click.echo(f"{name:<24}{value:.4f}", err=True)
    click.echo(f"{counted(len(found.table), 'samples')} predicted by {counted(found.models, 'models')}: {output}")
