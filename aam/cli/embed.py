"""`aam embed`: coordinates of samples and ASVs under a trained model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from aam.cli.options import PATH, fields_of, model_command, option_values
from aam.config import part_of
from aam.config.apply import EmbedConfig, Inputs
from aam.text import counted


@click.command("embed")
@model_command(fields_of(EmbedConfig))
@click.option("-o", "--output", required=True, type=PATH, help="File to write: .tsv, .parquet, .h5ad or .txt.")
def command(model_path: Path, output: Path, **options: Any) -> None:
    """Embed the samples or the ASVs of a table with a trained model.

    The ending of the output says what is written: .tsv is text that QIIME 2 and pandas read, .parquet the same as
    columns, .h5ad AnnData for scanpy, .txt a scikit-bio ordination (principal axes of the embedding, which keep all its
    distances). ASVs that the model has never seen are embedded like any other, from their sequence.

    \b
    Example: aam embed --model aam-run --table table.biom -o samples.tsv
    """
    from aam.cli.terminal import TERMINAL
    from aam.io.embeddings import check_embedding_output

    started, asked = time.monotonic(), option_values(options)
    inputs, config = Inputs.of(model_path, asked), part_of(EmbedConfig, asked)
    check_embedding_output(output)
    with TERMINAL.stage("starting"):
        from aam.workflows.embed import embed
    found = embed(inputs, config, TERMINAL)
    found.write(output)
    rows, columns = found.values.shape
    click.echo(
        f"{config.what}: {counted(rows, 'rows')} of {counted(columns, 'columns')}, from {counted(found.asvs, 'ASVs')}: "
        f"{output} ({time.monotonic() - started:.1f} s)"
    )
