"""`aam train --learner clades`: folds score the ensemble, then one ensemble learns from all samples and is kept."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from aam.checkpoint import BEST, Checkpoint, save_checkpoint
from aam.config import NUMERIC_TASKS, FinetuneConfig
from aam.config.learner import Learner
from aam.corpus.label_schema import encode_labels, fit_schema, scale_values, unscale_values
from aam.corpus.study import Study
from aam.errors import ConfigError
from aam.io.files import digest
from aam.learners.clades import CladeTable
from aam.learners.ensemble import Ensemble, fit_ensemble
from aam.learners.stored import to_tensors
from aam.learners.transfer import STUDIES
from aam.learners.weights import Labelled
from aam.observer import Observer
from aam.placement.store import RECORD
from aam.report.build import write_run_report
from aam.report.clade_samples import describe_clades
from aam.training.manifest import write_record
from aam.workflows.clade_inputs import PlacedSamples, open_reference_of, place_samples
from aam.workflows.fold_results import FoldResult, write_results
from aam.workflows.folds import study_folds
from aam.workflows.run import Run
from aam.workflows.transfer_card import record_studies

CLADES: Learner = "clades"
REFERENCE_DIGEST = "reference_sha256"
"""Key, in the state of a stored ensemble, of the record of the reference that its clades are of."""
TASKS = ("regression", "classification")


def learns_clades(config: FinetuneConfig) -> bool:
    """Whether these options train the ensemble on clades; raises ConfigError if they ask for what it cannot do."""
    chosen, data, target = config.learner.learner, config.data, config.target
    missing = [
        ("--task " + target.task, target.task not in TASKS),
        ("several --target", len(target.target) > 1),
        ("--covariate", bool(target.covariate)),
        ("--pretrained", config.head.pretrained is not None),
    ]
    unable = [name for name, asked in missing if asked]
    if chosen == "clades" and unable:
        raise ConfigError(
            f"--learner clades predicts one number or class from ASVs alone, found {unable[0]}; leave it out, or give "
            "--learner network"
        )
    several = len(data.table) > 1 or data.study_column is not None or data.corpus is not None
    return chosen == "clades" or (chosen == "auto" and several and not unable)


def train_clades(config: FinetuneConfig, study: Study, record: Mapping[str, Any], observer: Observer) -> Run:
    """Score the ensemble fold by fold, fit it to all samples, and write model, metrics, predictions and report.

    `record` has the entries of the manifest.
    """
    folds, folder = study_folds(config, study), config.run.output_dir
    chosen = open_reference_of(config.learner, observer)
    table, places = place_samples(study, chosen, config.learner.threads, observer)
    write_record(config, study.files, dict(record))
    results, begun = [], time.perf_counter()
    with observer.progress("learning") as progress:
        for number, fold in enumerate(folds, start=1):
            start, own = time.perf_counter(), with_schema(config, study, fold.train)
            labelled = labelled_rows(own, study, fold.train)
            fitted = fit_ensemble(table.rows(labelled.rows), labelled.labels, config.run.seed)
            found = decoded(fitted, table.rows(fold.test), own)
            results.append(FoldResult(fold, found, folder, 0, time.perf_counter() - start))
            progress(number, len(folds) + 1)
        rows = np.arange(len(study.labels.sample_ids))
        whole = with_schema(config, study, rows)
        labelled = labelled_rows(whole, study, rows)
        kept = fit_ensemble(table.rows(labelled.rows), labelled.labels, config.run.seed)
        progress(len(folds) + 1, len(folds) + 1)
    state = {"step": 0, "seconds": time.perf_counter() - begun, REFERENCE_DIGEST: digest(chosen.folder / RECORD)}
    save_checkpoint(folder / BEST, Checkpoint(whole, to_tensors(kept), {}, state))
    with observer.stage("scoring"):
        write_results(config, study, results)
    with observer.optional(STUDIES, "`aam predict` then has no transfer card; train again"):
        record_studies(config, study, PlacedSamples(table, places), kept.features.of(table), observer)
    with observer.stage("drawing"):
        write_run_report(folder, lambda: describe_clades(table, study, config), observer)
    return Run(folder)


class LabelledRows(NamedTuple):
    """Rows [n] of a study that have a label, and their labels."""

    rows: NDArray[np.int64]
    labels: Labelled


def labelled_rows(config: FinetuneConfig, study: Study, rows: NDArray[np.int64]) -> LabelledRows:
    """The labels of some samples, on the scale that is learned: numbers transformed, classes as indicators."""
    labels = study.labels.rows(rows)
    if config.target.task in NUMERIC_TASKS:
        values = scale_values(labels.numbers[:, 0], config.schema.numbers[0])[:, None]
        known = np.flatnonzero(~np.isnan(values[:, 0]))
    else:
        classes = encode_labels(labels, config.schema).classes
        values, known = np.eye(len(config.schema.classes))[np.maximum(classes, 0)], np.flatnonzero(classes >= 0)
    studies = labels.studies if labels.studies is not None else [""] * len(rows)
    subjects = labels.groups if labels.groups is not None else labels.sample_ids
    number = numbers_of(studies), numbers_of(list(zip(studies, subjects, strict=True)))
    found = Labelled(values, *number, config.target.task not in NUMERIC_TASKS)
    return LabelledRows(rows[known], found.rows(known))


def numbers_of(names: list[Any]) -> NDArray[np.int64]:
    """Numbers [n] of names, by first appearance."""
    seen: dict[Any, int] = {}
    return np.array([seen.setdefault(name, len(seen)) for name in names], np.int64)


def with_schema(config: FinetuneConfig, study: Study, rows: NDArray[np.int64]) -> FinetuneConfig:
    """The configuration with the scales and classes of these training samples."""
    return replace(config, schema=fit_schema(study.labels.rows(rows), config.target, study.classes, study.depth))


def decoded(ensemble: Ensemble, table: CladeTable, config: FinetuneConfig) -> NDArray[np.float64]:
    """What each kind of member says [R, n, 1, K], in units of the target or as log-probabilities."""
    members = np.stack(list(ensemble.members(table).values()))
    if config.target.task in NUMERIC_TASKS:
        return unscale_values(members, config.schema.numbers[0])[:, :, :, None]
    return log_softmax(members, axis=-1)[:, :, None, :]
