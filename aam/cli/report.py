"""`aam report`: one HTML file about a run, to show to others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from aam.cli.options import PATH


@click.command("report")
@click.argument("run", type=PATH)
@click.option("--metadata", type=PATH, help="Sample metadata that colours and is audited (default: the run's).")
@click.option("--color-by", "color_by", help="Metadata column (default: the target, else the first that varies).")
@click.option("--baseline", type=PATH, help="baselines.json of `aam baseline` (default: that in RUN).")
@click.option("--explain", type=PATH, help="Table of `aam explain` (default: drivers.tsv in RUN).")
@click.option("-o", "--output", type=PATH, help="File to write (default: report.html in RUN).")
def command(run: Path, output: Path | None, **options: Any) -> None:
    """Write what a run of `aam pretrain` or `aam train` reached as one HTML file, to show to others.

    Figures with intervals beside the baselines, predictions, curves, ordinations, what the embeddings tell of subject,
    study and batch, data kept and dropped, the health ledger. Nothing is fetched when the file is opened; it can be
    mailed and printed. Both commands write it at their end; without --output this one also draws the run's pictures
    again.

    \b
    Examples: aam report aam-run --metadata metadata.tsv --color-by body_site
              aam report age-model --explain drivers.tsv -o for-my-colleagues.html
    """
    from aam.cli.terminal import TERMINAL

    with TERMINAL.stage("opening the run"):
        from aam.report.build import report_run
        from aam.report.record import ReportOptions
        from aam.training.manifest import run_of

        run = run_of(run)
        written = report_run(run, ReportOptions(**options), output, TERMINAL)
    click.echo(f"report of {run}: {written}")
