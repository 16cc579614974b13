"""`aam unifrac`: distances between all samples of a table, from the table and a tree alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aam.cli.data_notes import tell_data
from aam.cli.options import PATH, add_options, fields_of, option_values
from aam.config import DataConfig, RunConfig, UnifracConfig, part_of
from aam.errors import ConfigError
from aam.text import counted

if TYPE_CHECKING:
    import numpy as np

    from aam.io.table import Table
    from aam.phylogeny.unifrac import Community

INPUTS = ("table", "tree", "sequences", "example", "max_missing")
"""The options of `DataConfig` that matter here."""


@click.command("unifrac")
@add_options(fields_of(DataConfig, INPUTS) | fields_of(UnifracConfig) | fields_of(RunConfig, ("seed",)))
@click.option("-o", "--output", required=True, type=PATH, help="File to write: .tsv, .h5 or .npy.")
def command(output: Path, **values: Any) -> None:
    """Compute UniFrac between all samples of a table, or Faith PD of each.

    The suffix of the output file sets its format: .tsv is text that scikit-bio and QIIME 2 read, .h5 is HDF5 as the
    unifrac package writes it (`matrix`, `order`), .npy is the matrix alone, with the ids in a text file next to it.
    Faith PD is always .tsv.

    \b
    Example: aam unifrac --table table.biom --tree tree.nwk --metric weighted_normalized -o distances.h5
    """
    from aam.io.output import MATRIX_SUFFIXES, VECTOR_SUFFIXES, check_output, write_columns, write_matrix

    started, asked = time.monotonic(), option_values(values)
    job, data, run = part_of(UnifracConfig, asked), part_of(DataConfig, asked), part_of(RunConfig, asked)
    diversity = job.metric == "faith_pd"
    check_output(output, VECTOR_SUFFIXES if diversity else MATRIX_SUFFIXES)
    table, samples = open_communities(data, job.rarefy_depth, run.seed)
    result = compute(samples, job)
    if diversity:
        write_columns(output, table.sample_ids, {job.metric: result})
    else:
        write_matrix(output, table.sample_ids, result)
    click.echo(
        f"{job.metric} of {counted(len(table.sample_ids), 'samples')} with {counted(len(table.asv_ids), 'ASVs')} by "
        f"{job.engine}: {output} "
        f"({time.monotonic() - started:.1f} s)"
    )


def open_communities(data: DataConfig, rarefy_depth: str, seed: int) -> tuple[Table, Community]:
    """The table less what tree or depth leave out (told on stderr), and its samples, rarefied, on the tree."""
    from aam.cli.terminal import status
    from aam.corpus.samples import open_rarefied, resolve_inputs
    from aam.phylogeny.unifrac import community

    with status("reading the data"):
        data, _ = resolve_inputs(data)
        if data.tree is None:
            raise ConfigError("no tree; give --tree FILE, a rooted phylogeny whose tips are the features of the table")
        table, tree, tips = open_rarefied(data, rarefy_depth, seed, with_tree=True)
        assert tree is not None
    tell_data(table, table.dropped)
    return table, community(table.counts, tips, tree)


def compute(samples: Community, job: UnifracConfig) -> np.ndarray:
    """Distances [n, n], or diversities [n], with a progress bar on stderr."""
    from aam.cli.terminal import bar
    from aam.phylogeny.engines import full_faith_pd, full_matrix
    from aam.phylogeny.unifrac import Measure

    with bar(job.metric) as progress:
        if job.metric == "faith_pd":
            return full_faith_pd(samples, job.engine, progress)
        return full_matrix(samples, Measure(job.metric, job.alpha), job.engine, progress)
