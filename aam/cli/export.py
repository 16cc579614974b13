"""`aam export`: an encoder as a program that runs without this package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from aam.cli.model_options import model_option, tell_last
from aam.cli.options import PATH, add_options, fields_of, option_values
from aam.config import from_dict
from aam.config.apply import ExportConfig
from aam.io.output import check_output, new_file, through_memory

ABOUT = "aam.json"
"""What to know for the program's use, within its file."""


@click.command("export")
@add_options(fields_of(ExportConfig))
@model_option
@click.option("-o", "--output", required=True, type=PATH, help="File to write: .pt2.")
def command(model_path: Path, output: Path, **options: Any) -> None:
    """Write an encoder as a program of torch.export, with its weights, for any number of ASVs or samples.

    The program needs only PyTorch: torch.export.load(FILE).module()(inputs). The file also holds aam.json, which
    describes the inputs. Before it is written, the program's output is compared with the model's.

    \b
    Example: aam export --model aam-run --what asvs -o asvs.pt2
    """
    job = from_dict(ExportConfig, option_values(options))
    check_output(output, [".pt2"])
    import torch

    from aam.checkpoint import open_encoder
    from aam.inference.export import export_encoder

    tell_last(model_path)
    found, config = open_encoder(model_path)
    exported = export_encoder(found, config, job.what)
    with new_file(output) as partial, through_memory(partial) as memory:
        torch.export.save(exported.program, memory, extra_files={ABOUT: json.dumps(exported.about)})
    click.echo(f"{job.what}: {output}, within {exported.difference:.0e} of the model")
