"""The plan of a run (--dry-run): data kept and dropped, size, steps, memory and time."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from aam.config import DataConfig, FinetuneConfig, PretrainConfig
from aam.corpus.batches import TrainingBatches
from aam.corpus.dataset import ASVDataset, build_draw
from aam.corpus.pretraining import Corpus, lacks_samples
from aam.corpus.reference_tips import ReferenceTips
from aam.corpus.samples import TableSamples
from aam.corpus.split import Fold
from aam.corpus.study import Study
from aam.corpus.study_checks import list_contributions
from aam.corpus.token_limit import limit_text
from aam.gene.regions import region_text
from aam.models.devices import lasted, resolve_device
from aam.text import counted, name_few
from aam.training.memory import limit_memory, peak_memory
from aam.training.run import build_learner, training_batches
from aam.training.state import Budget
from aam.training.step import Learner, step
from aam.workflows.notes import NAMED_IDS, cut_text

TRIALS, MOST_TRIALS, TRIAL_SECONDS = 3, 30, 2.0
"""Steps measured, at least and at most; more than the least as long as all take less than this time, because some quick
steps are no sample of a busy machine. The first pays for memory that later ones reuse and is left out."""


def pretraining_plan(config: PretrainConfig, corpus: Corpus) -> str:
    """The plan as text; measures a few steps with a temporary model."""
    batches = training_batches(config, corpus)
    learner = build_learner(config, batches, resolve_device(config.run.device))
    per_step = config.optim.accumulate
    limit = limit_memory(learner, batches, config.run.max_memory)
    pace, asvs = measure_steps(learner, batches, per_step)
    budget = Budget.of(config.run, max(1, batches.per_epoch // per_step))
    steps = steps_within(budget, pace)
    richness = corpus.table.richness()
    rows = [
        (
            "samples",
            f"{len(corpus.table.sample_ids)} kept: {len(corpus.split.train)} to train on, "
            f"{len(corpus.split.validation)} held out{' (simulated)' if lacks_samples(config.data) else ''}",
        ),
        *(
            ("dropped", f"{counted(len(ids), reason)}: {name_few(ids, NAMED_IDS)}")
            for reason, ids in corpus.dropped.items()
        ),
        *reads_rows(corpus),
        (
            "ASVs",
            f"{len(corpus.tokens):,}; {int(np.median(richness))} in the median sample, {richness.max()} in the richest",
        ),
        *([("depth", corpus.reads.removeprefix("depth: "))] if corpus.reads else []),
        ("token limit", limit_row(config.data, corpus.drawn(build_draw(config.data, corpus.depth, config.run.seed)))),
        *([] if corpus.reference is None else [("reference", reference_text(corpus.reference))]),
        ("parameters", f"{sum(p.numel() for p in learner.model.parameters()):,} ({config.run.preset})"),
        ("batch", f"{config.optim.batch_size * per_step} samples a step, with about {asvs:,} distinct ASVs"),
        (
            "steps",
            f"{steps:,}{limit_words(budget, steps)}; an epoch, one pass over the training samples, has "
            f"{batches.per_epoch // per_step:,}",
        ),
        *cost_rows(steps, pace, learner.device, limit),
    ]
    return plan_text(rows)


def measure_steps(learner: Learner, batches: TrainingBatches, per_step: int) -> tuple[float, int]:
    """Mean seconds of a step of `per_step` batches, with their assembly, and the median number of its ASVs."""
    seconds, asvs = list[float](), list[int]()
    while len(seconds) < TRIALS or (len(seconds) < MOST_TRIALS and sum(seconds) < TRIAL_SECONDS):
        start, trial = time.perf_counter(), len(seconds)
        drawn = [batches[trial * per_step + number] for number in range(per_step)]
        asvs.append(step(learner, drawn, trial, MOST_TRIALS).asvs)
        seconds.append(lasted(time.perf_counter() - start))
    return float(np.mean(seconds[1:])), int(np.median(asvs))


def cost_rows(steps: int, pace: float, device: torch.device, limit: str) -> list[tuple[str, str]]:
    """Rows on time and memory of `steps` steps of `pace` seconds each; `limit`: what --max-memory takes, in words."""
    return [
        ("time", f"{steps * pace / 60:.1f} minutes at {pace:.2f} s a step, on {device}"),
        ("memory", f"{peak_memory(device) / 2**30:.1f} GB at the peak of the trial steps"),
        *([("memory", limit)] if limit else []),
    ]


def reference_text(tips: ReferenceTips) -> str:
    """What is learned of a reference: its tips, where they lie on the gene, and what is held out."""
    window = region_text(tips.window.first, tips.window.last)
    return (
        f"{len(tips.numbers):,} tips of {len(tips.ancestors.tip_depth):,} have bases on {window}: {len(tips.train):,} "
        f"to train on, {tips.count} a batch; {len(tips.held_out):,} and {counted(len(tips.genera), 'tips')} of whole "
        "genera held out"
    )


def finetuning_plan(
    config: FinetuneConfig,
    study: Study,
    folds: Sequence[Fold],
    doubts: Sequence[str],
    trial: tuple[Learner, TrainingBatches],
) -> str:
    """The plan as text, with the configuration of the first fold and reasons to doubt the metrics.

    Measures a few steps with the model and the batches of the first fold, `trial`.
    """
    learner, batches = trial
    per_step = config.optim.accumulate
    limit = limit_memory(learner, batches, config.run.max_memory)
    pace, _ = measure_steps(learner, batches, per_step)
    budgets = [Budget.of(config.run, max(1, len(fold.train) // config.optim.batch_size)) for fold in folds]
    steps = [steps_within(budget, pace) for budget in budgets]
    learned = sum(p.numel() for p in learner.model.parameters() if p.requires_grad)
    rows = [
        *labelled_rows(config, study, folds),
        ("depth", study.reads.removeprefix("depth: ")),
        ("token limit", limit_row(config.data, study.drawn(build_draw(config.data, study.depth, config.run.seed)))),
        ("parameters", f"{sum(p.numel() for p in learner.model.parameters()):,}, of which {learned:,} are trained"),
        ("steps", f"{', '.join(map(str, steps))}, one number for each fold" if len(steps) > 1 else str(steps[0])),
        *cost_rows(sum(steps), pace, learner.device, limit),
        *(("warning", text) for text in doubts),
    ]
    return plan_text(rows)


def steps_within(budget: Budget, pace: float) -> int:
    """Steps that fit into a budget, of `pace` seconds each."""
    in_time = None if budget.seconds is None else int(budget.seconds / pace)
    return min(count for count in (budget.steps, in_time) if count is not None)


def limit_words(budget: Budget, steps: int) -> str:
    """Which limit ends a run after `steps`, in words; empty if it is the number of steps."""
    if budget.seconds is None or steps == budget.steps:
        return ""
    return f" in the {budget.seconds / 60:g} minutes after which the run ends (--max-minutes)"


def clades_plan(config: FinetuneConfig, study: Study, folds: Sequence[Fold], doubts: Sequence[str]) -> str:
    """The same of a training on the clades of a reference, which has no steps."""
    rows = [
        *labelled_rows(config, study, folds),
        ("reads per sample", "all"),
        ("to place", f"{len(study.table.asv_ids):,} ASVs on the reference"),
        *(("warning", text) for text in doubts),
    ]
    return plan_text(rows)


def labelled_rows(config: FinetuneConfig, study: Study, folds: Sequence[Fold]) -> list[tuple[str, str]]:
    """Rows on the samples, studies, classes and folds of a training."""
    labels = [label for label in study.labels.classes if label is not None]
    return [
        ("samples", study.overlap.text()),
        *(("left out", counted(len(ids), reason)) for reason, ids in study.dropped.items()),
        ("used", counted(len(study.table.sample_ids), "samples")),
        *(("study", found.text()) for found in list_contributions(study.labels, config.target, study.names)),
        *(("note", text) for text in study.notes),
        *reads_rows(study),
        *(("class", f"{name}: {labels.count(name)} samples") for name in study.classes),
        *((f"fold {fold.name}", f"{len(fold.train)} to train on, {len(fold.test)} to test") for fold in folds),
    ]


def reads_rows(samples: TableSamples) -> list[tuple[str, str]]:
    """Rows on how the reads lie, what lines them up, and what is cut."""
    rows = [("region", text) for text in samples.lineup.notes]
    rows += [("warning", text) for text in samples.lineup.doubts]
    return rows + [("bases", text) for text in [cut_text(samples, samples.bases)] if text]


def limit_row(data: DataConfig, samples: ASVDataset) -> str:
    """The token limit, and what it cuts of drawn samples."""
    return limit_text(samples) or f"{data.token_limit:,} ASVs: cuts no sample"


def plan_text(rows: Sequence[tuple[str, str]]) -> str:
    """Names and texts in two columns."""
    return "\n".join(f"{name:<18}{text}" for name, text in rows)
