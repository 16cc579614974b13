"""The sequence of a pretraining: build, train, score the best checkpoint, write figures and say where everything is."""

from __future__ import annotations

import dataclasses
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import click

from aam.atomic import write_json, write_text
from aam.checkpoint import BEST, Pretrained, open_as, open_encoder
from aam.cli.advice import tell_precision
from aam.cli.preflight import refuse
from aam.cli.report import CURVES, METRICS, REPORT, SUMMARY, UNIFRAC
from aam.cli.report_samples import of_pretraining
from aam.cli.run_pictures import pretraining_pictures, remove_shown, show_run
from aam.cli.terminal import TERMINAL, optional_output, status
from aam.config import PretrainConfig
from aam.corpus.pretraining import Corpus
from aam.evaluation.baselines import BASELINES
from aam.inference.heldout import Embedded, HeldOut
from aam.inference.known_asvs import KnownASVs, sketch, write_known
from aam.inference.scales import SCALES, fit_scales
from aam.io.output import shell_path
from aam.observer import Sink
from aam.training.distributed import SharedStop, distribute_run
from aam.training.loop import Run, train
from aam.training.manifest import add_health, write_manifest
from aam.training.plan import peak_memory
from aam.training.preflight import eager, quick_preflight
from aam.training.probes import PretrainProbes
from aam.training.run import Seams, Weights, build_learner, build_run, training_batches
from aam.training.signals import StopRequest
from aam.training.sinks import open_sinks
from aam.training.state import TrainState
from aam.training.step import Learner, score
from aam.training.world import World

NO_CONSENSUS = "nucleotide_consensus_skipped"
SKIPPED = (NO_CONSENSUS, *(f"baseline_{name}_skipped" for name in BASELINES))
"""Metrics that say why a baseline was not computed."""


def run_and_report(config: PretrainConfig, corpus: Corpus, world: World) -> None:
    """Train as configured; what was reached stands in metrics.json, curves.png, unifrac.png and on the terminal.

    Of several ranks the first one checks, logs, scores and reports.
    """
    folder = config.run.output_dir
    held_out = HeldOut.of(config, corpus)
    seams = Seams(lambda learner: held_out.validate(learner.model, lambda batch: score(learner, batch)[1]))
    run, state = build_run(config, corpus, seams, starting_weights(config))
    if config.run.preflight and not config.run.resume and world.first:
        check_before(config, corpus, run.learner)
    if world.first:
        tell_precision(config.optim.precision, run.learner.device)
    distribute_run(run, config, world)
    # From here on files are written: whatever there was to refuse has been refused.
    write_manifest(config, corpus, sum(p.numel() for p in run.learner.model.parameters()))
    sinks = open_sinks(folder, state.step, TERMINAL.training_display()) if world.first else nullcontext(list[Sink]())
    try:
        with sinks as run.sinks, StopRequest() as stop:
            train(run, state, SharedStop(stop, world))
    finally:
        add_health(folder, run.health.record(state.step))
    if not world.first:
        return
    with status("scoring held-out samples"):
        trained = open_as(Pretrained, folder / BEST)
        best = trained.model.to(run.learner.device)
        write_known(folder / BEST, known_to(corpus))
        started = time.perf_counter()
        embedded = held_out.predict(best)
        metrics = final_metrics(run, state, held_out, embedded)
        remove_shown(folder)
        write_metrics(folder, metrics | dict.fromkeys(SKIPPED, "the run ended before that"))
    # What was learned is on the disk. From here on nothing that fails costs the run.
    again = f"`aam pretrain --resume --output-dir {shell_path(folder)}` makes it again"
    with status("scoring baselines"):
        metrics |= baseline_metrics(config, held_out, again)
        metrics["seconds_scoring"] = time.perf_counter() - started
        with optional_output(f"{METRICS} with the baselines", again):
            write_metrics(folder, metrics)
        with optional_output(f"{BEST}/{SCALES}", again):
            write_json(folder / BEST / SCALES, dataclasses.asdict(fit_scales(best, corpus, held_out.draw, metrics)))
    with status("drawing"):
        pictures = pretraining_pictures(folder, held_out, embedded, metrics)
        show_run(folder, pictures, partial(of_pretraining, trained, held_out, embedded))
    click.echo(summary(folder, metrics))


def starting_weights(config: PretrainConfig) -> Weights | None:
    """Those of the encoder that training starts from; None for a fresh model, and for a run that goes on."""
    if config.start.pretrained is None or config.run.resume:
        return None
    return open_encoder(config.start.pretrained)[0].state_dict()


