"""Samples of a training on clades, for its report: principal components, which the run keeps in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aam.config import FinetuneConfig
from aam.corpus.studies import STUDY
from aam.corpus.study import Study, open_study
from aam.errors import CheckpointError, InputError
from aam.evaluation.baselines import choose_scored
from aam.evaluation.ordination import principal_components
from aam.io.frames import read_frame, replace_frame
from aam.io.ids import SAMPLE_ID
from aam.learners.clades import CladeTable
from aam.learners.features import choose_features
from aam.report.record import ORDINATION_FILE, RunRecord
from aam.report.samples import ReportSamples
from aam.training.run_files import check_recorded, recorded


def describe_clades(table: CladeTable, study: Study, config: FinetuneConfig) -> ReportSamples:
    """The samples of a training on clades by their principal components; they are written into the run."""
    rows = choose_scored(len(study.labels.sample_ids), config.run.seed)
    own, labels = table.rows(rows), study.labels.rows(rows)
    points = principal_components(choose_features(own).of(own))
    names = [f"pc{number}" for number in range(1, points.shape[1] + 1)]
    frame = pd.DataFrame(points, pd.Index(list(labels.sample_ids), name=SAMPLE_ID), names)
    if labels.studies is not None:
        frame.insert(0, STUDY, list(labels.studies))
    with recorded(config.run.output_dir, ORDINATION_FILE):
        replace_frame(config.run.output_dir / ORDINATION_FILE, frame)
    return with_metadata(samples_of(list(labels.sample_ids), points, labels.studies), study, config)


def reopen_clades(run: RunRecord, notes: list[str]) -> ReportSamples:
    """The samples of a finished run; `notes` gets a line if its data cannot be opened, and there is no metadata.

    Raises CheckpointError if the file of the components is missing, damaged or of another run.
    """
    check_recorded(run.folder, ORDINATION_FILE, "train again")
    found = read_ordination(run.folder / ORDINATION_FILE)
    try:
        return with_metadata(found, open_study(run.config.data, run.config.target), run.config)
    except InputError as error:
        notes.append(f"colours and audit: the data of the run cannot be opened ({error})")
        return found


def with_metadata(samples: ReportSamples, study: Study, config: FinetuneConfig) -> ReportSamples:
    """The samples with the metadata of their study, and its target as the column that colours them."""
    metadata = study.files.get("metadata")
    return replace(samples, metadata=metadata, column=config.target.target[0], frame=study.metadata, predicted=True)


def samples_of(ids: list[str], points: NDArray[np.float64], studies: Sequence[str] | None) -> ReportSamples:
    """Samples with principal components [N, C], all of which are drawn."""
    what = f"{len(ids):,} samples"
    return ReportSamples(ids, points, np.arange(len(ids)), {}, what, studies=studies, numbers="clades")


def read_ordination(path: Path) -> ReportSamples:
    """The samples of a file that `describe_clades` wrote; raises CheckpointError if it is missing or damaged."""
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist; train again")
    try:
        frame = read_frame(path, dtype={SAMPLE_ID: str, STUDY: str})
        studies = frame.pop(STUDY).tolist() if STUDY in frame else None
        return samples_of(frame.pop(SAMPLE_ID).tolist(), frame.to_numpy(np.float64), studies)
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: not readable ({error}); train again") from error
