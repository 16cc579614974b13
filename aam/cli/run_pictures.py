"""What shows a run that has ended: its pictures, which `aam report` draws again, and its page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aam.atomic import whole_file
from aam.checkpoint import fold_folders
from aam.cli.report import CURVES, PREDICTIONS, REPORT, UNIFRAC, write_report
from aam.cli.terminal import optional_output
from aam.cli.train_report import out_of_fold
from aam.config import NUMERIC_TASKS, FinetuneConfig
from aam.inference.heldout import Embedded, HeldOut
from aam.io.output import shell_path, through_memory
from aam.training.manifest import read_config, read_part
from aam.training.sinks import read_log

if TYPE_CHECKING:
    from aam.cli.report_samples import ReportSamples

Pictures = dict[str, Callable[[BytesIO], None]]
"""File name -> what draws it as PNG."""


def remove_shown(run: Path) -> None:
    """Remove the pictures and the report of an earlier end of a run, which has gone on since."""
    for name in (CURVES, UNIFRAC, PREDICTIONS, REPORT):
        with suppress(OSError):
            (run / name).unlink()


def draw_pictures(run: Path, pictures: Pictures, remedy: str = "") -> None:
    """Write pictures into the folder of a run; one that fails costs a line on stderr with the `remedy`."""
    for name, draw in pictures.items():
        with optional_output(name, remedy), whole_file(run / name) as new, through_memory(new) as memory:
            draw(memory)


def show_run(run: Path, pictures: Pictures, samples: Callable[[], ReportSamples]) -> None:
    """Draw the pictures of a run that has just ended and write its report about these samples.

    What fails costs a line on stderr.
    """
    remedy = f"`aam report {shell_path(run)}` makes it again"
    draw_pictures(run, pictures, remedy)
    with optional_output(REPORT, remedy):
        write_report(run, samples(), remedy)


def log_pictures(run: Path) -> Pictures:
    """Curves, which need neither data nor model."""
    return {CURVES: partial(draw_curves, run)}


def pretraining_pictures(run: Path, held_out: HeldOut, embedded: Embedded, metrics: Mapping[str, Any]) -> Pictures:
    """Curves, and predicted against true UniFrac with the baselines of `metrics`."""
    return log_pictures(run) | {UNIFRAC: partial(draw_unifrac, held_out, embedded, metrics)}


def finetuning_pictures(run: Path) -> Pictures:
    """Curves of each fold, and the predictions of samples that the model never saw."""
    return log_pictures(run) | {PREDICTIONS: partial(draw_predictions, run)}


def draw_curves(run: Path, file: BytesIO) -> None:
    """Losses over the steps of a run or of its folds."""
    from aam.report.curves import plot_curves

    plot_curves([read_log(folder) for folder in fold_folders(run) or [run]], file)


def draw_unifrac(held_out: HeldOut, embedded: Embedded, metrics: Mapping[str, Any], file: BytesIO) -> None:
    """Predicted against true UniFrac of the held-out samples."""
    from aam.report.figures import plot_unifrac

    plot_unifrac(embedded.best.cpu().numpy(), held_out.true, metrics, file)


def draw_predictions(run: Path, file: BytesIO) -> None:
    """Out-of-fold predictions against the truth."""
    from aam.report.target_figures import plot_classes, plot_numbers

    config = read_config(FinetuneConfig, run)
    table, names = out_of_fold(run, config), config.target.target
    if config.target.task in NUMERIC_TASKS:
        plot_numbers(table, names, file)
    else:
        plot_classes(table, names[0], read_part(run, "classes"), file)
