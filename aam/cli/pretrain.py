"""`aam pretrain`: pretrain an encoder on a feature table and a tree, without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aam.cli.options import HeadedCommand, config_options, option_values
from aam.cli.terminal import TERMINAL
from aam.config import PretrainConfig, with_absolute_paths

COMMON = (
    *("table", "tree", "sequences", "example", "reference", "token_limit", "rarefy_depth", "preset", "pretrained"),
    *("output_dir", "max_minutes", "resume", "dry_run"),
)
"""Options that `--help` lists."""


@click.command("pretrain", cls=HeadedCommand, common=COMMON)
@config_options(PretrainConfig)
def command(config_file: Path | None, **options: Any) -> None:
    """Pretrain an encoder of ASVs and samples on a feature table and a phylogeny.

    \b
    Try it:        aam pretrain --example --max-minutes 3
    Your own data: aam pretrain --table table.biom --tree tree.nwk --output-dir run
    No samples:    aam pretrain --reference FOLDER --output-dir run
    """
    values = with_absolute_paths(PretrainConfig, option_values(options, config_file))
    with TERMINAL.stage("starting"):
        from aam.workflows.pretrain import plan, pretrain
    if values.get("dry_run"):
        click.echo(plan(values, TERMINAL))
    elif (run := pretrain(values, TERMINAL)) is not None:
        click.echo(run.summary)
