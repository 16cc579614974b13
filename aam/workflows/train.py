"""A fine-tuning: build, train and predict fold by fold; then metrics, calibration, pictures and report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aam.checkpoint import FOLD, Finetuned, config_of_encoder, find_members, open_as, open_encoder
from aam.config import FinetuneConfig, from_options, is_clades
from aam.config.learner import CLADES
from aam.corpus.batches import LabelledBatches
from aam.corpus.dataset import build_draw
from aam.corpus.label_schema import fit_schema
from aam.corpus.split import Fold
from aam.corpus.study import Study, open_study
from aam.corpus.study_checks import list_contributions
from aam.errors import ConfigError
from aam.folders import BEST, LAST
from aam.inference.known_asvs import KnownASVs, read_known, sketch_asvs, write_known
from aam.inference.predictions import decode, embed_asvs, refuse_clashes
from aam.models.devices import resolve_device
from aam.observer import Observer
from aam.report.build import remove_pictures, write_run_report
from aam.report.samples import embed_study
from aam.stopping import StopRequest
from aam.training import loop
from aam.training.finetune import Start, TargetLearner, build_target_learner, count_identities
from aam.training.manifest import (
    Manifest,
    begun_config,
    check_output_directory,
    recorded,
    reserve_output_directory,
    with_new_budgets,
)
from aam.training.memory import keep_within_memory, limit_memory
from aam.training.objective import loss_name
from aam.training.preflight import quick_preflight
from aam.training.probes import TargetProbes
from aam.training.repair import repair_run
from aam.training.sinks import open_sinks
from aam.turns import in_turn
from aam.workflows.adapt import adapt
from aam.workflows.checks import refuse_failed
from aam.workflows.fold_results import RESULTS, FoldResult, write_results
from aam.workflows.fold_samples import fold_batches, predict_rows, score_rows
from aam.workflows.folds import HELD_OUT, inner_split, list_doubts, study_folds, whole_folds
from aam.workflows.model_names import with_folders
from aam.workflows.notes import (
    apply_switches,
    say_pretrained_share,
    say_studies,
    warn_of_other_region,
    warn_of_unlike_reads,
)
from aam.workflows.opened import say_limit, say_opened
from aam.workflows.opening import NO_ENCODER, with_encoder_size, with_findings, with_frozen_length
from aam.workflows.plan import clades_plan, finetuning_plan
from aam.workflows.precision import settle_precision
from aam.workflows.run import Run
from aam.workflows.train_clades import learns_clades, train_clades, warn_of_unused


@in_turn()
def train(options: Mapping[str, Any], observer: Observer) -> Run:
    """Train models that predict a metadata column.

    `options` are those of `FinetuneConfig` by name, for example `{"target": ("age",)}`. The run directory then holds
    the models of the folds, metrics.json, predictions.tsv (out-of-fold), summary.txt, pictures and report.html. Raises
    the errors of `aam.workflows.pretrain.pretrain`.
    """
    config = resolve_config(options, observer)
    study = open_labelled(config, observer)
    config = with_findings(config, study)
    with reserve_output_directory(config.run.output_dir, bool(options.get("resume"))):
        folds = study_folds(config, study)
        config = with_frozen_length(config, options, folds, observer)
        say_data(config, study, folds, observer)
        if is_clades(config):
            return train_clades(config, study, folds, manifest_record(config, study, folds), observer)
        return train_folds(config, study, folds, observer)


@in_turn()
def plan(options: Mapping[str, Any], observer: Observer) -> str:
    """The plan of `train` with these options as text: samples, classes, folds, size and steps."""
    config = resolve_config(options, observer)
    study = open_labelled(config, observer)
    config = with_findings(config, study)
    folds = study_folds(config, study)
    config = with_frozen_length(config, options, folds, observer)
    if is_clades(config):
        return clades_plan(config, study, folds, list_doubts(config, study, folds))
    start = open_start(config, study, observer)
    with observer.stage("measuring one step"):
        config = settle_precision(config, partial(first_learner, config, study, folds[0], start), observer)
        trial = first_learner(config, study, folds[0], start)
        own = fold_config(config, study, folds[0], 1)
        return finetuning_plan(own, study, folds, list_doubts(config, study, folds), trial)


def resolve_config(options: Mapping[str, Any], observer: Observer) -> FinetuneConfig:
    """The configuration of these options: of the run that is resumed, or with the size of the encoder it starts from.

    Raises ConfigError if options contradict each other or the encoder, CheckpointError for a run directory in use.
    """
    asked = with_folders(options, observer)
    config = from_options(FinetuneConfig, asked)
    loss_name(config.target)
    folder, head, data = config.run.output_dir, config.head, config.data
    if not config.run.dry_run:
        check_output_directory(folder, config.run.resume)
    if config.run.resume and not config.run.dry_run:
        repair_run(folder, observer)
    if config.run.resume:
        config = with_new_budgets(begun_config(folder), asked, folder)
    elif learns_clades(config):
        warn_of_unused(asked, observer)
        return dataclasses.replace(config, learner=dataclasses.replace(config.learner, learner=CLADES))
    elif head.adapt_steps and (head.pretrained is None or not (data.tree or data.example)):
        missing = "--pretrained RUN" if head.pretrained is None else "--tree FILE"
        raise ConfigError(f"--adapt-steps goes on with pretraining, which needs an encoder and a tree; give {missing}")
    elif head.pretrained is not None:
        config = with_encoder_size(config, head.pretrained, asked, observer)
    elif head.freeze or head.freeze_asvs:
        raise ConfigError(f"--freeze keeps a pretrained encoder fixed, {NO_ENCODER}")
    return apply_switches(config, observer)


def open_labelled(config: FinetuneConfig, observer: Observer) -> Study:
    """Open the samples with labels."""
    with observer.stage("reading the data"):
        study = open_study(config.data, config.target)
        refuse_clashes(config.target, study.classes)
    return study


class FoldOrder(NamedTuple):
    """Number of the fold that is trained, from 1, of `folds`, the stop request, and the manifest of the run."""

    number: int
    folds: int
    stop: StopRequest
    manifest: Manifest


def say_data(config: FinetuneConfig, study: Study, folds: list[Fold], observer: Observer) -> None:
    """Say which samples there are, what each study contributes, what was left out, and what is doubtful."""
    observer.say(study.overlap.text())
    say_studies(config.target, study, observer)
    say_opened(study, observer, study.bases)
    if not is_clades(config):
        say_limit(study.drawn(build_draw(config.data, study.depth, config.run.seed)), observer)
    for text in list_doubts(config, study, folds):
        observer.warn(text)


def train_folds(config: FinetuneConfig, study: Study, folds: list[Fold], observer: Observer) -> Run:
    """Train and predict each fold, then write metrics, predictions, pictures and report."""
    start = open_start(config, study, observer)
    config = settle_precision(config, partial(first_learner, config, study, folds[0], start), observer)
    configs = [fold_config(config, study, fold, number) for number, fold in enumerate(folds, start=1)]
    if config.run.preflight and not config.run.resume:
        check_model(config, study, folds[0], start, observer)
    # From here on files are written: whatever there was to refuse has been refused.
    manifest = Manifest.begin(config, study.files, manifest_record(config, study, folds))
    with StopRequest() as stop:
        results, whole = [], whole_folds(config, study)  # what --label-fraction leaves out may be read all the same
        for number, (fold, own) in enumerate(zip(folds, configs, strict=True), start=1):
            seen = np.setdiff1d(whole[number - 1].train, inner_split(own, study, fold).test)
            begin = adapt(own, study, seen, start, stop, observer)
            results.append(train_fold(own, study, fold, begin, FoldOrder(number, len(folds), stop, manifest), observer))
    folder = config.run.output_dir
    with observer.stage("scoring"):
        remove_pictures(folder)
        with recorded(folder, *RESULTS):
            write_results(config, study, results)
    with observer.stage("drawing"):
        write_run_report(
            folder, lambda: embed_study(open_as(Finetuned, find_members(folder)[0]), study, folds[0]), observer
        )
    return Run(folder)


def manifest_record(config: FinetuneConfig, study: Study, folds: list[Fold]) -> dict[str, Any]:
    """Entries of the manifest besides the configuration."""
    ids, studies = study.labels.sample_ids, list_contributions(study.labels, config.target, study.names)
    return {
        "asvs": len(study.tokens),
        "rarefy_depth": study.depth,
        "overlap": dataclasses.asdict(study.overlap),
        "dropped": {reason: len(gone) for reason, gone in study.dropped.items()},
        "classes": list(study.classes),
        "studies": [found.record() for found in studies],
        "sample_ids": ids,
        "folds": {fold.name: [ids[row] for row in fold.test] for fold in folds},
    }


def open_start(config: FinetuneConfig, study: Study, observer: Observer) -> Start:
    """The pretrained encoder and, if it is frozen, the precomputed embeddings of all ASVs of the table."""
    if config.head.pretrained is None:
        return Start(None, None)
    encoder, _ = open_encoder(config.head.pretrained)
    warn_of_other_region(encoder.asv_encoder, study.table.sequences, observer)
    warn_of_unlike_reads(config_of_encoder(config.head.pretrained), study, observer)
    say_pretrained_share(find_members(config.head.pretrained)[0], study.tokens, observer)
    if not (config.head.freeze or config.head.freeze_asvs):
        return Start(encoder.state_dict(), None)
    with observer.stage(f"embedding {len(study.tokens):,} ASVs"):
        return Start(
            encoder.state_dict(), embed_asvs(encoder.to(resolve_device(config.run.device)).eval(), study.tokens)
        )


def fold_config(config: FinetuneConfig, study: Study, fold: Fold, number: int) -> FinetuneConfig:
    """The configuration of one fold's model: its own folder, and scales fitted on its training samples alone."""
    folder = config.run.output_dir if fold.name == HELD_OUT else config.run.output_dir / f"{FOLD}{number}"
    schema = fit_schema(study.labels.rows(fold.train), config.target, study.classes, study.depth)
    own = count_identities(study.table.counts[fold.train], config.head.identity_prevalence)
    schema = dataclasses.replace(schema, identities=own)
    resume = config.run.resume and (folder / LAST).exists()
    run = dataclasses.replace(config.run, output_dir=folder, resume=resume)
    return dataclasses.replace(config, schema=schema, run=run)


