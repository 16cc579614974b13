"""`aam export`: an encoder as a program that runs without this package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aam.cli.options import OUTPUT, add_options, fields_of, model_option, option_values
from aam.config import from_dict
from aam.config.apply import ExportConfig
from aam.config.fields import SHIPPED
from aam.io.output import check_output


@click.command("export")
@add_options(fields_of(ExportConfig))
@model_option()
@click.option("-o", "--output", required=True, type=OUTPUT, help="File to write: .pt2.")
def command(model_path: Path | None, output: Path, **options: Any) -> None:
    """Write an encoder as a program of torch.export, with its weights, for any number of ASVs or samples.

    The program needs only PyTorch: torch.export.load(FILE).module()(inputs). The file also holds aam.json, which
    describes the inputs. Before it is written, the program's output is compared with the model's.

    \b
    Example: aam export --what asvs -o asvs.pt2
    """
    config = from_dict(ExportConfig, option_values(options))
    check_output(output, [".pt2"])
    from aam.cli.terminal import TERMINAL
    from aam.workflows.export import export_model

    exported = export_model(model_path or Path(SHIPPED), config, TERMINAL)
    exported.write(output)
    click.echo(f"{config.what}: {output}, within {exported.difference:.0e} of the model")
