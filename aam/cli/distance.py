"""`aam distance`: UniFrac and Faith PD from sequences alone, and how far they are from a tree's where there is one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from aam.cli.options import PATH, TREE_INPUTS, fields_of, model_command, option_values
from aam.config import DataConfig, from_some
from aam.config.apply import DistanceConfig, Inputs
from aam.text import counted, table_text

AGREEMENT = {
    "r2_calibrated": "R2 after a line of its own",
    "mantel": "Mantel r",
    "stress": "stress (0 is best)",
    "procrustes": "Procrustes m2 of 10 axes (0 is best)",
    "neighbour_recall": "recall of 10 nearest neighbours",
}


@click.command("distance")
@model_command(fields_of(DataConfig, TREE_INPUTS) | fields_of(DistanceConfig))
@click.option("-o", "--output", required=True, type=PATH, help="File to write: .tsv, .h5 or .npy.")
def command(model_path: Path, output: Path, **options: Any) -> None:
    """Predict the UniFrac of all pairs of samples, and their Faith PD, from ASV sequences alone.

    No tree is needed. The distance is the UniFrac that the model was trained on. Faith PD is written to
    distances.faith_pd.tsv if the model has learned it. With --tree, the true distances are also written, to
    distances.true.tsv, and distances.json holds the metrics of the prediction and of two baselines without learning.

    \b
    Example: aam distance --model aam-run --table table.biom -o distances.tsv
    """
    from aam.atomic import write_json
    from aam.cli.terminal import TERMINAL
    from aam.io.output import MATRIX_SUFFIXES, check_output, write_columns, write_matrix

    started, asked = time.monotonic(), option_values(options)
    inputs, config = Inputs.of(model_path, asked), from_some(DistanceConfig, asked)
    true, figures = output.with_suffix(f".true{output.suffix}"), output.with_suffix(".json")
    faith_pd, with_tree = output.with_suffix(".faith_pd.tsv"), inputs.data.tree is not None or inputs.data.example
    check_output(output, MATRIX_SUFFIXES)
    for file in (faith_pd, true, figures) if with_tree else (faith_pd,):
        check_output(file, [file.suffix])
    with TERMINAL.stage("starting"):
        from aam.workflows.distance import distance
    found = distance(inputs, config, TERMINAL)
    ids = found.unifrac.ids
    if found.true_unifrac is not None:
        write_matrix(true, ids, found.true_unifrac.data)
        write_json(figures, found.figures)
        click.echo(score_table(found.figures))
    diversities = [column for column in (found.faith_pd, found.true_faith_pd) if column is not None]
    if diversities:
        write_columns(faith_pd, ids, {str(column.name): column.to_numpy() for column in diversities})
    write_matrix(output, ids, found.unifrac.data)
    click.echo(f"{found.metric} of {counted(len(ids), 'samples')}: {output} ({time.monotonic() - started:.1f} s)")


def score_table(figures: dict[str, Any]) -> str:
    """The scores of the prediction and of the baselines, for the terminal."""
    from aam.report.summary import unifrac_table

    if "skipped" in figures:
        return f"not scored: {figures['skipped']}"
    agreement = [[title, f"{figures[f'unifrac_{name}']:.4f}"] for name, title in AGREEMENT.items()]
    return "\n\n".join(
        [
            f"{figures['pairs']:,} pairs of {figures['scored_samples']:,} samples",
            unifrac_table(figures, ("unifrac", "baseline_jaccard", "baseline_upgma")),
            table_text(agreement),
            f"  {figures['calibration']}\n",
        ]
    )