def known_to(corpus: Corpus) -> KnownASVs:
    """The ASVs of the training samples, by study. What the run began with may be unlearned by its end."""
    train, table = corpus.sides.train, corpus.table
    studies = None if corpus.studies is None else corpus.studies[train]
    return sketch(corpus.tokens, table.stored, table.stored_rows(train), studies)


def check_before(config: PretrainConfig, corpus: Corpus, learner: Learner) -> None:
    """Preflight, in a twentieth of the run's time at most; raises NonFiniteError where a check finds a fault.

    It is a fresh model that is checked: what a trained one begins with is not known in advance.
    """
    with status("preflight"):
        batches = training_batches(config, corpus)
        if config.optim.compile or config.start.pretrained is not None:
            learner = build_learner(eager(config), batches, learner.device)
        found = quick_preflight(config, learner, batches, PretrainProbes(config.loss))
    refuse(found.failed, "; `aam preflight` shows all checks, --no-preflight starts without them")
    click.echo(f"preflight: {found.tally()}", err=True)


def final_metrics(run: Run, state: TrainState, held_out: HeldOut, embedded: Embedded) -> dict[str, Any]:
    """Figures of the best checkpoint and the cost of the run."""
    peak = peak_memory(run.learner.device)  # before the baselines, which hold trees of their own
    samples = state.batches * run.config.optim.batch_size
    corpus = held_out.corpus
    return {
        **held_out.figures(embedded.encoding.model, embedded),
        "samples_train": len(corpus.split.train),
        "samples_validation": len(corpus.split.validation),
        "steps": state.step,
        "best_step": state.best_step,
        "seconds": state.seconds,
        "samples_per_second": samples / max(state.seconds, 1e-9),
        **run.health.figures(),
        "health": run.health.line(state.step),
        "peak_memory_bytes": peak,
    }


def write_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Write metrics.json and summary.txt."""
    write_json(folder / METRICS, metrics)
    write_text(folder / SUMMARY, summary(folder, metrics))


def baseline_metrics(config: PretrainConfig, held_out: HeldOut, again: str) -> dict[str, float | str]:
    """Figures of the baselines, or why there are none; `again` says what makes them again."""
    found, reasons = dict[str, float | str](), list[str]()
    with optional_output("the baselines", again, reasons):
        found = held_out.baselines(config.model, config.run.seed)
    return dict.fromkeys(SKIPPED, reasons[0]) if reasons else found


def summary(folder: Path, m: dict[str, Any]) -> str:
    """The last thing on the terminal: what was learned, against what, and where it lies."""
    rows = [
        f"{m['samples_validation']} held-out samples, after {m['steps']} steps in {m['seconds'] / 60:.1f} minutes",
        "",
        f"  {'UniFrac of pairs':<34}{'R2':>8}{'MAE':>9}{'Pearson':>9}",
        f"  {'  this model':<34}{m['unifrac_r2']:>8.3f}{m['unifrac_mae']:>9.4f}{m['unifrac_pearson']:>9.3f}",
    ]
    for name, label in (("jaccard", "calibrated Jaccard"), ("upgma", "calibrated UPGMA on Hamming")):
        if f"baseline_{name}_r2" in m:
            scores = [m[f"baseline_{name}_{key}"] for key in ("r2", "mae", "pearson")]
            rows.append(f"  {'  ' + label:<34}{scores[0]:>8.3f}{scores[1]:>9.4f}{scores[2]:>9.3f}")
        else:
            rows.append(f"  {'  ' + label:<34}not computed: {m[f'baseline_{name}_skipped']}")
    rows += [
        "",
        f"  {'masked nucleotides':<34}{'accuracy':>8}{'  cross-entropy':>15}",
        f"  {'  this model':<34}{m['nucleotide_accuracy']:>8.3f}{m['nucleotide_cross_entropy']:>15.3f}",
        f"  {'  per-position consensus':<34}{consensus_text(m)}",
        "",
        f"  health       {m['health']}",
        f"  checkpoint   {folder / BEST}",
        f"  curves       {folder / CURVES}, {folder / UNIFRAC}",
        f"  report       {folder / REPORT}",
        f"  figures      {folder / METRICS}",
        f"  summary      {folder / SUMMARY}",
    ]
    return "\n".join(rows) + "\n"


def consensus_text(m: dict[str, Any]) -> str:
    """Accuracy and cross-entropy of the consensus, or why they are absent."""
    if NO_CONSENSUS in m:
        return f"not computed: {m[NO_CONSENSUS]}"
    return f"{m['nucleotide_consensus_accuracy']:>8.3f}{m['nucleotide_consensus_cross_entropy']:>15.3f}"
