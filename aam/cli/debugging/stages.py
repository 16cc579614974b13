"""One batch on its way through the model, stage by stage: how large values are, and where they first are not finite."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from aam import vocab
from aam.cli.debugging.workbench import Check, Workbench
from aam.corpus.dataset import Batch
from aam.health import locate
from aam.health.report import Report
from aam.health.stats import TensorSummary, summarise
from aam.training.step import named_outputs, score

STAGES = {
    "embedding": ("asv_encoder.start", "asv_encoder.base"),
    "transformer": ("asv_encoder.transformer", "asv_encoder.layers"),
    "pooling": ("asv_encoder.pooling",),
    "sample encoder": ("sample_encoder",),
    "UniFrac head": ("latent_tree", "euclidean"),
    "nucleotide head": ("asv_encoder.nucleotide_head",),
    "other heads": ("hidden_asvs", "scalars"),
}
"""Stages in the order of execution and the modules that each consists of."""
PREDICTIONS = {
    "UniFrac head": ("unifrac", "euclidean", "patristic"),
    "nucleotide head": ("nucleotides",),
    "other heads": ("membership", "hidden_abundance", "slot_abundance", "faith_pd"),
}
"""What a head's modules and the arithmetic around them predict."""
NOT_REACHED = "the pass did not get this far"


@dataclass
class Seen:
    """What a traced call hands out as it goes, so that it is there where the call raises."""

    predictions: dict[str, Tensor] = field(default_factory=dict)
    losses: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)


def trace(bench: Workbench, batch: Batch, training: bool = True) -> tuple[list[Check], Report]:
    """Send a batch through the real model under the locator: in training with a backward pass, else in evaluation.

    Returns the stages, and what the locator says about the operations.
    """
    learner, seen = bench.learner, Seen()

    def call() -> Any:
        output, losses = score(learner, batch)
        seen.predictions |= {name: t.detach() for name, t in named_outputs(output).items() if t is not None}
        seen.losses |= {"total": losses.total, **losses.terms}
        if training:
            learner.scaler.scale(losses.total).backward()
            seen.gradients |= {name: p.grad for name, p in learner.model.named_parameters() if p.grad is not None}
        return output, losses.total

    learner.model.train(training)
    with torch.set_grad_enabled(training):
        report = locate(learner.model, call, label=bench.names([batch]))
    checks = [tokens_check(bench, batch), packing_check(bench, batch), *stage_checks(report, seen)]
    checks.append(losses_check(seen.losses))
    if training:
        checks.append(gradients_check(seen.gradients))
    return [*checks, operations_check(report)], report


def notes_on(report: Report) -> list[str]:
    """The first non-finite place and the whole report; nothing where all is finite."""
    details = str(report).partition("\n")[2]  # its first line is the place
    return [] if report.ok else [f"first non-finite place: {place(report)}", details]


def operations_check(report: Report) -> Check:
    """What the locator says: a NaN that was made, even where it was hidden later, or an Inf that arrived."""
    first, fault = report.producer, ""
    if not report.ok:
        fault = f"begins with {first.op} in {first.module} ({first.phase})" if first else report.headline()
    return Check("operations", f"{report.operations:,} of them", report.error, fault)


def place(report: Report) -> str:
    """One line: the operation that made the first non-finite value, its module, line, and the samples and ASVs."""
    first = report.producer
    names = first.samples if first is not None and not first.name else ()  # rows of a named parameter are no samples
    return report.headline() + (f"; {'; '.join(names)}" if names else "")


def tokens_check(bench: Workbench, batch: Batch) -> Check:
    """Each distinct ASV is START, bases, then only PAD."""
    tokens, names = batch.tokens.cpu(), bench.names([batch])
    real = tokens != vocab.PAD
    faults = {
        "is only padding": ~real.any(dim=1),
        "does not begin with START": tokens[:, 0] != vocab.START,
        "holds a token beyond the vocabulary": (tokens >= vocab.VOCAB_SIZE).any(dim=1),
        "goes on after its padding": (real[:, 1:] & ~real[:, :-1]).any(dim=1),
    }
    wrong = (f"{names.asv(batch, row)} {what}" for what, rows in faults.items() for row in places_of(rows))
    bases = real[:, 1:].sum(dim=1)
    found = f"{len(tokens)} distinct ASVs of {int(bases.min())} to {int(bases.max())} bases"
    return Check("tokens", f"[U, L] = {list(tokens.shape)}", found, first_of(wrong))


