"""`aam embed`: embeddings of samples and ASVs by a trained model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from aam.cli.options import OUTPUT, fields_of, model_command, option_values
from aam.config import from_some
from aam.config.apply import EmbedConfig, Inputs
from aam.text import counted


@click.command("embed")
@model_command(fields_of(EmbedConfig))
@click.option("-o", "--output", required=True, type=OUTPUT, help="File to write: .tsv, .parquet, .h5ad or .txt.")
def command(model_path: Path | None, output: Path, **options: Any) -> None:
    """Embed the samples or the ASVs of a table with a trained model, or with the encoder that comes with aam.

    The suffix of the output file sets its format: .tsv is text that QIIME 2 and pandas read, .parquet has the same
    columns, .h5ad is AnnData for scanpy, and .txt is a scikit-bio ordination (the principal axes of the embedding,
    which preserve its distances). ASVs are embedded from their sequences, so they need not occur in the training data.

    \b
    Examples: aam embed --table table.biom -o samples.tsv
              aam embed --model aam-run --table table.biom -o samples.tsv
    """
    from aam.cli.terminal import TERMINAL
    from aam.io.output import check_embedding_output

    started, asked = time.monotonic(), option_values(options)
    inputs, config = Inputs.of(model_path, asked), from_some(EmbedConfig, asked)
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
