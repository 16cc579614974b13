"""`aam preflight`: will this configuration learn from these data?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aam.cli.options import TRAINING_ONLY, HeadedCommand, config_options, option_values
from aam.config import PretrainConfig, from_options


@click.command("preflight", cls=HeadedCommand)
@config_options(PretrainConfig, without=TRAINING_ONLY)
@click.option(
    "--seconds", type=float, default=60.0, show_default=True, help="Time limit of all checks together, in seconds."
)
def command(config_file: Path | None, seconds: float, **options: Any) -> None:
    """Check before a pretraining that it can learn.

    The checks cover initial losses, gradients, updates, agreement of training and evaluation mode, and whether the
    model can learn four samples. Takes the options of `aam pretrain`. Exit code 0: no fault found; 3: a check failed.

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


def refuse(failed: Any, remedy: str = "") -> None:
    """Raise NonFiniteError (exit code 3) for the first of these checks, which found a fault."""
    from aam.workflows.checks import refuse_failed

    refuse_failed(failed, remedy)
