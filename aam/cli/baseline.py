"""`aam baseline`: what a metadata column is predicted with when nothing is pretrained, on the same folds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aam.cli.options import PATH, HeadedCommand, add_options, fields_of, option_values
from aam.cli.terminal import TERMINAL
from aam.config import DataConfig, FinetuneConfig, FoldConfig, RunConfig, TargetConfig, from_options
from aam.errors import ConfigError

INPUTS = (
    *("table", "tree", "sequences", "example", "metadata", "group_column", "validation_fraction"),
    *("validation_samples", "rarefy_depth", "max_missing"),
)
TARGET = ("target", "task", "where", "class_order")
FOLDS = ("folds", "leave_one_group_out", "stratify", "label_fraction")
"""The options that matter here."""
WITH_MODEL = ("tree", "max_missing")
"""Those that may be given beside --model."""


@click.command("baseline", cls=HeadedCommand)
@add_options(fields_of(DataConfig, INPUTS), "Data")
@add_options(fields_of(TargetConfig, TARGET), "Target")
@add_options(fields_of(FoldConfig, FOLDS) | fields_of(RunConfig, ("seed",)), "Folds")
@click.option("--model", type=PATH, help="Run of `aam train`: take its data and its folds, and compare with it.")
@click.option(
    "--against",
    multiple=True,
    type=PATH,
    help="Another run of `aam train` on the same folds, compared with --model too; may be given again.",
)
@click.option("-o", "--output", type=PATH, help="Folder to write to (default with --model: the run).")
def command(output: Path | None, model: Path | None, against: tuple[Path, ...], **values: Any) -> None:
    """Predict a metadata column with what every study already uses, on the folds of a run or on folds of its own.

    Random forest on relative abundance, ridge or logistic regression on centred log-ratios, nearest neighbours on
    unweighted UniFrac (with a tree), and the median or the commonest class. With a run, each is compared with the model
    sample by sample, and the difference comes with an interval.

    \b
    Example: aam baseline --model age-model --tree tree.nwk
             aam baseline --table table.biom --metadata samples.tsv --target age --folds 5 -o baselines
    """
    asked = option_values(values)
    folder = output or model
    if folder is None:
        raise ConfigError("nowhere to write; give -o FOLDER, or --model RUN to write there")
    if model is None and against:
        raise ConfigError(f"--against {against[0]}: there is nothing to compare it with; give --model RUN")
    if model is not None and (extra := [name for name in asked if name not in WITH_MODEL]):
        raise ConfigError(
            f"--model brings its own data and folds, found --{extra[0].replace('_', '-')} too; leave it out"
        )
    with TERMINAL.stage("starting"):
        from aam.io.output import refuse_existing
        from aam.training.manifest import run_of
        from aam.workflows.baseline import BASELINE_PREDICTIONS, BASELINES, Runs, baseline, recorded_config

        if model is not None:
            model = run_of(model)
            folder = output or model
        config = from_options(FinetuneConfig, asked) if model is None else recorded_config(model, asked)
    for name in (BASELINES, BASELINE_PREDICTIONS):
        refuse_existing(folder / name)
    found = baseline(config, Runs(model, against), TERMINAL)
    found.write(folder)
    click.echo(found.text())
    click.echo(f"  figures      {folder / BASELINES}")
