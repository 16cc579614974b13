"""The files of `aam baseline`, and what later comparisons on the same run add to them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from aam.atomic import write_json
from aam.errors import CheckpointError
from aam.evaluation.metrics import MODEL
from aam.inference.predictions import TRUE
from aam.io.frames import read_frame, replace_frame
from aam.io.ids import SAMPLE_ID
from aam.observer import Observer
from aam.report.build import report_run
from aam.report.record import BASELINES_FILE, REPORT_FILE, ReportOptions, read_baselines
from aam.training.run_files import check_recorded, recorded
from aam.workflows.baseline import BaselineResult

BASELINE_PREDICTIONS = "baseline_predictions.tsv"
FILES = (BASELINES_FILE, BASELINE_PREDICTIONS)


def write_baselines(found: BaselineResult, folder: Path) -> None:
    """Write baselines.json and baseline_predictions.tsv into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with recorded(folder, *FILES):
        replace_frame(folder / BASELINE_PREDICTIONS, found.predictions)
        write_json(folder / BASELINES_FILE, found.metrics)


def add_to_run(found: BaselineResult, run: Path, observer: Observer) -> BaselineResult:
    """Write the comparison beside a run, with what earlier ones found there, and make the report of the run again.

    Returns both together.

    Predictors that are in both are the new ones. Earlier ones are left out, which is said, if the predictions of the
    model have changed since.
    """
    if all((run / name).is_file() for name in FILES):
        try:
            found = beside(found, read_earlier(run))
        except CheckpointError as error:  # what has just been computed is not lost by it
            observer.warn(f"earlier baselines are left out: {error}")
    write_baselines(found, run)
    with observer.optional(REPORT_FILE, "`aam report` makes it again"), observer.stage("drawing"):
        report_run(run, ReportOptions(), None, observer)
    return found


def read_earlier(run: Path) -> BaselineResult:
    """The comparison that is in a run; raises CheckpointError if its files have changed."""
    for name in FILES:
        check_recorded(run, name, "make these comparisons again")
    predictions = read_frame(run / BASELINE_PREDICTIONS, dtype={SAMPLE_ID: str}, na_values=[""])
    return BaselineResult(read_baselines(run, None), predictions.set_index(SAMPLE_ID), grouped=False)


def beside(found: BaselineResult, earlier: BaselineResult) -> BaselineResult:
    """A comparison and the predictors of an earlier one of the same run that it lacks.

    Raises CheckpointError if the earlier one is of other predictions of the model, which has gone on since.
    """
    if any(earlier.metrics.get(target, {}).get(MODEL) != own[MODEL] for target, own in found.metrics.items()):
        raise CheckpointError("they were compared with other predictions of this run")
    metrics = {target: earlier.metrics[target] | own for target, own in found.metrics.items()}
    lacking = [name for name in earlier.predictions if name not in found.predictions and not name.endswith(TRUE)]
    predictions = found.predictions.join(earlier.predictions[lacking])
    return dataclasses.replace(found, metrics=metrics, predictions=predictions)
