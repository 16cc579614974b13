"""`aam train --learner clades`: folds score the ensemble, then one ensemble learns from all samples and is kept."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.checkpoint import config_of_encoder, find_members
from aam.config import NUMERIC_TASKS, FinetuneConfig, ModelConfig, is_clades, option_fields, option_flag
from aam.config.finetune import FinetuneOptimConfig, HeadConfig
from aam.config.learner import CLADES
from aam.corpus.label_schema import encode_labels, fit_schema, scale_values
from aam.corpus.split import Fold
from aam.corpus.study import Study
from aam.errors import ConfigError, SequenceError
from aam.learners.ensemble import Ensemble, fit_ensemble
from aam.learners.transfer import STUDIES
from aam.learners.weights import Labelled
from aam.observer import Observer
from aam.placement.threads import usable_cores
from aam.report.build import write_run_report
from aam.report.clade_samples import describe_clades
from aam.stored import read_stored
from aam.text import name_few
from aam.training.manifest import Manifest, recorded
from aam.workflows.clade_inputs import PlacedSamples, place_samples
from aam.workflows.fold_results import RESULTS, FoldResult, write_results
from aam.workflows.place import Chosen, open_chosen
from aam.workflows.run import Run
from aam.workflows.stored_clades import StoredClades, open_clades, reference_digest
from aam.workflows.transfer_card import record_studies

NAMED = 5
"""Most classes that a message lists."""
TASKS = ("regression", "classification")
OF_NETWORKS = {
    *({*option_fields(HeadConfig), *option_fields(ModelConfig), *option_fields(FinetuneOptimConfig)} - {"pretrained"}),
    *("loss", "over_penalty", "under_penalty", "class_weights", "draws", "selection_fraction", "preset"),
    *("epochs", "max_steps", "max_minutes", "patience", "eval_every", "token_limit", "asv_selection"),
}
"""Options of `aam train` that this learner does not read."""


def learns_clades(config: FinetuneConfig) -> bool:
    """Whether these options train the ensemble on clades; raises ConfigError if they ask for what it cannot do."""
    chosen, data, target = config.learner.learner, config.data, config.target
    missing = [
        ("--task " + target.task, target.task not in TASKS),
        ("several --target", len(target.target) > 1),
        ("--covariate", bool(target.covariate)),
        ("--pretrained with an encoder", config.head.pretrained is not None and not begins_with_clades(config)),
    ]
    unable = [name for name, asked in missing if asked]
    if chosen == CLADES and unable:
        raise ConfigError(
            f"--learner clades predicts one number or class from ASVs alone, found {unable[0]}; leave it out, or give "
            "--learner network"
        )
    several = len(data.table) > 1 or data.study_column is not None or data.corpus is not None
    return chosen == CLADES or (chosen == "auto" and (several or begins_with_clades(config)) and not unable)


def warn_of_unused(asked: Mapping[str, Any], observer: Observer) -> None:
    """Warn of options that only a network has."""
    if unused := [option_flag(name) for name in asked if name in OF_NETWORKS]:
        verb = "has" if len(unused) == 1 else "have"
        observer.warn(f"{' and '.join(unused)} {verb} no effect: --learner clades trains no network")


def begins_with_clades(config: FinetuneConfig) -> bool:
    """Whether --pretrained names a run of this learner."""
    start = config.head.pretrained
    return start is not None and is_clades(config_of_encoder(start))


def open_prior(config: FinetuneConfig, study: Study, chosen: Chosen) -> Ensemble | None:
    """What the run of --pretrained has learned; raises ConfigError if its classes are others."""
    if config.head.pretrained is None:
        return None
    opened = open_clades(read_stored(find_members(config.head.pretrained)[0]))
    opened.check_reference(chosen.folder)
    if not study.classes:
        raise ConfigError("--pretrained with a run on clades takes classes, found numbers; leave it out")
    if not (known := opened.config.schema.classes):
        raise ConfigError(f"--pretrained {config.head.pretrained} has learned numbers, found classes; leave it out")
    if known != study.classes:
        raise ConfigError(
            f"--pretrained {config.head.pretrained} has learned the classes {name_few(known, NAMED)}, "
            f"found {name_few(study.classes, NAMED)}; name them alike with --as-class"
        )
    return opened.ensemble


def train_clades(
    config: FinetuneConfig, study: Study, folds: Sequence[Fold], record: Mapping[str, Any], observer: Observer
) -> Run:
    """Score the ensemble fold by fold, fit it to all samples, and write model, metrics, predictions and report.

    `record` has the entries of the manifest.
    """
    folder, begun = config.run.output_dir, time.perf_counter()
    for fold in folds:
        refuse_without_contrast(config, study, fold)
    chosen = open_chosen(config.learner, observer)
    prior = open_prior(config, study, chosen)
    try:
        table, places = place_samples(study, chosen, config.learner.threads, observer)
    except SequenceError as error:
        raise SequenceError(f"{error}; --learner network needs no reference") from error
    Manifest.begin(config, study.files, dict(record))

    threads = config.learner.threads or usable_cores()

    def fitted(rows: NDArray[np.int64]) -> StoredClades:
        own = with_schema(config, study, rows)
        known = labelled_rows(own, study, rows)
        ensemble = fit_ensemble(table.rows(known.rows), known.labels, config.run.seed, prior, threads)
        return StoredClades(ensemble, own, reference_digest(chosen.folder))

    results, studies = [], study.labels.study_numbers
    with observer.progress("learning") as progress:
        for number, fold in enumerate(folds, start=1):
            start = time.perf_counter()
            found = fitted(fold.train)(table.rows(fold.test), studies[fold.test])
            results.append(FoldResult(fold, found, folder, 0, time.perf_counter() - start))
            progress(number, len(folds) + 1)
        kept = fitted(np.arange(len(study.labels.sample_ids)))
        progress(len(folds) + 1, len(folds) + 1)
    kept.save(time.perf_counter() - begun)
    with observer.stage("scoring"), recorded(folder, *RESULTS):
        write_results(config, study, results)
    with observer.optional(STUDIES, "`aam predict` then has no transfer card; train again"):
        record_studies(config, study, PlacedSamples(table, places), kept.ensemble.features.of(table), observer)
    with observer.stage("drawing"):
        write_run_report(folder, lambda: describe_clades(table, study, config), observer)
    return Run(folder)


def refuse_without_contrast(config: FinetuneConfig, study: Study, fold: Fold) -> None:
    """Raise ConfigError for a fold in none of whose studies of training the target varies."""
    own = with_schema(config, study, fold.train)
    if not len(labelled_rows(own, study, fold.train).labels.contrasting()):
        kind = "numbers" if config.target.task in NUMERIC_TASKS else "classes"
        raise ConfigError(
            f"fold {fold.name}: no study to train on has samples of two {kind}, and samples are compared within their "
            "study only; add studies with both, or give --learner network"
        )


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
    found = Labelled(values, labels.study_numbers, labels.subject_numbers, config.target.task not in NUMERIC_TASKS)
    return LabelledRows(rows[known], found.rows(known))


def with_schema(config: FinetuneConfig, study: Study, rows: NDArray[np.int64]) -> FinetuneConfig:
    """The configuration with the scales and classes of these training samples."""
    return replace(config, schema=fit_schema(study.labels.rows(rows), config.target, study.classes, study.depth))
