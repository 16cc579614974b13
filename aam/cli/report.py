"""`aam report`: one HTML file about a run, to show to others."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from aam.errors import CheckpointError, ConfigError, InputError, MetadataError

if TYPE_CHECKING:
    import pandas as pd

    from aam.evaluation.heldout import HeldOut
    from aam.evaluation.report import Figure, RunRecord
    from aam.models.pretrain_model import PretrainModel

REPORT = "report.html"
PICTURES = {"unifrac.png": "Predicted against true UniFrac", "curves.png": "Training curves"}
"""Pictures in the order of the page; others of the folder follow under their own names."""
MOST_CLASSES = 20
"""A text column with more values than this colours nothing by default."""


@click.command("report")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--metadata", type=click.Path(path_type=Path), help="Sample metadata that colours (default: the run's).")
@click.option("--color-by", "column", help="Metadata column (default: the first that varies).")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write (default: report.html in RUN).")
def command(run: Path, metadata: Path | None, column: str | None, output: Path | None) -> None:
    """Write what a run reached as one HTML file: figures, baselines, curves, ordinations, data kept and dropped.

    Nothing is fetched when the file is opened; it can be mailed and printed. `aam pretrain` writes it at its end.

    \b
    Example: aam report aam-run --metadata metadata.tsv --color-by body_site
    """
    from aam.cli.output import check_output, new_file
    from aam.cli.progress import status

    if output is not None:
        check_output(output, [".html"])
    if not (run / "manifest.json").is_file():
        raise CheckpointError(f"{run}: no manifest.json here, expected the output directory of a run; check the path")
    with status("opening the run"):
        held_out, model, note = reopen(run)
        if held_out is not None:
            metadata = metadata or held_out.corpus.files.get("metadata")
        text = page(run, held_out, model, Colouring(metadata, column), [note] if note else [])
    if output is None:
        replace(run / REPORT, text)
    else:
        with new_file(output) as partial:
            partial.write_text(text, encoding="utf-8")
    click.echo(f"report of {run}: {output or run / REPORT}")


class Colouring(NamedTuple):
    """Which metadata colours the ordinations; None where it was not said, no `metadata` file then is none at all."""

    metadata: Path | None
    column: str | None

    def values(self) -> tuple[str, dict[str, Any]]:
        """Name of the column and its values by sample id."""
        from aam.data.metadata import column, read_metadata

        if self.metadata is None:
            if self.column is not None:
                raise ConfigError("--color-by names a metadata column, but there is no metadata; give --metadata FILE")
            return "", {}
        frame = read_metadata(self.metadata)
        name = self.column or first_varying(frame)
        return (name, column(frame, name, self.metadata).to_dict()) if name else ("", {})


def first_varying(frame: pd.DataFrame) -> str | None:
    """The first column of numbers or of few classes that are not all alike."""
    for name in frame.columns:
        kinds = frame[name].nunique()
        if kinds > 1 and (frame[name].dtype.kind in "fi" or kinds <= MOST_CLASSES):
            return str(name)
    return None


def reopen(run: Path) -> tuple[HeldOut | None, PretrainModel | None, str]:
    """The held-out samples and the model of a pretraining, or why there are none."""
    from aam.checkpoint import KIND_OF, find_members, open_model
    from aam.corpus import open_corpus
    from aam.evaluation.heldout import HeldOut
    from aam.training.run import draw_of, hiding_of

    try:
        model, config = open_model(find_members(run)[0])
        if KIND_OF[type(config)] != "pretrain":
            return None, None, "Ordinations: they are drawn of the held-out samples of a pretraining."
        corpus = open_corpus(config.data, config.model.unifrac_metric, config.model.unifrac_alpha, config.run.seed)
    except InputError as error:
        return None, None, f"Ordinations: the data or the model of the run cannot be opened ({error})."
    draw = draw_of(config.data, corpus.depth, config.run.seed)
    return HeldOut(corpus, draw, hiding_of(config.loss), config.optim.batch_size), model, ""


def write_report(run: Path, held_out: HeldOut) -> None:
    """Write report.html of a pretraining whose held-out samples are at hand."""
    from aam.checkpoint import BEST, open_model

    model, config = open_model(run / BEST)
    colouring = Colouring(held_out.corpus.files.get("metadata"), config.data.group_column)
    try:
        text = page(run, held_out, model, colouring, [])
    except MetadataError as error:  # the run is done: unusable colours must not spoil it
        text = page(run, held_out, model, Colouring(None, None), [f"Colours: {error}"])
    replace(run / REPORT, text)


def page(
    run: Path, held_out: HeldOut | None, model: PretrainModel | None, colouring: Colouring, notes: list[str]
) -> str:
    """The HTML of a run."""
    from aam.evaluation.report import report_html

    figures = pictures(run)
    if held_out is not None and model is not None:
        figures.insert(1, ordinations(held_out, model, colouring))
    return report_html(record(run, figures, notes))


def record(run: Path, figures: list[Figure], notes: list[str]) -> RunRecord:
    """What the files of the run directory say."""
    from aam.evaluation.report import RunRecord
    from aam.health.ledger import FILE_NAME, Ledger

    found = {name: read_json(run / f"{name}.json") for name in ("manifest", "metrics")}
    accounts: list[tuple[str, str, int, int]] = []
    losses: dict[str, list[str]] = {}
    if (run / FILE_NAME).is_file():
        ledger = Ledger.read(run / FILE_NAME)
        accounts = [(row.stage, row.item, row.entered, row.quarantined) for row in ledger.accounts()]
        for loss in ledger.losses:
            losses.setdefault(f"{loss.stage}: {loss.reason}", []).append(loss.id)
    name = run.resolve().name
    return RunRecord(name, found["manifest"], found["metrics"], figures, accounts, losses, notes)


def read_json(path: Path) -> dict[str, Any]:
    """A file of the run, nothing where it is not there; raises CheckpointError for one that is damaged."""
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not readable ({error}); the report needs it whole") from error


def pictures(run: Path) -> list[Figure]:
    """The figures that the run has drawn."""
    from aam.evaluation.report import Figure

    others = sorted(path.name for path in run.glob("*.png") if path.name not in PICTURES)
    names = [name for name in [*PICTURES, *others] if (run / name).is_file()]
    return [Figure(PICTURES.get(name, name), (run / name).read_bytes()) for name in names]


def ordinations(held_out: HeldOut, model: PretrainModel, colouring: Colouring) -> Figure:
    """PCoA of the held-out samples by true UniFrac, by predicted UniFrac and by their embeddings."""
    import numpy as np
    from scipy.spatial.distance import pdist, squareform

    from aam.evaluation.embed import as_distances
    from aam.evaluation.pcoa import pcoa
    from aam.evaluation.plots import plot_pcoa
    from aam.evaluation.report import Figure

    encoding, rows = held_out.encoding(model), held_out.comparable()
    ids, pairs = [held_out.samples[row].sample_id for row in rows], np.ix_(rows, rows)
    matrices = {
        "True UniFrac": held_out.true[pairs],
        "Predicted UniFrac": as_distances(encoding.best_unifrac())[pairs],
        "Sample embeddings": squareform(pdist(encoding.embeddings().double().cpu().numpy()[rows])),
    }
    name, values = colouring.values()
    shown = {sample: value for sample, value in values.items() if sample in set(ids)}
    target = io.BytesIO()
    plot_pcoa({title: pcoa(matrix, ids) for title, matrix in matrices.items()}, shown, name, target)
    caption = f"Principal coordinates of {len(ids):,} held-out samples" + (f", coloured by {name}." if name else ".")
    return Figure("Ordination of the held-out samples", target.getvalue(), caption)


def replace(path: Path, text: str) -> None:
    """Write a file whole, in the place of an older one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
