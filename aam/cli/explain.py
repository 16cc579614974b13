"""`aam explain`: which ASVs drive the embedding of the samples of a table, or what a model predicts of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from aam.cli.options import OUTPUT, TREE_INPUTS, fields_of, model_command, option_values
from aam.config import DataConfig, from_some
from aam.config.apply import ExplainConfig, Inputs
from aam.text import table_text


@click.command("explain")
@model_command(fields_of(DataConfig, TREE_INPUTS) | fields_of(ExplainConfig))
@click.option("-o", "--output", required=True, type=OUTPUT, help="File to write: .tsv.")
def command(model_path: Path | None, output: Path, **options: Any) -> None:
    """Find the ASVs that drive the sample embeddings or the predictions of a model.

    For a model of `aam train`, its prediction is explained: a target in its units, or the log-odds of a class,
    averaged over the folds. For a pretrained model, it is the distance of each sample embedding from their mean.
    The table has one row per ASV, with its share of the total influence; docs/embed.md describes the columns.
    drivers.png and drivers.json, written next to it, hold a check: deleting the ASVs with the largest influence
    must change the output more than deleting as many at random. With --tree, the table also has the position of
    each ASV in the tree, and with --taxonomy its lineage.

    For a model of several studies (--learner clades) the rows are ASVs and clades of the reference: what each adds to
    the prediction, and what changes if its reads are taken out.

    \b
    Example: aam explain --model aam-run --table table.biom -o drivers.tsv
    """
    from aam.cli.terminal import TERMINAL
    from aam.io.frames import write_frame
    from aam.io.output import all_or_none, check_output, new_file, write_new_json, write_through_memory

    started, asked = time.monotonic(), option_values(options)
    inputs, config = Inputs.of(model_path, asked), from_some(ExplainConfig, asked)
    picture, figures = output.with_suffix(".png"), output.with_suffix(".json")
    for file, suffix in ((output, ".tsv"), (picture, ".png"), (figures, ".json")):
        check_output(file, [suffix])
    with TERMINAL.stage("starting"):
        from aam.workflows.explain import explain
    drivers = explain(inputs, config, TERMINAL)
    with all_or_none():
        with new_file(output) as partial:
            write_frame(partial, drivers.table)
        write_new_json(figures, drivers.record)
    again = "the same command with another --output makes it again"
    with TERMINAL.optional(str(picture), again), new_file(picture) as partial, write_through_memory(partial) as memory:
        drivers.draw(memory)
    written = [str(file) for file in (output, picture, figures) if file.exists()]
    click.echo(f"explained: {drivers.explained}\n")
    for rows in drivers.printed():
        click.echo(f"{table_text(rows)}\n")
    if drivers.verdict:
        click.echo(f"{drivers.verdict}\n")
    click.echo(f"{drivers.count_text}: {', '.join(written)} ({time.monotonic() - started:.1f} s)")
