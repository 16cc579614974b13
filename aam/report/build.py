"""Draws the pictures of a run and writes its report, from its files and from the embeddings of its samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from aam.atomic import replace_file, write_text
from aam.checkpoint import Finetuned, Pretrained, find_members, fold_folders, open_as
from aam.config import NUMERIC_TASKS
from aam.corpus.pretraining import open_corpus
from aam.corpus.study import open_study
from aam.errors import InputError
from aam.evaluation.tip_distances import error_rows
from aam.inference.heldout import Embedded, HeldOut
from aam.io.ids import FEATURE_ID
from aam.io.output import check_output, new_file, shell_path, write_through_memory
from aam.io.taxonomy import read_taxonomy
from aam.learners.transfer import read_studies
from aam.observer import Observer
from aam.placement.taxonomy import find_lineages
from aam.report import captions, parts
from aam.report.clade_samples import reopen_clades
from aam.report.finding import run_finding
from aam.report.interval_part import interval_part
from aam.report.page import Part, picture_part, report_html
from aam.report.record import (
    CURVES_FILE,
    DRIVERS_FILE,
    PREDICTIONS_FILE,
    REPORT_FILE,
    UNIFRAC_FILE,
    ReportOptions,
    RunRecord,
    read_baselines,
    read_drivers,
    read_mapping,
)
from aam.report.samples import ReportSamples, embed_held_out, embed_study, sample_parts
from aam.report.study_table import study_part
from aam.report.transfer_part import transfer_part
from aam.training.manifest import recorded_folds
from aam.training.sinks import read_log

Pictures = dict[str, Callable[[BytesIO], None]]
"""File name -> function that draws it as PNG."""


def report_run(run: Path, options: ReportOptions, output: Path | None, observer: Observer) -> Path:
    """Write the report of a finished run, given by its output directory; returns the file.

    Without `output` it is report.html of the run, whose pictures are drawn again too.
    Raises ConfigError or CheckpointError for unusable options and files before it writes anything.
    """
    if output is not None:
        check_output(output, [".html"])
    record = RunRecord.read(run)
    samples, pictures, notes = None, Pictures(), list[str]()
    try:
        samples, pictures = reopen(record, notes)
    except InputError as error:
        notes = [f"ordinations, audit and UniFrac: the data or the model of the run cannot be opened ({error})"]
    notes += record.doubts()
    if output is None:
        draw_pictures(record, pictures, observer)
    page = build_page(record, samples, options, observer, notes)
    for note in notes:
        observer.warn(note)
    if output is None:
        write_text(record.folder / REPORT_FILE, page)
        return record.folder / REPORT_FILE
    with new_file(output) as partial_file:
        partial_file.write_text(page, encoding="utf-8")
    return output


def write_run_report(
    run: Path, open_samples: Callable[[], ReportSamples], observer: Observer, pictures: Pictures | None = None
) -> None:
    """Draw the curves, predictions and further `pictures` of a run that has just ended, and write its report.

    If one of them fails, a warning names it and the command to make it again.
    """
    remedy = f"`aam report {shell_path(run)}` makes it again"
    with observer.optional(REPORT_FILE, remedy):
        record = RunRecord.read(run)
        draw_pictures(record, pictures or {}, observer, remedy)
        write_text(run / REPORT_FILE, build_page(record, open_samples(), ReportOptions(), observer, remedy=remedy))


def remove_pictures(run: Path) -> None:
    """Remove the pictures and report of a run that was finished earlier and now continues."""
    for name in (CURVES_FILE, UNIFRAC_FILE, PREDICTIONS_FILE, REPORT_FILE):
        with suppress(OSError):
            (run / name).unlink()


def reopen(run: RunRecord, notes: list[str]) -> tuple[ReportSamples, Pictures]:
    """Open the data and the model of a finished run again, for samples and the pictures that need them.

    Raises an InputError if they are missing or have changed; `notes` gets what is missing of a run on clades.
    """
    if run.on_clades:
        return reopen_clades(run, notes), {}
    checkpoint = find_members(run.folder)[0]
    if run.finetuned:
        finetuned = open_as(Finetuned, checkpoint)
        study = open_study(finetuned.config.data, finetuned.config.target)
        return embed_study(finetuned, study, recorded_folds(run.folder, study)[0]), {}
    pretrained = open_as(Pretrained, checkpoint)
    held_out = HeldOut.of(pretrained.config, open_corpus(pretrained.config))
    embedded = held_out.predict(pretrained.model)
    return embed_held_out(pretrained, held_out, embedded), unifrac_picture(held_out, embedded, run.metrics)


def draw_pictures(run: RunRecord, further: Pictures, observer: Observer, remedy: str = "") -> None:
    """Write the curves of a run, predictions of a fine-tuning and further pictures into its directory.

    A picture that fails is named in a warning that ends with the `remedy`.
    """
    pictures: Pictures = {} if run.on_clades else {CURVES_FILE: partial(draw_curves, run.folder)}
    if run.finetuned:
        pictures[PREDICTIONS_FILE] = partial(draw_predictions, run)
    for name, draw in (pictures | further).items():
        with (
            observer.optional(name, remedy),
            replace_file(run.folder / name) as new,
            write_through_memory(new) as memory,
        ):
            draw(memory)


def draw_curves(run: Path, file: BytesIO) -> None:
    """Draw the losses over the steps of a run or of its folds."""
    from aam.report.curves import plot_curves

    plot_curves([read_log(folder) for folder in fold_folders(run) or [run]], file)


def draw_predictions(run: RunRecord, file: BytesIO) -> None:
    """Draw out-of-fold predictions against true values."""
    from aam.report.target_figures import plot_classes, plot_numbers

    names = run.config.target.target
    if run.config.target.task in NUMERIC_TASKS:
        plot_numbers(run.predictions, names, file)
    else:
        plot_classes(run.predictions, names[0], run.manifest["classes"], file)


def unifrac_picture(held_out: HeldOut, embedded: Embedded, metrics: Mapping[str, Any]) -> Pictures:
    """The picture of predicted against true UniFrac of the held-out samples, with the baselines of `metrics`."""

    def draw(file: BytesIO) -> None:
        from aam.report.figures import plot_unifrac

        plot_unifrac(embedded.best.cpu().numpy(), held_out.true, metrics, file)

    return {UNIFRAC_FILE: draw}


def build_page(
    run: RunRecord,
    samples: ReportSamples | None,
    options: ReportOptions,
    observer: Observer,
    notes: Sequence[str] = (),
    remedy: str = "",
) -> str:
    """The HTML page of a run; `notes` list what is not shown.

    A part about samples that fails is left out, with a note and a warning that ends with the `remedy`.
    """
    reasons: list[str] = []

    def attempt(what: str) -> AbstractContextManager[None]:
        return observer.optional(f"{what} of {REPORT_FILE}", remedy, reasons)

    found = target_parts(run, options) if run.finetuned else pretraining_parts(run)
    found += driver_parts(run, options)
    if samples is not None:
        found += sample_parts(samples, options, attempt)
    drawn = (CURVES_FILE, UNIFRAC_FILE, PREDICTIONS_FILE, Path(DRIVERS_FILE).with_suffix(".png").name)
    others = sorted(path.name for path in run.folder.glob("*.png") if path.name not in drawn)
    found += pictures_of(run.folder, {CURVES_FILE: "Training curves"} | {name: name for name in others})
    baselines = read_baselines(run.folder, options.baseline) if run.finetuned else {}
    return report_html(run, found, [*notes, *reasons], run_finding(run, baselines))


def pretraining_parts(run: RunRecord) -> list[Part]:
    """Parts with UniFrac and masked nucleotides, next to the baselines."""
    shown = pictures_of(run.folder, {UNIFRAC_FILE: "Predicted against true UniFrac"})
    tips = [parts.reference_part(run.metrics)] if error_rows(run.metrics) else []
    return [parts.unifrac_part(run.metrics), parts.nucleotide_part(run.metrics), *tips, *shown]


def target_parts(run: RunRecord, options: ReportOptions) -> list[Part]:
    """Metrics of the targets, predictions, baselines if there are any, and folds."""
    baselines = read_baselines(run.folder, options.baseline)
    shown = captions.NUMBERS if run.config.target.task in NUMERIC_TASKS else captions.CLASSES
    return [
        parts.target_part(run.metrics, run.config.target.target),
        *pictures_of(run.folder, {PREDICTIONS_FILE: "Predictions of held-out samples"}, shown),
        *([parts.baseline_part(baselines, len(run.contributions) > 1)] if baselines else []),
        interval_part(run.predictions, run.config.target.target, run.config.fold.coverage),
        study_part(run.contributions, run.metrics),
        transfer_part(read_studies(find_members(run.folder)[0]) if run.on_clades else None),
        parts.fold_part(run.fold_rows()),
    ]


def driver_parts(run: RunRecord, options: ReportOptions) -> list[Part]:
    """The leading ASVs and their picture from a given result of `aam explain` or from that in the run, if any."""
    path = options.explain or run.folder / DRIVERS_FILE
    if options.explain is None and not path.is_file():
        if options.taxonomy is not None:
            raise InputError(
                f"--taxonomy names the ASVs of the table of `aam explain`, but there is no {path}; give --explain FILE"
            )
        return []
    about, frame = read_mapping(path.with_suffix(".json")), read_drivers(path)
    caption = captions.CLADE_DRIVERS if parts.TIPS in frame else captions.DRIVERS
    shown = pictures_of(path.parent, {path.with_suffix(".png").name: "What the leading ones do"}, caption)
    if options.taxonomy is not None:
        ids = frame[FEATURE_ID].tolist()
        frame[parts.TAXON] = find_lineages(ids, read_taxonomy(options.taxonomy), str(options.taxonomy))
    return [parts.driver_part(frame, about), *shown]


def pictures_of(folder: Path, titles: Mapping[str, str], caption: str = "") -> list[Part]:
    """Those of the pictures, title by file name, that lie in a folder; their caption is their own or the given one."""
    return [
        picture_part(title, (folder / name).read_bytes(), captions.CAPTIONS.get(name, caption))
        for name, title in titles.items()
        if (folder / name).is_file()
    ]
