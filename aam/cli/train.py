"""`aam train`: learn a metadata column from a table, with or without a pretrained encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aam.cli.options import HeadedCommand, config_options, option_values, with_absolute_paths, with_switches
from aam.cli.start import with_size_of_encoder
from aam.config import FinetuneConfig, RunConfig, from_options
from aam.errors import ConfigError

OF_PRETRAINING = (
    "corpus", "unifrac_matrix", "unifrac_head", "unifrac_metric", "unifrac_alpha"
)  # fmt: skip
"""Options that matter only where UniFrac is learned."""


@click.command("train", cls=HeadedCommand)
@config_options(FinetuneConfig, without=OF_PRETRAINING)
def command(config_file: Path | None, **values: Any) -> None:
    """Train a model of a metadata column (numbers, quantiles, classes or ordered classes) and score held-out samples.

    \b
    Try it:        aam train --example --target age_months --task classification --max-steps 200
    Your own data: aam train --table table.biom --metadata samples.tsv --target age --group-column subject \\
                             --pretrained RUN --freeze --folds 5 --output-dir age-model
    """
    from aam.cli.terminal import status

    asked = with_absolute_paths(FinetuneConfig, option_values(values, config_file))
    with status("starting"):
        from aam.training import manifest
        from aam.training.objective import loss_name

        config = from_options(FinetuneConfig, asked)
        loss_name(config.target)
        if not config.run.dry_run:
            manifest.check_output_directory(config.run.output_dir, config.run.resume)
        config = with_switches(resumed(asked) if config.run.resume else with_encoder(config, asked))
    from aam.cli.train_run import plan, train_and_report
    from aam.corpus.study import open_study
    from aam.inference.predictions import refuse_clashes

    with status("reading the data"):
        study = open_study(config.data, config.target)
        refuse_clashes(config.target, study.classes)
    if config.run.dry_run:
        click.echo(plan(config, study))
    else:
        with manifest.reserve_output_directory(config.run.output_dir, bool(asked.get("resume"))):
            train_and_report(config, study)


def with_encoder(config: FinetuneConfig, asked: dict[str, Any]) -> FinetuneConfig:
    """The configuration with the size of the pretrained encoder; raises ConfigError where options contradict it."""
    if config.head.adapt_steps and (config.head.pretrained is None or not (config.data.tree or config.data.example)):
        missing = "--pretrained RUN" if config.head.pretrained is None else "--tree FILE"
        raise ConfigError(f"--adapt-steps goes on with pretraining, which needs an encoder and a tree; give {missing}")
    if config.head.pretrained is not None:
        return with_size_of_encoder(config.head.pretrained, config, asked)
    if config.head.freeze or config.head.freeze_asvs:
        raise ConfigError("--freeze keeps a pretrained encoder fixed, but there is none; give --pretrained RUN")
    return config


def resumed(asked: dict[str, Any]) -> FinetuneConfig:
    """The configuration the run began with, from its manifest, with new budgets."""
    from aam.training.manifest import read_config, with_new_budgets

    folder = Path(asked.get("output_dir", RunConfig.output_dir))
    stored = read_config(FinetuneConfig, folder)
    return with_new_budgets(stored, asked, folder)
