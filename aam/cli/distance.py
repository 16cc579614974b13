"""`aam distance`: UniFrac and Faith PD from sequences alone, and how far they are from a tree's where there is one."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aam.cli.options import OUTPUT, TREE_INPUTS, fields_of, model_command, option_values
from aam.config import DataConfig, UnifracConfig, from_some
from aam.config.apply import DistanceConfig
from aam.config.reference import InsertionConfig
from aam.text import counted, table_text

if TYPE_CHECKING:
    from aam.workflows.distance import Distances

AGREEMENT = {
    "r2_calibrated": "R2 with a fitted line",
    "mantel": "Mantel r",
    "stress": "stress (0 is best)",
    "procrustes": "Procrustes m2 of 10 axes (0 is best)",
    "neighbour_recall": "share of the 10 nearest samples found",
}
OTHER_SCALE = 0.1
"""R2 that a line must add for the distances to be called those of another scale."""
AGREES = 0.7
"""Correlation from which two matrices are said to agree on which samples are alike."""
OTHER_SCALE_NOTE = (
    "Both agree on which samples are alike (Pearson r {:.3f}, Mantel r {:.3f}), but not on the scale: branch lengths\n"
    "differ between trees, which is normal. R² and MAE of the last table compare the numbers as they are."
)
TREE_SUFFIXES = (".nwk", ".newick", ".tree", ".tre")


@click.command("distance")
@model_command(
    fields_of(DataConfig, TREE_INPUTS)
    | fields_of(DistanceConfig)
    | fields_of(UnifracConfig, ("metric", "alpha"))
    | fields_of(InsertionConfig),
    default="the ASVs are placed on a reference",
)
@click.option("-o", "--output", required=True, type=OUTPUT, help="File to write: .tsv, .h5 or .npy.")
@click.option("--write-tree", type=OUTPUT, help="File for the tree of the placed ASVs (--method placement): .nwk.")
def command(model_path: Path | None, output: Path, write_tree: Path | None, **options: Any) -> None:
    """Find the UniFrac of all pairs of samples, and their Faith PD, from ASV sequences alone.

    No tree is needed. Without --model, the ASVs are placed on the tree of a reference (--reference, or the one that
    comes with aam), and any --metric is computed there. With --model, the distance is the UniFrac that the model was
    trained on. Faith PD, if the model has learned it, is written beside it: to distances.faith_pd.tsv for
    -o distances.tsv.

    With --tree, the distances on that tree are written too, to distances.true.tsv, and distances.json says how well the
    two agree, beside two baselines that learn nothing.

    \b
    Examples: aam distance --table table.biom --metric weighted -o distances.tsv
              aam distance --model aam-run --table table.biom -o distances.tsv
    """
    from aam.cli.terminal import TERMINAL
    from aam.io.output import MATRIX_SUFFIXES, VECTOR_SUFFIXES, all_or_none, check_output

    started, asked = time.monotonic(), option_values(options)
    data = from_some(DataConfig, asked)
    check_output(output, VECTOR_SUFFIXES if asked.get("metric") == "faith_pd" else MATRIX_SUFFIXES)
    beside = [output.with_suffix(".faith_pd.tsv")]
    if data.tree is not None or data.example:
        beside += [output.with_suffix(f".true{output.suffix}"), output.with_suffix(".json")]
    for file in beside:
        check_output(file, [file.suffix])
    if write_tree is not None:
        check_output(write_tree, TREE_SUFFIXES, "--write-tree")
    with TERMINAL.stage("starting"):
        from aam.workflows.any_distance import any_distance
    found = any_distance(model_path, asked, write_tree is not None, TERMINAL)
    with all_or_none():
        count = write(found, output, write_tree)
    name = "Faith PD" if found.unifrac is None else f"{found.metric} UniFrac"
    files = str(output)
    if found.unifrac is not None and found.faith_pd is not None:
        files += f", Faith PD: {output.with_suffix('.faith_pd.tsv')}"
    click.echo(f"{name} of {counted(count, 'samples')}: {files} ({time.monotonic() - started:.1f} s)")


def write(found: Distances, output: Path, write_tree: Path | None) -> int:
    """Write distances, Faith PD and, where there is a tree, the truth and the figures; returns how many samples."""
    from aam.io.output import new_file, write_columns, write_matrix, write_new_json

    diversities = [column for column in (found.faith_pd, found.true_faith_pd) if column is not None]
    columns = {str(column.name): column.to_numpy() for column in diversities}
    ids = list(found.unifrac.ids if found.unifrac is not None else diversities[0].index)
    if found.true_unifrac is not None:
        write_matrix(output.with_suffix(f".true{output.suffix}"), ids, found.true_unifrac.data)
    if found.figures:
        write_new_json(output.with_suffix(".json"), found.figures)
        click.echo(score_table(found.figures, placed=found.newick is not None))
    if write_tree is not None and found.newick is not None:
        with new_file(write_tree) as partial:
            partial.write_text(found.newick + "\n", encoding="utf-8")
    if columns:
        write_columns(output if found.unifrac is None else output.with_suffix(".faith_pd.tsv"), ids, columns)
    if found.unifrac is not None:
        write_matrix(output, ids, found.unifrac.data)
    return len(ids)


def score_table(figures: dict[str, Any], placed: bool) -> str:
    """The scores of the prediction, by a model or by `placed` ASVs, and of the baselines, for the terminal."""
    from aam.evaluation.metrics import UNIFRAC_LABELS
    from aam.report.summary import unifrac_table

    if "skipped" in figures:
        return f"not scored: {figures['skipped']}"
    if "pairs" not in figures:
        rows = [[name.removeprefix("faith_pd_"), f"{value:.4f}"] for name, value in figures.items()]
        return f"Faith PD against that of the tree\n{table_text(rows)}\n"
    labels = UNIFRAC_LABELS | {"unifrac": "placement"} if placed else UNIFRAC_LABELS
    agreement = [[title, f"{figures[f'unifrac_{name}']:.4f}"] for name, title in AGREEMENT.items()]
    tables = [
        unifrac_table(figures, ("unifrac", "baseline_jaccard", "baseline_upgma"), labels),
        table_text(agreement),
    ]
    rescaled = figures["unifrac_r2_calibrated"] - figures["unifrac_r2"] > OTHER_SCALE
    if rescaled and figures["unifrac_pearson"] >= AGREES:
        tables = [OTHER_SCALE_NOTE.format(figures["unifrac_pearson"], figures["unifrac_mantel"]), *reversed(tables)]
    head = f"{figures['pairs']:,} pairs of {figures['scored_samples']:,} samples"
    note = textwrap.fill(figures["calibration"], 100, initial_indent="  ", subsequent_indent="  ")
    return "\n\n".join([head, *tables, f"{note}\n"])