def train_fold(
    config: FinetuneConfig, study: Study, fold: Fold, start: Start, order: FoldOrder, observer: Observer
) -> FoldResult:
    """Train one model and predict its test samples, which have no influence on it."""
    folder, device = config.run.output_dir, resolve_device(config.run.device)
    folder.mkdir(parents=True, exist_ok=True)
    observer.say(f"fold {fold.name}: {len(fold.train)} samples to train on, {len(fold.test)} to test")
    inner = inner_split(config, study, fold)
    selects = len(inner.test) > 0
    batches = fold_batches(config, study, inner)
    learner = build_target_learner(config, batches, start, device)
    watched = inner.test if selects else fold.test
    evaluate = partial(score_rows, config=config, study=study, rows=watched)
    run = loop.TrainingRun(config, learner, batches, evaluate, selects, study.table, study.dropped)
    state = run.start_or_restore()
    keep_within_memory(run, observer)
    display = observer.training_display(run.budget.share(state), order.number, order.folds)
    try:
        with open_sinks(folder, state.step, display) as run.sinks:
            loop.train(run, state, order.stop)
    finally:
        order.manifest.add_health(run.health.record(state.step), observer, fold.name)
    observer.say(f"fold {fold.name}: {'; '.join(filter(None, [run.early_end(state), run.health.line(state.step)]))}")
    best = folder / (BEST if selects else LAST)
    keep_known(best, sketch_asvs(study.tokens, study.table.counts, inner.train), config.head.pretrained)
    with observer.stage(f"predicting {fold.name}"):
        model, _ = open_as(Finetuned, best)
        raw = predict_rows(model.to(device), config, study, fold.test, config.fold.draws)
    return FoldResult(fold, decode(raw, config), folder, state.step, state.seconds)


