"""The sequence of a fine-tuning: fold by fold build, train and predict; then figures and where all of it is."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import torch
from numpy.typing import NDArray

from aam.checkpoint import BEST, FOLD, LAST, Finetuned, find_members, open_as, open_encoder
from aam.cli.advice import tell_precision
from aam.cli.data_notes import tell_dropped, tell_misfit
from aam.cli.preflight import refuse
from aam.cli.report_samples import of_study
from aam.cli.run_pictures import finetuning_pictures, remove_shown, show_run
from aam.cli.study_folds import HELD_OUT, inner_split, study_folds, warnings, whole_folds
from aam.cli.terminal import TERMINAL, status
from aam.cli.train_adapt import adapt
from aam.cli.train_report import FoldResult, report, truth
from aam.config import FinetuneConfig
from aam.corpus.batches import LabelledBatches
from aam.corpus.dataset import ASVDataset, draw_of
from aam.corpus.label_schema import encode, fit_schema
from aam.corpus.split import Fold
from aam.corpus.study import Study
from aam.inference.known_asvs import KnownASVs, read_known, sketch, write_known
from aam.inference.predictions import average, decode, embed_asvs, point_figures, predict_draws
from aam.models.devices import resolve_device
from aam.models.finetune_model import FinetuneModel
from aam.text import counted
from aam.training.finetune import Start, TargetLearner, build_target_learner, count_identities
from aam.training.loop import Run, train
from aam.training.manifest import add_health, write_record
from aam.training.preflight import quick_preflight
from aam.training.probes import TargetProbes
from aam.training.sinks import open_sinks
from aam.training.state import Budget, StopRequest


class Order(NamedTuple):
    """Which of the folds is trained, counted from 1, and who may stop it."""

    number: int
    folds: int
    stop: StopRequest


def train_and_report(config: FinetuneConfig, study: Study) -> None:
    """Train each fold; what was reached stands in metrics.json, predictions.tsv, report.html and on the terminal."""
    folds = study_folds(config, study)
    configs = [fold_config(config, study, fold, number) for number, fold in enumerate(folds, start=1)]
    tell(config, study, folds)
    start = open_start(config, study)
    if config.run.preflight and not config.run.resume:
        check_before(configs[0], study, folds[0], start)
    tell_precision(config.optim.precision, resolve_device(config.run.device))
    # From here on files are written: whatever there was to refuse has been refused.
    write_record(config, study.files, record(study, folds))
    with StopRequest() as stop:
        results, whole = [], whole_folds(config, study)  # what --label-fraction leaves out may be read all the same
        for number, (fold, own) in enumerate(zip(folds, configs, strict=True), start=1):
            seen = np.setdiff1d(whole[number - 1].train, inner_split(own, study, fold).test)
            begin = adapt(own, study, seen, start, stop)
            results.append(train_fold(own, study, fold, begin, Order(number, len(folds), stop)))
    folder = config.run.output_dir
    with status("scoring"):
        remove_shown(folder)
        text = report(config, study, results)
    with status("drawing"):
        show_run(
            folder,
            finetuning_pictures(folder),
            lambda: of_study(open_as(Finetuned, find_members(folder)[0]), study, folds[0]),
        )
    click.echo(text)


def tell(config: FinetuneConfig, study: Study, folds: list[Fold]) -> None:
    """How metadata and table meet, what is left out, and reasons to doubt, on stderr."""
    click.echo(study.overlap.text(), err=True)
    tell_dropped(study.dropped)
    for text in warnings(config, study, folds):
        click.echo(f"Warning: {text}", err=True)


def record(study: Study, folds: list[Fold]) -> dict[str, Any]:
    """What the manifest says beside the configuration."""
    ids = study.labels.sample_ids
    return {
        "asvs": len(study.tokens),
        "rarefy_depth": study.depth,
        "overlap": dataclasses.asdict(study.overlap),
        "dropped": {reason: len(gone) for reason, gone in study.dropped.items()},
        "classes": list(study.classes),
        "sample_ids": ids,
        "folds": {fold.name: [ids[row] for row in fold.test] for fold in folds},
    }


def open_start(config: FinetuneConfig, study: Study) -> Start:
    """The pretrained encoder, and, where it stays fixed, the embeddings of all ASVs of the table, each made once."""
    if config.head.pretrained is None:
        return Start(None, None)
    encoder, _ = open_encoder(config.head.pretrained)
    tell_misfit(encoder.asv_encoder, study.table.sequences)
    if not (config.head.freeze or config.head.freeze_asvs):
        return Start(encoder.state_dict(), None)
    with status(f"embedding {len(study.tokens)} ASVs"):
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


def train_fold(config: FinetuneConfig, study: Study, fold: Fold, start: Start, order: Order) -> FoldResult:
    """Train one model and predict the samples that it has never seen; nothing of them chose anything."""
    folder, device = config.run.output_dir, resolve_device(config.run.device)
    folder.mkdir(parents=True, exist_ok=True)
    click.echo(f"fold {fold.name}: {len(fold.train)} samples to train on, {len(fold.test)} to test", err=True)
    inner = inner_split(config, study, fold)
    selects = len(inner.test) > 0
    batches = fold_batches(config, study, inner)
    learner = build_target_learner(config, batches, start, device)
    watched = inner.test if selects else fold.test
    evaluate = partial(watch, config=config, study=study, rows=watched)
    run = Run(config, learner, batches, evaluate, selects, study.table, study.dropped)
    state = run.start_or_restore()
    try:
        with open_sinks(folder, state.step, TERMINAL.training_display(order.number, order.folds)) as run.sinks:
            train(run, state, order.stop)
    finally:
        add_health(folder if fold.name == HELD_OUT else folder.parent, run.health.record(state.step), fold.name)
    click.echo(f"fold {fold.name}: {run.health.line(state.step)}", err=True)
    best = folder / (BEST if selects else LAST)
    keep_known(best, sketch(study.tokens, study.table.counts, inner.train), config.head.pretrained)
    with status(f"predicting {fold.name}"):
        model, _ = open_as(Finetuned, best)
        raw = predict_rows(model.to(device), config, study, fold.test, config.fold.draws)
    return FoldResult(fold, decode(raw, config), folder, state.step, state.seconds)


def keep_known(checkpoint: Path, own: KnownASVs, start: Path | None) -> None:
    """Put what a model has learned from beside it, with that of the run whose encoder it began with, if with any.

    Where the latter is not known nothing is written.
    """
    began = None if start is None else read_known(find_members(start)[0])
    if began is not None:
        own = own.joined(began)
    if began is not None or start is None:
        write_known(checkpoint, own)


def fold_batches(config: FinetuneConfig, study: Study, inner: Fold) -> LabelledBatches:
    """The training batches of a fold, without what is held back to choose by."""
    labels = encode(study.labels.rows(inner.train), config.schema)
    return LabelledBatches(drawn(config, study, inner.train), config.optim.batch_size, labels)


def drawn(config: FinetuneConfig, study: Study, rows: NDArray[np.int64]) -> ASVDataset:
    """Some samples of a study, rows [n], drawn as the run draws."""
    return study.samples(rows, draw_of(config.data, study.depth, config.run.seed))


def check_before(config: FinetuneConfig, study: Study, fold: Fold, start: Start) -> None:
    """Preflight of the first fold, in a twentieth of its time at most; raises NonFiniteError where a check fails."""
    with status("preflight"):
        batches = fold_batches(config, study, inner_split(config, study, fold))
        learner = build_target_learner(config, batches, start, resolve_device(config.run.device))
        found = quick_preflight(config, learner, batches, TargetProbes(config))
    refuse(found.failed, "; --no-preflight starts without the checks")
    click.echo(f"preflight: {found.tally()}", err=True)


def predict_rows(
    model: FinetuneModel, config: FinetuneConfig, study: Study, rows: NDArray[np.int64], draws: int
) -> NDArray[np.float64]:
    """Raw outputs [R, n, O, Q] of some samples of a study."""
    labels = encode(study.labels.rows(rows), config.schema)
    return predict_draws(model, drawn(config, study, rows), labels, draws)


def watch(learner: TargetLearner, config: FinetuneConfig, study: Study, rows: NDArray[np.int64]) -> dict[str, float]:
    """Loss and main figures of some samples under the model as it is, for the log and, where asked, the choice."""
    labels = encode(study.labels.rows(rows), config.schema)
    raw = predict_draws(learner.model, drawn(config, study, rows), labels, 1)
    found = average([decode(raw, config)], config)
    batch = [torch.from_numpy(values).to(learner.device) for values in (labels.numbers, labels.known, labels.classes)]
    losses = learner.objective.score(torch.from_numpy(raw[0]).float().to(learner.device), *batch)
    return {"loss": losses.total.item()} | point_figures(found, truth(config, study).iloc[rows], config)


def plan(config: FinetuneConfig, study: Study) -> str:
    """What a run would do, as text: samples, classes, folds, size and steps."""
    folds = study_folds(config, study)
    own = fold_config(config, study, folds[0], 1)
    model = FinetuneModel(own)
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    steps = [Budget.of(config.run, max(1, len(fold.train) // config.optim.batch_size)).steps for fold in folds]
    labels = [label for label in study.labels.classes if label is not None]
    rows = [
        ("samples", study.overlap.text()),
        *(("left out", counted(len(ids), reason)) for reason, ids in study.dropped.items()),
        *(("class", f"{name}: {labels.count(name)} samples") for name in study.classes),
        *((f"fold {fold.name}", f"{len(fold.train)} to train on, {len(fold.test)} to test") for fold in folds),
        ("reads per sample", "all" if study.depth is None else f"{study.depth}, drawn anew each epoch"),
        ("parameters", f"{sum(p.numel() for p in model.parameters()):,}, {learned:,} of them learn"),
        ("steps", f"{', '.join(str(count or 'until the time is over') for count in steps)}"),
        *(("warning", text) for text in warnings(config, study, folds)),
    ]
    return "\n".join(f"{name:<18}{text}" for name, text in rows)
