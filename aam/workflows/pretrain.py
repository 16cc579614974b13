"""A pretraining: open the data, check, train, score the best checkpoint, and write metrics, pictures and report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

from aam.atomic import write_json, write_text
from aam.checkpoint import Pretrained, open_as, open_encoder
from aam.config import PretrainConfig, RunnableConfig, from_options
from aam.corpus.batches import TrainingBatches
from aam.corpus.dataset import build_draw
from aam.corpus.pretraining import Corpus, lacks_samples, open_corpus
from aam.errors import ConfigError
from aam.evaluation.baselines import BASELINES
from aam.folders import BEST
from aam.inference.heldout import Embedded, HeldOut
from aam.inference.known_asvs import KnownASVs, sketch_asvs, write_known
from aam.inference.scales import SCALES, fit_scales, write_scales
from aam.io.output import shell_path
from aam.models.devices import lasted, refuse_uncompilable, resolve_device
from aam.observer import Observer, Sink
from aam.report.build import remove_pictures, unifrac_picture, write_run_report
from aam.report.record import METRICS_FILE, SUMMARY_FILE
from aam.report.samples import embed_held_out
from aam.report.summary import pretraining_summary
from aam.stopping import StopRequest
from aam.training import loop
from aam.training.distributed import distribute_run, refuse_unshareable_options
from aam.training.manifest import (
    MANIFEST,
    check_output_directory,
    has_begun,
    recorded,
    reserve_output_directory,
    resume_config,
    write_manifest,
)
from aam.training.memory import keep_within_memory, limit_memory, peak_memory
from aam.training.preflight import quick_preflight, without_compile
from aam.training.probes import PretrainProbes
from aam.training.repair import repair_run
from aam.training.run import PretrainLearner, Weights, build_learner, build_run, training_batches
from aam.training.sinks import open_sinks
from aam.training.state import TrainState
from aam.training.step import Learner, score
from aam.training.world import World, join_world
from aam.turns import in_turn
from aam.workflows.checks import refuse_failed
from aam.workflows.model_names import with_folders
from aam.workflows.notes import apply_switches, say_default_length, say_end, say_of_tree, warn_of_doubtful_counts
from aam.workflows.opened import say_limit, say_opened
from aam.workflows.opening import NO_ENCODER, with_encoder_size, with_findings
from aam.workflows.plan import pretraining_plan
from aam.workflows.precision import settle_precision
from aam.workflows.run import Run

SKIPPED = ("nucleotide_consensus_skipped", *(f"baseline_{name}_skipped" for name in BASELINES))
"""Metrics that say why a baseline was not computed."""


@in_turn()
def pretrain(options: Mapping[str, Any], observer: Observer) -> Run | None:
    """Pretrain with these options of `PretrainConfig` by name, for example `{"table": Path("table.biom")}`.

    The run directory then holds checkpoints, metrics.json, summary.txt, pictures and report.html. With
    several processes (`torchrun`) the first one returns the run, the others None. Raises an InputError for unusable
    input, NonFiniteError for a model that cannot learn or a numerical fault, Interrupted if a signal stopped the run.
    """
    with join_processes(options) as (options, world):
        config = resolve_config(options, observer, world)
        refuse_unshareable_options(config, world)
        corpus = open_data(config, observer, world)
        config = with_findings(config, corpus)
        if not world.first:
            train_model(config, corpus, observer, world)
            return None
        with reserve_output_directory(config.run.output_dir, bool(options.get("resume"))):
            return finish(train_model(config, corpus, observer, world), observer)


@in_turn()
def plan(options: Mapping[str, Any], observer: Observer) -> str:
    """The plan of `pretrain` with these options as text: data kept and dropped, size, steps, memory and time."""
    with join_processes(options) as (options, world):
        config = resolve_config(options, observer, world)
        refuse_unshareable_options(config, world)
        corpus = open_data(config, observer, world)
        config = with_findings(config, corpus)
        build = partial(untrained, config, corpus, read_starting_weights(config))
        config = settle_precision(config, build, observer, world)
        with observer.stage("measuring one step"):
            text = pretraining_plan(config, corpus)
        return text if world.first else ""


@contextmanager
def join_processes(options: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], World]]:
    """Join the processes of `torchrun`; yields the options of this process: its folder, --resume after a restart."""
    config = from_options(PretrainConfig, dict(options))
    with join_world(config.run.output_dir, config.ranks.rank_timeout) as world, world.folder(MANIFEST) as folder:
        restarts = {"resume": True} if world.restarted and has_begun(folder) else {}
        yield {**options, "output_dir": folder, **restarts}, world


def resolve_config(options: dict[str, Any], observer: Observer, world: World) -> PretrainConfig:
    """The configuration of these options: that of a resumed run, or one with the size of the encoder it starts from."""
    options = with_folders(options, observer)
    config = from_options(PretrainConfig, options)
    if not config.run.dry_run:
        check_output_directory(config.run.output_dir, config.run.resume)
    if config.optim.compile:
        refuse_uncompilable(resolve_device(config.run.device))
    if config.run.resume and not config.run.dry_run:
        if world.first:
            repair_run(config.run.output_dir, observer)
        world.wait()
    if config.run.resume:
        config = resume_config(options)
    elif config.start.pretrained is not None:
        config = with_encoder_size(config, config.start.pretrained, options, observer)
    elif config.start.freeze_asvs or config.start.restart_samples:
        flag = "--freeze-asvs" if config.start.freeze_asvs else "--restart-samples"
        raise ConfigError(f"{flag} keeps a pretrained ASV encoder, {NO_ENCODER}")
    if config.start.freeze_asvs and config.loss.masked_asvs:  # nothing that predicts bases learns
        config = dataclasses.replace(config, loss=dataclasses.replace(config.loss, masked_asvs=0.0))
    return apply_switches(config, observer)


def open_data(config: PretrainConfig, observer: Observer, world: World) -> Corpus:
    """The samples, ASVs and targets of the run."""
    with observer.stage("reading the data"):
        corpus = open_corpus(config)
    if world.first:
        say_data(config, corpus, observer)
    return corpus


def say_data(config: PretrainConfig, corpus: Corpus, observer: Observer) -> None:
    """Say what was opened, but for what the plan of a run has a row for."""
    if config.run.dry_run:
        say_of_tree(corpus.tree, observer)
        warn_of_doubtful_counts(corpus.table, observer)
        return
    say_opened(corpus, observer, corpus.bases)
    say_limit(corpus.drawn(build_draw(config.data, corpus.depth, config.run.seed)), observer)


class Trained(NamedTuple):
    """A finished training, with the held-out samples that score its checkpoints."""

    run: loop.TrainingRun
    state: TrainState
    held_out: HeldOut


def train_model(config: PretrainConfig, corpus: Corpus, observer: Observer, world: World) -> Trained:
    """Check the model, then train it; of several processes the first one checks and logs."""
    folder = config.run.output_dir
    held_out = HeldOut.of(config, corpus)

    def evaluate(learner: Learner) -> dict[str, float]:
        return held_out.validate(learner.model, lambda batch: score(learner, batch)[1])

    weights = read_starting_weights(config)
    config = settle_precision(config, partial(untrained, config, corpus, weights), observer, world)
    run = build_run(config, corpus, evaluate, weights=weights)
    state = run.start_or_restore()
    begun = state.step
    keep_within_memory(run, observer)
    if config.run.preflight and not config.run.resume and world.first:
        check_model(config, corpus, run.learner, observer)
    if world.first:
        say_default_length(config.run, observer)
    distribute_run(run, config, world)
    # From here on files are written: whatever there was to refuse has been refused.
    manifest = write_manifest(config, corpus, sum(p.numel() for p in run.learner.model.parameters()))
    display = observer.training_display(run.budget.share(state))
    sinks = open_sinks(folder, state.step, display) if world.first else nullcontext(list[Sink]())
    try:
        with sinks as run.sinks, StopRequest(patient=world.size > 1) as stop:
            loop.train(run, state, stop)
    finally:
        manifest.add_health(run.health.record(state.step), observer)
    if world.first:
        say_end(run.early_end(state), begun if config.run.resume else None, state.step, observer)
    return Trained(run, state, held_out)


def finish(trained: Trained, observer: Observer) -> Run:
    """Score the best checkpoint, then write baselines, scales, pictures and report; warnings name what fails."""
    run, state, held_out = trained
    config, corpus = run.config, held_out.corpus
    folder = config.run.output_dir
    with observer.stage("scoring held-out samples"):
        opened = open_as(Pretrained, folder / BEST)
        best = opened.model.to(run.learner.device)
        write_known(folder / BEST, sketch_training_asvs(corpus))
        started = time.perf_counter()
        embedded = held_out.predict(best)
        metrics = compute_metrics(run, state, held_out, embedded)
        remove_pictures(folder)
        write_metrics(config, metrics | dict.fromkeys(SKIPPED, "the run ended before that"))
    # What was learned is on the disk. From here on nothing that fails costs the run.
    again = f"`aam pretrain --resume --output-dir {shell_path(folder)}` makes it again"
    with observer.stage("scoring baselines"):
        metrics |= baseline_metrics(config, held_out, again, observer)
        metrics["seconds_scoring"] = time.perf_counter() - started
        with observer.optional(f"{METRICS_FILE} with the baselines", again):
            write_metrics(config, metrics)
        with observer.optional(f"{BEST}/{SCALES}", again):
            write_scales(folder / BEST, fit_scales(best, corpus, held_out.draw, metrics))
    with observer.stage("drawing"):
        picture = unifrac_picture(held_out, embedded, metrics)
        write_run_report(folder, partial(embed_held_out, opened, held_out, embedded), observer, picture)
    return Run(folder)


def read_starting_weights(config: PretrainConfig) -> Weights | None:
    """The weights of --pretrained; None for a fresh model and for a resumed run."""
    if config.start.pretrained is None or config.run.resume:
        return None
    return open_encoder(config.start.pretrained)[0].state_dict()


def untrained(
    config: PretrainConfig, corpus: Corpus, weights: Weights | None
) -> tuple[PretrainLearner, TrainingBatches]:
    """A model that has not learned, to try out, and the batches of the run; it is not compiled."""
    batches = training_batches(config, corpus)
    return build_learner(without_compile(config), batches, resolve_device(config.run.device), weights), batches


def sketch_training_asvs(corpus: Corpus) -> KnownASVs:
    """Sketch of the ASVs of the training samples; without those of --pretrained, which may be unlearned."""
    train, table = corpus.sides.train, corpus.table
    studies = None if corpus.studies is None else corpus.studies[train]
    return sketch_asvs(corpus.tokens, table.stored, table.stored_rows(train), studies)


def check_model(config: PretrainConfig, corpus: Corpus, learner: Learner, observer: Observer) -> None:
    """Preflight, in a twentieth of the run's time at most; raises NonFiniteError if a check finds a fault.

    The checks use an untrained model, because the initial losses of a pretrained one are not known in advance.
    """
    with observer.stage("preflight"):
        batches = training_batches(config, corpus)
        if config.optim.compile or config.start.pretrained is not None:
            learner, _ = untrained(config, corpus, None)
            limit_memory(learner, batches, config.run.max_memory)
        found = quick_preflight(config, learner, batches, PretrainProbes(config.loss))
    refuse_failed(found.failed, "; `aam preflight` shows all checks, --no-preflight starts without them")
    observer.say(f"preflight: {found.tally()}")


def compute_metrics(run: loop.TrainingRun, state: TrainState, held_out: HeldOut, embedded: Embedded) -> dict[str, Any]:
    """Metrics of the best checkpoint and the cost of the run."""
    peak = peak_memory(run.learner.device)  # before the baselines, which hold trees of their own
    samples = state.batches * run.config.optim.batch_size
    split = held_out.corpus.split
    return {
        **held_out.score_heads(embedded.encoding.model, embedded),
        "samples_train": len(split.train),
        "samples_validation": len(split.validation),
        **({"samples_simulated": True} if lacks_samples(run.config.data) else {}),
        "steps": state.step,
        "best_step": state.best_step,
        "seconds": state.seconds,
        **({"early_end": text} if (text := run.early_end(state)) else {}),
        "samples_per_second": samples / lasted(state.seconds),
        **run.health.counts(),
        "health": run.health.line(state.step),
        "peak_memory_bytes": peak,
    }


def write_metrics(config: RunnableConfig, metrics: dict[str, Any]) -> None:
    """Write metrics.json and summary.txt."""
    folder = config.run.output_dir
    with recorded(folder, METRICS_FILE, SUMMARY_FILE):
        write_json(folder / METRICS_FILE, metrics)
        write_text(folder / SUMMARY_FILE, pretraining_summary(config, metrics))


def baseline_metrics(
    config: RunnableConfig, held_out: HeldOut, again: str, observer: Observer
) -> dict[str, float | str]:
    """Metrics of the baselines, or the reason why there are none; `again` is the command to make them."""
    found, reasons = dict[str, float | str](), list[str]()
    with observer.optional("the baselines", again, reasons):
        found = held_out.baselines(config.model, config.run.seed)
    return dict.fromkeys(SKIPPED, reasons[0]) if reasons else found
