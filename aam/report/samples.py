"""Sample embeddings of a run, for its report: their ordination and audit."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import pdist, squareform

from aam.checkpoint import Finetuned, Pretrained
from aam.corpus.dataset import build_draw
from aam.corpus.split import Fold
from aam.corpus.studies import STUDY
from aam.corpus.study import Study
from aam.errors import ConfigError
from aam.evaluation.audit import FEW_VALUES, MOST_CLASSES, Audit, audit
from aam.evaluation.baselines import choose_scored
from aam.evaluation.ordination import pcoa
from aam.inference.asvs import encode_asvs
from aam.inference.embed import Encoding, as_distances
from aam.inference.heldout import Embedded, HeldOut
from aam.io.metadata import parse_numbers, read_text, refuse_unmatched, select_column
from aam.report.page import Part, picture_part
from aam.report.parts import audit_part
from aam.report.record import ReportOptions

AttemptContext = Callable[[str], AbstractContextManager[None]]
"""A context in which an error leaves a part out of the page, by the name of the part."""

Colouring = tuple[str, dict[str, Any]]
"""A metadata column, and its values by sample id."""
NO_COLOURS: Colouring = ("", {})


@dataclass(frozen=True)
class ReportSamples:
    """Samples `ids` [N] with their embeddings [N, D] and their `description` in words.

    The report plots the samples `rows` only, by their embeddings and by their distance matrices `distances`
    (title -> [n, n]). `metadata`, `column` and `frame`, the metadata read already, are those of the run, if it has any.
    `studies` [N] are the studies of the samples, None for one. `numbers` says what the embeddings are.
    """

    ids: list[str]
    embeddings: NDArray[np.float64]
    rows: NDArray[np.int64]
    distances: dict[str, NDArray[np.float64]]
    description: str
    metadata: Path | None = None
    column: str | None = None
    frame: pd.DataFrame | None = None
    studies: Sequence[str] | None = None
    numbers: str = "embeddings"
    predicted: bool = False
    """Whether `column` is what the run predicts: it is shown, however well other columns are told."""


def embed_held_out(trained: Pretrained, held_out: HeldOut, embedded: Embedded) -> ReportSamples:
    """The held-out samples of a pretraining; those of one tree are drawn."""
    rows = held_out.comparable()
    pairs = np.ix_(rows, rows)
    return ReportSamples(
        [sample.sample_id for sample in held_out.samples],
        embeddings_of(embedded.encoding),
        rows,
        {"True UniFrac": held_out.true[pairs], "Predicted UniFrac": as_distances(embedded.best)[pairs]},
        f"{len(held_out.samples):,} held-out samples",
        held_out.corpus.files.get("metadata"),
        trained.config.data.group_column,
    )


def embed_study(trained: Finetuned, study: Study, fold: Fold) -> ReportSamples:
    """Samples of a fine-tuning whose labels the encoder of this fold has not seen; all, if it is frozen."""
    model, config = trained
    known = np.arange(len(study.labels.sample_ids)) if config.head.freeze else fold.test
    rows = np.sort(known[choose_scored(len(known), config.run.seed)])
    samples = study.samples(rows, build_draw(config.data, study.depth, config.run.seed).without_limit)
    asvs = encode_asvs(model.encoder, study.tokens, np.unique(samples.counts.indices).astype(np.int64))
    encoding = Encoding(model.encoder, samples, asvs, config.data.token_limit)
    tree = {"UniFrac, by the frozen encoder": as_distances(encoding.best_unifrac())} if config.head.freeze else {}
    why = "the frozen encoder saw no label" if config.head.freeze else f"fold {fold.name} was tested on"
    return ReportSamples(
        list(samples.sample_ids),
        embeddings_of(encoding),
        np.arange(len(rows)),
        tree,
        f"{len(rows):,} samples ({why})",
        study.files.get("metadata"),
        config.target.target[0],
        study.metadata,
        predicted=True,
    )


def embeddings_of(encoding: Encoding) -> NDArray[np.float64]:
    """Sample embeddings [N, D]."""
    return encoding.embeddings().double().cpu().numpy()


def sample_parts(samples: ReportSamples, options: ReportOptions, attempt: AttemptContext) -> list[Part]:
    """The ordination and, with metadata, the audit; each is made in the context `attempt`.

    Raises an InputError for metadata or a column of the options that cannot be used.
    """
    metadata, known = options.metadata or samples.metadata, samples.frame if options.metadata is None else None
    if metadata is None and known is None and options.color_by is not None:
        raise ConfigError("--color-by names a metadata column, but there is no metadata; give --metadata FILE")
    parts, frame, colouring = list[Part](), None, NO_COLOURS
    if metadata is not None or known is not None:
        source = metadata or "the metadata of all studies"
        asked_for = options.metadata is not None or options.color_by is not None
        with nullcontext() if asked_for else attempt("the colours"):
            read = read_text(source) if known is None else known
            own = samples.column if options.metadata is None else None
            colouring = choose_colouring(read, options.color_by or own, source)
            refuse_unmatched(read, samples.ids, source)
            frame = read
    audited = Audit()
    if frame is not None:
        with attempt("the audit"):
            audited = audit(samples.embeddings, frame.reindex(samples.ids), seed=0)
        if options.color_by is None and not samples.predicted:
            colouring = best_predicted(audited, frame) or colouring
    with attempt("the ordination"):
        parts.append(ordination_part(samples, colouring, audited))
    if samples.studies is not None and colouring[0] != STUDY and len(set(samples.studies)) > 1:
        with attempt("the ordination by study"):
            by_study = (STUDY, dict(zip(samples.ids, samples.studies, strict=True)))
            by_study_part = ordination_part(samples, by_study, audited)
            parts.append(by_study_part._replace(title="Ordination of the samples, by study"))
    return [*parts, audit_part(audited, samples.description, samples.numbers)]


def best_predicted(audited: Audit, frame: pd.DataFrame) -> Colouring | None:
    """The column that the embeddings hold best above chance; None if there is none. Subjects are of no help to see."""
    usable = [signal for signal in audited.signals if signal.above_chance and signal.role != "subject"]
    if not usable:
        return None
    best = max(usable, key=lambda signal: signal.score - max(signal.shuffled_mean, signal.majority))
    return coloured(frame[best.column], best.column)


def choose_colouring(frame: pd.DataFrame, name: str | None, metadata: Path | str) -> Colouring:
    """Choose the column to colour by: `name`, else the first that varies; `frame` was read from `metadata`."""
    name = name or find_varying_column(frame)
    if name is None:
        return NO_COLOURS
    return coloured(select_column(frame, name, metadata), name)


def coloured(values: pd.Series, name: str) -> Colouring:
    """The values of a column by sample, as numbers if they are."""
    return name, dict(zip(values.index, parse_numbers(values) if are_numbers(values) else values, strict=True))


def are_numbers(values: pd.Series) -> bool:
    """Whether to treat texts as numbers: all are, and with many values; few values are names, e.g. of plates."""
    return values.nunique() > FEW_VALUES and not np.isnan(parse_numbers(values.dropna())).any()


def find_varying_column(frame: pd.DataFrame) -> str | None:
    """Find the first column with different numbers, or with few enough classes to colour them."""
    kinds = ((str(name), frame[name].nunique()) for name in frame.columns)
    return next((name for name, n in kinds if n > 1 and (n <= MOST_CLASSES or are_numbers(frame[name]))), None)


def ordination_part(samples: ReportSamples, colouring: Colouring, audited: Audit) -> Part:
    """PCoA of the samples by each of their distances, and by their embeddings; the caption says what colours show."""
    from aam.report.figures import plot_pcoa

    ids = [samples.ids[row] for row in samples.rows]
    between = squareform(pdist(samples.embeddings[samples.rows]))
    panels = {
        title: pcoa(matrix, ids)
        for title, matrix in {**samples.distances, f"Sample {samples.numbers}": between}.items()
    }
    (name, values), known, target = colouring, set(ids), io.BytesIO()
    plot_pcoa(panels, {sample: value for sample, value in values.items() if sample in known}, name, target)
    caption = f"Principal coordinates of {samples.description}" + (
        f", coloured by {name}." if name else "; `aam report --metadata FILE` colours them."
    )
    caption = f"{caption} Each point is a sample; similar samples lie near each other. {colour_words(name, audited)}"
    return picture_part("Ordination of the samples", target.getvalue(), caption.strip())


def colour_words(name: str, audited: Audit) -> str:
    """What the audit says of the column that colours a picture."""
    signal = next((signal for signal in audited.signals if signal.column == name), None)
    if signal is None:
        return f"If its colours lie apart, {name} is related to the composition of the samples." if name else ""
    score = f"{'balanced accuracy' if signal.classes else 'R²'} {signal.score:.2f}"
    shuffled = f"{max(signal.shuffled_max, 0.0):.2f} if its values are shuffled"
    if signal.above_chance:
        return f"Samples of like colour lie together: {name} is predicted with {score}, but with at most {shuffled}."
    return (
        f"Samples of like colour lie no closer together than by chance: {name} is predicted with {score}, and with up "
        f"to {shuffled}."
    )