def packing_check(bench: Workbench, batch: Batch) -> Check:
    """Each sample has a slot, each slot an ASV with reads, each ASV a slot, and padding holds nothing."""
    valid, counts, index = batch.valid.cpu(), batch.counts.cpu(), batch.index.cpu()
    names, distinct = bench.names([batch]), len(batch.asvs)
    used = torch.zeros(distinct, dtype=torch.bool)
    used[index[valid & (index >= 0) & (index < distinct)]] = True
    wrong = [
        *(f"{names.sample(batch, row)} has no ASV left, all its slots are padding" for row in places_of(~valid.any(1))),
        *(f"{names.slot(batch, slot)} points to no ASV" for slot in places_of((index < 0) | (index >= distinct))),
        *(f"{names.slot(batch, slot)} has no reads" for slot in places_of(valid & ~(counts > 0))),
        *(f"{names.slot(batch, slot)} holds reads" for slot in places_of(~valid & (counts != 0))),
        *(f"ASV {bench.corpus.table.asv_ids[int(batch.asvs[row])]} is in no slot" for row in places_of(~used)),
    ]
    filled = int(valid.sum())
    found = f"{filled} slots filled, {valid.numel() - filled} padding, {distinct} distinct ASVs"
    return Check("packing", f"[B, S] = {list(valid.shape)}", found, first_of(wrong))


def stage_checks(report: Report, seen: Seen | None = None) -> Iterator[Check]:
    """Outputs of the modules of each stage that ran, and the predictions made of them where they were `seen`."""
    known = {} if seen is None else seen.predictions
    for stage, modules in STAGES.items():
        outputs = [size for size in report.history if within(size.module, modules)]
        predictions = [(name, known[name]) for name in PREDICTIONS.get(stage, ()) if name in known]
        if not outputs and not predictions:
            continue
        lost = [size for size in outputs if not math.isfinite(size.absmax)]
        magnitudes = [size.absmax for size in outputs if size not in lost]
        bad = (f"{size.module}, call {size.call}, put out {size.absmax}" for size in lost)
        made = tuple(finding.headline() for finding in report.findings if within(finding.module, modules))
        summaries = summarise(predictions)
        ran = [module for module in modules if any(within(size.module, (module,)) for size in outputs)]
        what = ", ".join([*ran, *(f"{s.name} {list(s.shape)}" for s in summaries)])
        found = [
            extent("x", magnitudes, len(lost)),
            *(f"{s.name} {s.minimum:.3g} … {s.maximum:.3g}" for s in summaries),
        ]
        yield Check(stage, what, "; ".join(found), first_of([*bad, *bad_tensors(summaries), *made]))


def losses_check(losses: dict[str, Tensor]) -> Check:
    """Every term is finite."""
    terms = summarise(losses.items())
    found = ", ".join(f"{term.name} {'not finite' if not term.finite else f'{term.mean:.4g}'}" for term in terms)
    return Check("losses", f"{len(terms)} terms", found, first_of(bad_tensors(terms)) if terms else NOT_REACHED)


def gradients_check(gradients: dict[str, Tensor]) -> Check:
    """Every gradient is finite."""
    found = summarise(gradients.items())
    finite = [gradient.absmax for gradient in found if gradient.finite]
    fault = first_of(bad_tensors(found)) if found else NOT_REACHED
    return Check("gradients", f"{len(found)} tensors", extent("g", finite, len(found) - len(finite)), fault)


def extent(letter: str, magnitudes: list[float], lost: int) -> str:
    """Largest magnitude of what is finite, and how many tensors are not."""
    largest = [f"max |{letter}| {max(magnitudes):.3g}"] if magnitudes else []
    return ", ".join(largest + ([f"{lost} of {lost + len(magnitudes)} not finite"] if lost else []))


def bad_tensors(summaries: Iterable[TensorSummary]) -> Iterator[str]:
    for summary in summaries:
        if not summary.finite:
            yield f"{summary.name} {list(summary.shape)} holds {summary.nan} NaN and {summary.inf} Inf"


def within(path: str, modules: tuple[str, ...]) -> bool:
    """Whether a module is one of these or lies in one of them."""
    return any(path == module or path.startswith(f"{module}.") for module in modules)


def places_of(flags: Tensor) -> list[int]:
    """Flat places of what is True."""
    return flags.flatten().nonzero().flatten().tolist()


def first_of(faults: Iterable[str]) -> str:
    """The first of these, and how many more there are; empty where there is none."""
    faults = list(faults)
    return "" if not faults else faults[0] + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else "")
