"""`aam explain`: which ASVs drive the embedding of the samples of a table, or what a model predicts of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aam.cli.options import PATH, TREE_INPUTS, fields_of, model_command, option_values
from aam.config import DataConfig, from_some
from aam.config.apply import ExplainConfig, Inputs
from aam.text import shorten, table_text

if TYPE_CHECKING:
    from aam.workflows.explain import Drivers

ROWS_PRINTED = 10
"""ASVs on the terminal."""
ID_WIDTH = 40
"""Characters of an id on the terminal."""


@click.command("explain")
@model_command(fields_of(DataConfig, TREE_INPUTS) | fields_of(ExplainConfig))
@click.option("-o", "--output", required=True, type=PATH, help="File to write: .tsv.")
def command(model_path: Path | None, output: Path, **options: Any) -> None:
    """Find the ASVs that drive the sample embeddings or the predictions of a model.

    For a pretrained model, the distance of each sample embedding from the mean embedding is explained. For a model
    of `aam train`, its prediction is: a target in its units, or the log-odds of a class, averaged over the folds.
    The table has one row per ASV: its attention, its integrated gradient and its share of the total influence.
    drivers.png and drivers.json, written next to it, hold a check: deleting the ASVs with the largest influence
    must change the output more than deleting as many at random. With --tree, the table also has the position of
    each ASV in the tree, and with --taxonomy its lineage.

    \b
    Example: aam explain --model aam-run --table table.biom -o drivers.tsv
    """
    from aam.atomic import write_json
    from aam.cli.terminal import TERMINAL
    from aam.io.output import check_output, new_file

    started, asked = time.monotonic(), option_values(options)
    inputs, config = Inputs.of(model_path, asked), from_some(ExplainConfig, asked)
    picture, figures = output.with_suffix(".png"), output.with_suffix(".json")
    for file, suffix in ((output, ".tsv"), (picture, ".png"), (figures, ".json")):
        check_output(file, [suffix])
    with TERMINAL.stage("starting"):
        from aam.workflows.explain import explain
    drivers = explain(inputs, config, TERMINAL)
    found = drivers.explanation
    with new_file(output) as partial:
        drivers.table.to_csv(partial, sep="\t", float_format="%.6g")
    about = {"explained": drivers.explained, "models": drivers.models, "explained_samples": found.explained_samples}
    write_json(figures, about | {"deletion": found.deletion_table()})
    again = "the same command with another --output makes it again"
    with TERMINAL.optional(str(picture), again), new_file(picture) as partial:
        from aam.report.target_figures import plot_explanation

        plot_explanation(found, drivers.labels, drivers.tree_position, partial)
    written = [str(file) for file in (output, picture, figures) if file.exists()]
    click.echo(f"explained: {drivers.explained}\n\n{leading_text(drivers)}")
    click.echo(f"{len(drivers.ids):,} ASVs: {', '.join(written)} ({time.monotonic() - started:.1f} s)")


def leading_text(found: Drivers) -> str:
    """The leading ASVs, and the check by deletion, for the terminal."""
    rows = [["leading ASVs", "rank", "samples", "abundance", "attention", "share"]]
    label = dict(zip(found.ids, found.labels, strict=True))
    for row in found.table.head(ROWS_PRINTED).itertuples():  # ids of one primer begin alike: the table has the rank too
        numbers = [f"{row.rank}", f"{row.samples}", f"{row.mean_abundance:.4f}", f"{row.attention:.4f}"]
        rows.append([shorten(label[str(row.Index)], ID_WIDTH), *numbers, f"{row.share:.2%}"])
    changes = [["ASVs deleted from a sample", "change of the output", "as many at random", "ratio"]]
    for count, figures in found.explanation.deletion_table().items():
        mean, times = figures["mean_change"], figures["times_random"]
        ratio = "–" if times is None else f"{times:.1f}"
        changes.append([count, f"{mean['integrated gradients']:.4f}", f"{mean['random']:.4f}", ratio])
    return f"{table_text(rows)}\n\n{table_text(changes)}\n"
