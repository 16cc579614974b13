"""`aam baseline`: predict a metadata column with standard methods, on the same folds as a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aam.cli.options import OUTPUT, PATH, HeadedCommand, add_options, fields_of, option_values
from aam.cli.terminal import TERMINAL
from aam.config import FoldConfig, RunConfig, StudiesConfig, TargetConfig
from aam.config.baseline import BaselineConfig
from aam.config.reference import PlacingConfig
from aam.errors import ConfigError

INPUT_OPTIONS = (
    *("table", "tree", "sequences", "corpus", "example", "metadata", "group_column", "study_column"),
    *("validation_fraction", "validation_samples", "rarefy_depth", "max_missing"),
)
TARGET_OPTIONS = ("target", "task", "where", "as_class", "class_order")
FOLD_OPTIONS = ("folds", "leave_one_group_out", "leave_one_study_out", "stratify", "label_fraction")
"""The options that matter here."""


COMMON = (
    *("table", "metadata", "target", "task", "as_class", "group_column", "study_column", "sequences", "tree"),
    *("example", "folds", "leave_one_study_out", "baseline", "reference"),
)
"""Options that `--help` lists."""


@click.command("baseline", cls=HeadedCommand, common=COMMON)
@add_options(fields_of(StudiesConfig, INPUT_OPTIONS), "Data")
@add_options(fields_of(TargetConfig, TARGET_OPTIONS), "Target")
@add_options(fields_of(PlacingConfig) | fields_of(BaselineConfig), "Methods")
@add_options(fields_of(FoldConfig, FOLD_OPTIONS) | fields_of(RunConfig, ("seed",)), "Folds")
@click.option(
    "--model", type=PATH, help="Run directory of `aam train`: use its data and folds, and compare with its predictions."
)
@click.option(
    "--against",
    multiple=True,
    type=PATH,
    help="Another run directory of `aam train` on the same folds, also compared with --model; repeat for several.",
)
@click.option("-o", "--output", type=OUTPUT, help="Directory to write to (default with --model: its run directory).")
def command(output: Path | None, model: Path | None, against: tuple[Path, ...], **values: Any) -> None:
    """Predict a metadata column with standard methods, on the folds of a run or on new folds.

    The methods: random forests on relative abundances, of all samples or of single studies; gradient boosting; ridge,
    or L1 and L2 logistic regression, on centred log-ratios; ridge within studies, on clades of a reference or on the
    presence of ASVs; nearest neighbours on unweighted UniFrac (with --tree or --reference); the median or the most
    common class. How strongly a method is regularised is chosen on training samples alone. With --model, each method
    is compared with the model on the same samples, and the difference is given with its 95 % interval. The results are
    added to the run, and its report is made again.

    \b
    Examples: aam baseline --model age-model --tree tree.nwk
              aam baseline --table table.biom --metadata samples.tsv --target age --folds 5 -o baselines
    """
    asked = option_values(values)
    folder = output or model
    if folder is None:
        raise ConfigError("nowhere to write; give -o FOLDER, or --model RUN to write there")
    with TERMINAL.stage("starting"):
        from aam.io.output import check_output_files
        from aam.workflows.baseline import baseline, resolve_runs
        from aam.workflows.stored_baselines import FILES, add_to_run, write_baselines

    config, runs = resolve_runs(model, against, asked)
    folder = output or runs.model or folder
    check_output_files(folder, FILES if output is not None else ())
    found = baseline(config, runs, TERMINAL)
    if output is None:
        found = add_to_run(found, folder, TERMINAL)
    else:
        write_baselines(found, folder)
    click.echo(found.text())
    click.echo(f"  metrics      {folder / FILES[0]}")
