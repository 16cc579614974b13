"""`aam preflight`: check that a configuration can learn from the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aam.cli.options import TRAINING_ONLY, HeadedCommand, config_options, option_values
from aam.config import PretrainConfig, from_options

COMMON = ("table", "tree", "sequences", "example", "token_limit", "preset", "pretrained")
"""Options that `--help` lists."""


@click.command("preflight", cls=HeadedCommand, common=COMMON)
@config_options(PretrainConfig, without=TRAINING_ONLY)
@click.option(
    "--seconds", type=float, default=60.0, show_default=True, help="Time limit of all checks together, in seconds."
)
def command(config_file: Path | None, seconds: float, **options: Any) -> None:
    """Check that a model can learn from the data, before pretraining starts.

    The checks cover initial losses, gradients, updates, agreement of training and evaluation mode, and whether the
    model can learn four samples. The options are those of `aam pretrain`. Exit code 0: no fault found; 3: one found.

    \b
    Examples: aam preflight --example
              aam preflight --table table.biom --tree tree.nwk --preset base --lr 3e-4
    """
    from aam.cli.terminal import TERMINAL

    config = from_options(PretrainConfig, option_values(options, config_file))
    with TERMINAL.stage("starting"):
        from aam.workflows.checks import preflight, refuse_failed
    found = preflight(config, seconds, TERMINAL)
    click.echo(str(found))
    refuse_failed(found.failed)
    click.echo(found.tally())
