"""`aam embed`: coordinates of samples and ASVs under a trained model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aam.cli.model_options import common_values, encoding_of, model_command, open_both
from aam.cli.options import PATH, fields_of, option_values
from aam.config import part_of
from aam.config.apply import EmbedConfig
from aam.errors import ConfigError
from aam.text import counted

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = {"samples": "e", "asvs": "e", "branches": "b"}
"""Columns are called by it and a number from 1."""


@click.command("embed")
@model_command(fields_of(EmbedConfig))
@click.option("-o", "--output", required=True, type=PATH, help="File to write: .tsv, .parquet, .h5ad or .txt.")
def command(model_path: Path, output: Path, **options: Any) -> None:
    """Embed the samples or the ASVs of a table with a trained model.

    The suffix of the output file sets its format: .tsv is text that QIIME 2 and pandas read, .parquet has the same
    columns, .h5ad is AnnData for scanpy, and .txt is a scikit-bio ordination (the principal axes of the embedding,
    which preserve its distances). ASVs are embedded from their sequences, so they need not occur in the training data.

    \b
    Example: aam embed --model aam-run --table table.biom -o samples.tsv
    """
    from aam.checkpoint import find_members
    from aam.cli.data_notes import tell_known
    from aam.cli.terminal import bar
    from aam.io.output import check_embedding_output, write_embedding

    started, asked = time.monotonic(), option_values(options)
    values, job = common_values(asked), part_of(EmbedConfig, asked)
    check_embedding_output(output)
    opened = open_both(model_path, values, for_unifrac=job.what == "branches")
    if job.what == "branches" and opened.model.latent_tree is None:
        raise ConfigError(
            f"--what branches: the model in {model_path} has no latent tree (--unifrac-head "
            f"{opened.config.model.unifrac_head}); use --what samples or asvs"
        )
    members = find_members(model_path)
    tell_fold(members)
    tell_known(members[0], opened.samples.tokens)
    encoding, table = encoding_of(opened, values.apply), opened.samples.table
    ids, kind = (table.asv_ids, "asvs") if job.what == "asvs" else (table.sample_ids, "samples")
    found: Tensor | None
    if job.what == "asvs":
        found = encoding.asvs.embeddings
    else:
        with bar("samples") as progress:
            found = encoding.branches(progress) if job.what == "branches" else encoding.embeddings(progress)
    assert found is not None  # a model without branches was refused
    write_embedding(output, kind, ids, PREFIX[job.what], found.float().cpu().numpy())
    click.echo(
        f"{job.what}: {counted(len(ids), 'rows')} of {counted(found.shape[1], 'columns')}, from "
        f"{counted(len(table.asv_ids), 'ASVs')}: {output} "
        f"({time.monotonic() - started:.1f} s)"
    )


def tell_fold(members: list[Path]) -> None:
    """Say on stderr whose embeddings these are, where each fold has an encoder of its own."""
    if len(members) > 1:
        first, second = (folder.parent for folder in members[:2])
        click.echo(
            f"embedded by the model of {first.name}, one of {len(members)}; --model {second} takes another", err=True
        )