def keep_known(checkpoint: Path, own: KnownASVs, start: Path | None) -> None:
    """Write the sketch of the training ASVs next to a model, merged with that of its pretrained encoder.

    Writes nothing if that of the encoder is unknown.
    """
    began = None if start is None else read_known(find_members(start)[0])
    if began is not None:
        own = own.merge(began)
    if began is not None or start is None:
        write_known(checkpoint, own)


def check_model(config: FinetuneConfig, study: Study, fold: Fold, start: Start, observer: Observer) -> None:
    """Preflight of the first fold, in at most a twentieth of its time; raises NonFiniteError if a check fails."""
    own = fold_config(config, study, fold, 1)
    with observer.stage("preflight"):
        learner, batches = first_learner(config, study, fold, start)
        limit_memory(learner, batches, config.run.max_memory)
        found = quick_preflight(own, learner, batches, TargetProbes(own))
    refuse_failed(found.failed, "; --no-preflight starts without the checks")
    observer.say(f"preflight: {found.tally()}")


def first_learner(
    config: FinetuneConfig, study: Study, fold: Fold, start: Start
) -> tuple[TargetLearner, LabelledBatches]:
    """A model that has not learned, and the batches of the first fold, to try out."""
    own = fold_config(config, study, fold, 1)
    batches = fold_batches(own, study, inner_split(own, study, fold))
    return build_target_learner(own, batches, start, resolve_device(config.run.device)), batches
