"""`aam train`: train a model that predicts a metadata column, with or without a pretrained encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aam.cli.options import HeadedCommand, config_options, option_values
from aam.cli.terminal import TERMINAL
from aam.config import FinetuneConfig, with_absolute_paths

UNIFRAC_OPTIONS = ("unifrac_matrix", "unifrac_head", "unifrac_metric", "unifrac_alpha")
"""Options that matter only where UniFrac is learned."""


COMMON = (
    *("table", "metadata", "target", "task", "where", "group_column", "sequences", "example"),
    *("pretrained", "freeze", "folds", "leave_one_study_out", "output_dir", "max_minutes", "dry_run"),
)
"""Options that `--help` lists."""


@click.command("train", cls=HeadedCommand, common=COMMON)
@config_options(FinetuneConfig, without=UNIFRAC_OPTIONS)
def command(config_file: Path | None, **values: Any) -> None:
    """Train a model that predicts a metadata column, and score it on held-out samples.

    The column holds numbers, classes, or ordered classes; --task says which. With several studies, samples are
    compared within their study (--learner clades), and --leave-one-study-out tests each study by a model of the others.

    \b
    Try it:        aam train --example --target age_months --task classification --max-steps 200
    Your own data: aam train --table table.biom --metadata samples.tsv --target age --group-column subject \\
                             --pretrained shipped --freeze --folds 5 --output-dir age-model
    Several:       aam train --table a.biom --metadata a.tsv --table b.biom --metadata b.tsv --target disease \\
                             --task classification --group-column subject --leave-one-study-out --output-dir disease
    """
    asked = with_absolute_paths(FinetuneConfig, option_values(values, config_file))
    with TERMINAL.stage("starting"):
        from aam.workflows.train import plan, train
    click.echo(plan(asked, TERMINAL) if asked.get("dry_run") else train(asked, TERMINAL).summary)
