"""`aam report`: one HTML file about a run, to show to others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aam.cli.options import OUTPUT, PATH


@click.command("report")
@click.argument("run", type=PATH)
@click.option("--metadata", type=PATH, help="Sample metadata for colours and audit (default: the run's).")
@click.option(
    "--color-by",
    "color_by",
    help="Metadata column that colours the samples (default: the target, or for a "
    "pretraining the column that the audit predicts best).",
)
@click.option("--baseline", type=PATH, help="baselines.json of `aam baseline` (default: baselines.json in RUN).")
@click.option("--explain", type=PATH, help="Table that `aam explain` wrote (default: drivers.tsv in RUN).")
@click.option(
    "--taxonomy", type=PATH, help="Lineages that name the ASVs of that table: of `aam place` or QIIME 2 (.qza or .tsv)."
)
@click.option("-o", "--output", type=OUTPUT, help="File to write (default: report.html in RUN).")
def command(run: Path, output: Path | None, **options: Any) -> None:
    """Write the results of a run of `aam pretrain` or `aam train` as one HTML file, to show to others.

    The file shows metrics with intervals next to the baselines, predictions, curves, ordinations, an audit of what
    the embeddings reveal about subject, study and batch, samples and ASVs kept and lost, and the ledger. It needs
    no network and can be mailed and printed. Both commands write it when they finish. Without --output, the figures
    of the run are also drawn again.

    \b
    Examples: aam report aam-run --metadata metadata.tsv --color-by body_site
              aam report age-model --explain drivers.tsv -o for-my-colleagues.html
    """
    from aam.cli.terminal import TERMINAL

    with TERMINAL.stage("opening the run"):
        from aam.report.build import report_run
        from aam.report.record import ReportOptions
        from aam.training.manifest import find_run_folder

        run = find_run_folder(run)
        written = report_run(run, ReportOptions(**options), output, TERMINAL)
    click.echo(f"report of {run}: {written}")
