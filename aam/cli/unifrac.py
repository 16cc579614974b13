"""`aam unifrac`: distances between all samples of a table, computed on a tree without a model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from aam.cli.options import OUTPUT, add_options, fields_of, option_values
from aam.config import DataConfig, RunConfig, UnifracConfig, from_some
from aam.text import counted

INPUT_OPTIONS = ("table", "tree", "sequences", "example", "max_missing")
"""The options of `DataConfig` that matter here."""


@click.command("unifrac")
@add_options(fields_of(DataConfig, INPUT_OPTIONS) | fields_of(UnifracConfig) | fields_of(RunConfig, ("seed",)))
@click.option("-o", "--output", required=True, type=OUTPUT, help="File to write: .tsv, .h5 or .npy.")
def command(output: Path, **values: Any) -> None:
    """Compute UniFrac between all samples of a table, or Faith PD of each.

    The suffix of the output file sets its format: .tsv is text that scikit-bio and QIIME 2 read, .h5 is HDF5 as the
    unifrac package writes it (`matrix`, `order`), .npy is the matrix alone, with the ids in a text file next to it.
    Faith PD is always .tsv.

    \b
    Example: aam unifrac --table table.biom --tree tree.nwk --metric weighted_normalized -o distances.h5
    """
    from aam.cli.terminal import TERMINAL
    from aam.io.output import MATRIX_SUFFIXES, VECTOR_SUFFIXES, check_output, write_columns, write_matrix

    started, asked = time.monotonic(), option_values(values)
    config, data, run = from_some(UnifracConfig, asked), from_some(DataConfig, asked), from_some(RunConfig, asked)
    check_output(output, VECTOR_SUFFIXES if config.metric == "faith_pd" else MATRIX_SUFFIXES)
    with TERMINAL.stage("starting"):
        from aam.workflows.distance import unifrac
    found = unifrac(data, config, run, TERMINAL)
    if found.unifrac is not None:
        ids = found.unifrac.ids
        write_matrix(output, ids, found.unifrac.data)
    if found.faith_pd is not None:
        ids = tuple(found.faith_pd.index)
        write_columns(output, ids, {"faith_pd": found.faith_pd.to_numpy()})
    click.echo(
        f"{config.metric} of {counted(len(ids), 'samples')} with {counted(found.asvs, 'ASVs')} by "
        f"{config.engine}: {output} ({time.monotonic() - started:.1f} s)"
    )
