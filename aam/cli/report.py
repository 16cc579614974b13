"""`aam report`: one HTML file about a run, to show to others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from aam import atomic
from aam.cli.options import PATH
from aam.errors import CheckpointError

Attempt = Callable[[str], AbstractContextManager[None]]
"""Where a part of the page is made that it can do without, by what it is."""

if TYPE_CHECKING:
    from aam.cli.report_samples import ReportSamples
    from aam.report.page import Part, RunRecord

REPORT = "report.html"
CURVES, UNIFRAC, PREDICTIONS = "curves.png", "unifrac.png", "predictions.png"
"""Pictures of a run that have their place in its report, as has that of `aam explain`; others follow the curves."""
METRICS, SUMMARY = "metrics.json", "summary.txt"
"""What both kinds of runs leave in their folder."""
BASELINES = "baselines.json"
"""What `aam baseline` leaves there."""


class ReportOptions(NamedTuple):
    """What a report is given beside the run; None stands for what the run itself has, if anything."""

    metadata: Path | None = None
    color_by: str | None = None
    baseline: Path | None = None
    explain: Path | None = None


@click.command("report")
@click.argument("run", type=PATH)
@click.option("--metadata", type=PATH, help="Sample metadata for colours and audit (default: the run's).")
@click.option(
    "--color-by",
    "color_by",
    help="Metadata column that colours the samples (default: the target, else the first column that varies).",
)
@click.option("--baseline", type=PATH, help="baselines.json of `aam baseline` (default: baselines.json in RUN).")
@click.option("--explain", type=PATH, help="Table that `aam explain` wrote (default: drivers.tsv in RUN).")
@click.option("-o", "--output", type=PATH, help="File to write (default: report.html in RUN).")
def command(run: Path, output: Path | None, **given: Any) -> None:
    """Write the results of a run of `aam pretrain` or `aam train` as one HTML file, to show to others.

    The file shows metrics with intervals next to the baselines, predictions, curves, ordinations, an audit of what
    the embeddings reveal about subject, study and batch, samples and ASVs kept and lost, and the ledger. It needs
    no network and can be mailed and printed. Both commands write it when they finish. Without --output, the figures
    of the run are also drawn again.

    \b
    Examples: aam report aam-run --metadata metadata.tsv --color-by body_site
              aam report age-model --explain drivers.tsv -o for-my-colleagues.html
    """
    from aam.cli.terminal import status
    from aam.io.output import check_output, new_file

    if output is not None:
        check_output(output, [".html"])
    with status("opening the run"):
        from aam.cli.report_samples import reopen
        from aam.cli.run_pictures import draw_pictures
        from aam.training.manifest import run_of

        run = run_of(run)
        opened = reopen(run)
        if output is None:
            draw_pictures(run, opened.pictures)
        text = page(run, opened.shown, ReportOptions(**given), opened.notes)
    for note in opened.notes:
        click.echo(f"Warning: {note}", err=True)
    if output is None:
        atomic.write_text(run / REPORT, text)
    else:
        with new_file(output) as partial:
            partial.write_text(text, encoding="utf-8")
    click.echo(f"report of {run}: {output or run / REPORT}")


def write_report(run: Path, shown: ReportSamples, remedy: str) -> None:
    """Write report.html of a run that is done and whose samples are at hand; `remedy` as of `page`."""
    atomic.write_text(run / REPORT, page(run, shown, ReportOptions(), [], remedy))


def page(run: Path, shown: ReportSamples | None, given: ReportOptions, notes: Sequence[str], remedy: str = "") -> str:
    """The HTML of a run; `notes` tell what is not shown.

    What fails of the parts that show samples is left out, with a note and a line on stderr that ends with the `remedy`.
    """
    from aam.cli.report_files import driver_parts
    from aam.cli.report_samples import sample_parts
    from aam.cli.terminal import optional_output
    from aam.report.page import report_html

    reasons: list[str] = []

    def attempt(what: str) -> AbstractContextManager[None]:
        return optional_output(f"{what} of {REPORT}", remedy, reasons)

    found = record(run)
    parts = leading_parts(run, found, given) + driver_parts(run, given)
    if shown is not None:
        parts += sample_parts(shown, given, attempt)
    drawn = (CURVES, UNIFRAC, PREDICTIONS, "drivers.png")
    others = sorted(path.name for path in run.glob("*.png") if path.name not in drawn)
    parts += pictures(run, {CURVES: "Training curves"} | {name: name for name in others})
    return report_html(dataclasses.replace(found, parts=parts, notes=[*notes, *reasons]))


def leading_parts(run: Path, found: RunRecord, given: ReportOptions) -> list[Part]:
    """What a run was made for: its figures beside the baselines."""
    from aam.cli.report_targets import target_parts
    from aam.report.parts import nucleotide_part, unifrac_part

    if "target" in found.manifest.get("config", {}):
        return target_parts(run, found, given)
    unifrac = pictures(run, {UNIFRAC: "Predicted against true UniFrac"})
    return [unifrac_part(found.metrics), nucleotide_part(found.metrics), *unifrac]


def record(run: Path) -> RunRecord:
    """What the files of the run directory say."""
    from aam.checkpoint import fold_folders
    from aam.health.ledger import FILE_NAME, Ledger
    from aam.report.page import RunRecord

    accounts: list[tuple[str, str, int, int]] = []
    losses: dict[str, list[str]] = {}
    for folder in fold_folders(run) or [run]:
        if not (folder / FILE_NAME).is_file():
            continue
        ledger, name = Ledger.read(folder / FILE_NAME), "" if folder == run else f"{folder.name}, "
        for row in ledger.accounts():
            account = (row.stage, row.item, row.entered, row.quarantined)
            if account not in accounts:  # all folds begin with the same table
                accounts.append((account[0] if row.stage == "table" else name + row.stage, *account[1:]))
        for loss in ledger.losses:
            ids = losses.setdefault(f"{'' if loss.stage == 'table' else name}{loss.stage}: {loss.reason}", [])
            ids += [] if loss.id in ids else [loss.id]
    found = {name: read_json(run / f"{name}.json") for name in ("manifest", "metrics")}
    return RunRecord(run.resolve().name, found["manifest"], found["metrics"], (), accounts, losses)


def read_json(path: Path) -> dict[str, Any]:
    """A file of the run, nothing where it is not there; raises CheckpointError for one that is damaged."""
    if not path.is_file():
        return {}
    try:
        found = atomic.read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not readable ({error}); the report needs it whole") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: found a {type(found).__name__}, expected names with values; restore the file")
    return found


def pictures(run: Path, titles: dict[str, str]) -> list[Part]:
    """Those of the pictures, title by file name, that the run has drawn."""
    from aam.report.page import picture

    return [picture(title, (run / name).read_bytes()) for name, title in titles.items() if (run / name).is_file()]
