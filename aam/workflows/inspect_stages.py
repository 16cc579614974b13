"""Inspects one batch in the model, stage by stage: tokens, slots, magnitudes, and the first non-finite values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from aam import vocab
from aam.corpus.dataset import Batch
from aam.health import locate
from aam.health.report import Report
from aam.health.stats import TensorSummary, summarise_tensors
from aam.training.step import named_outputs, score
from aam.workflows.workbench import Inspection, Workbench, flat_indices, name_first

STAGES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "embedding": (("asv_encoder.start", "asv_encoder.base"), ()),
    "transformer": (("asv_encoder.transformer", "asv_encoder.layers"), ()),
    "pooling": (("asv_encoder.pooling",), ()),
    "sample encoder": (("sample_encoder",), ()),
    "UniFrac head": (("latent_tree", "euclidean"), ("unifrac", "euclidean", "patristic")),
    "nucleotide head": (("asv_encoder.nucleotide_head",), ("nucleotides",)),
    "other heads": (("hidden_asvs", "scalars"), ("membership", "hidden_abundance", "slot_abundance", "faith_pd")),
}
"""Stages in the order of execution: their modules, and what these and the arithmetic around them predict."""
NOT_REACHED = "the pass did not get this far"


def inspect_pass(bench: Workbench, batch: Batch, training: bool = True) -> tuple[list[Inspection], Report]:
    """Send a batch through the real model under the locator: in training with a backward pass, else in evaluation.

    Returns the stages, and the report of the locator.
    """
    learner = bench.learner
    # Filled as the pass goes on, so that they hold what was computed before a pass raises.
    predictions: dict[str, Tensor] = {}
    losses: dict[str, Tensor] = {}
    gradients: dict[str, Tensor] = {}

    def call() -> Any:
        output, found = score(learner, batch)
        predictions.update({name: t.detach() for name, t in named_outputs(output).items() if t is not None})
        losses.update({"total": found.total, **found.terms})
        if training:
            learner.scaler.scale(found.total).backward()
            gradients.update({name: p.grad for name, p in learner.model.named_parameters() if p.grad is not None})
        return output, found.total

    learner.model.train(training)
    with torch.set_grad_enabled(training):
        report = locate(learner.model, call, label=bench.names([batch]))
    checks = [inspect_tokens(bench, batch), inspect_packing(bench, batch), *inspect_stages(report, predictions)]
    checks += [inspect_losses(losses), *([inspect_gradients(gradients)] if training else [])]
    return [*checks, inspect_operations(report)], report


def report_notes(report: Report) -> list[str]:
    """The first non-finite place, with samples and ASVs, and the whole report; empty if all is finite."""
    if report.ok:
        return []
    first = report.producer
    names = first.samples if first is not None and not first.name else ()  # rows of a named parameter are no samples
    details = str(report).partition("\n")[2]  # its first line is the place
    return [f"first non-finite place: {'; '.join([report.headline(), *names])}", details]


def inspect_operations(report: Report) -> Inspection:
    """Inspection of the report of the locator: a fault is any NaN, or an Inf that reached the result."""
    first, fault = report.producer, ""
    if not report.ok:
        fault = f"begins with {first.op} in {first.module} ({first.phase})" if first else report.headline()
    return Inspection("operations", f"{report.operations:,} of them", report.error, fault)


def inspect_tokens(bench: Workbench, batch: Batch) -> Inspection:
    """Each distinct ASV is START, bases, then only PAD."""
    tokens, names = batch.tokens.cpu(), bench.names([batch])
    real = tokens != vocab.PAD
    faults = {
        "is only padding": ~real.any(dim=1),
        "does not begin with START": tokens[:, 0] != vocab.START,
        "holds a token beyond the vocabulary": (tokens >= vocab.VOCAB_SIZE).any(dim=1),
        "goes on after its padding": (real[:, 1:] & ~real[:, :-1]).any(dim=1),
    }
    wrong = (f"{names.asv(batch, row)} {what}" for what, rows in faults.items() for row in flat_indices(rows))
    bases = real[:, 1:].sum(dim=1)
    found = f"{len(tokens)} distinct ASVs of {int(bases.min())} to {int(bases.max())} bases"
    return Inspection("tokens", f"[U, L] = {list(tokens.shape)}", found, name_first(wrong))


def inspect_packing(bench: Workbench, batch: Batch) -> Inspection:
    """Each sample has a slot, each slot an ASV with reads, each ASV a slot, and padding holds nothing."""
    valid, counts, index = batch.valid.cpu(), batch.counts.cpu(), batch.index.cpu()
    names, distinct = bench.names([batch]), len(batch.asvs)
    used = torch.zeros(distinct, dtype=torch.bool)
    used[index[valid & (index >= 0) & (index < distinct)]] = True
    wrong = [
        *(
            f"{names.sample(batch, row)} has no ASV left, all its slots are padding"
            for row in flat_indices(~valid.any(1))
        ),
        *(f"{names.slot(batch, slot)} points to no ASV" for slot in flat_indices((index < 0) | (index >= distinct))),
        *(f"{names.slot(batch, slot)} has no reads" for slot in flat_indices(valid & ~(counts > 0))),
        *(f"{names.slot(batch, slot)} holds reads" for slot in flat_indices(~valid & (counts != 0))),
        *(f"ASV {bench.corpus.table.asv_ids[int(batch.asvs[row])]} is in no slot" for row in flat_indices(~used)),
    ]
    filled = int(valid.sum())
    found = f"{filled} slots filled, {valid.numel() - filled} padding, {distinct} distinct ASVs"
    return Inspection("packing", f"[B, S] = {list(valid.shape)}", found, name_first(wrong))


def inspect_stages(report: Report, known: Mapping[str, Tensor] | None = None) -> Iterator[Inspection]:
    """Module outputs of each stage that ran, and its predictions in `known`."""
    known = known or {}
    for stage, (modules, predicted) in STAGES.items():
        outputs = [size for size in report.history if is_within(size.module, modules)]
        predictions = [(name, known[name]) for name in predicted if name in known]
        if not outputs and not predictions:
            continue
        lost = [size for size in outputs if not math.isfinite(size.absmax)]
        magnitudes = [size.absmax for size in outputs if size not in lost]
        bad = (f"{size.module}, call {size.call}, put out {size.absmax}" for size in lost)
        made = tuple(finding.headline() for finding in report.findings if is_within(finding.module, modules))
        summaries = summarise_tensors(predictions)
        ran = [module for module in modules if any(is_within(size.module, (module,)) for size in outputs)]
        what = ", ".join([*ran, *(f"{s.name} {list(s.shape)}" for s in summaries)])
        found = [
            describe_sizes("x", magnitudes, len(lost)),
            *(f"{s.name} {s.minimum:.3g} … {s.maximum:.3g}" for s in summaries),
        ]
        yield Inspection(stage, what, "; ".join(found), name_first([*bad, *tensor_faults(summaries), *made]))


def inspect_losses(losses: dict[str, Tensor]) -> Inspection:
    """Every term is finite."""
    terms = summarise_tensors(losses.items())
    found = ", ".join(f"{term.name} {'not finite' if not term.finite else f'{term.mean:.4g}'}" for term in terms)
    return Inspection(
        "losses", f"{len(terms)} terms", found, name_first(tensor_faults(terms)) if terms else NOT_REACHED
    )


def inspect_gradients(gradients: dict[str, Tensor]) -> Inspection:
    """Every gradient is finite."""
    found = summarise_tensors(gradients.items())
    finite = [gradient.absmax for gradient in found if gradient.finite]
    fault = name_first(tensor_faults(found)) if found else NOT_REACHED
    return Inspection(
        "gradients", f"{len(found)} tensors", describe_sizes("g", finite, len(found) - len(finite)), fault
    )


def describe_sizes(letter: str, magnitudes: list[float], lost: int) -> str:
    """Text with the largest finite magnitude and the number of non-finite tensors."""
    largest = [f"max |{letter}| {max(magnitudes):.3g}"] if magnitudes else []
    return ", ".join(largest + ([f"{lost} of {lost + len(magnitudes)} not finite"] if lost else []))


def tensor_faults(summaries: Iterable[TensorSummary]) -> Iterator[str]:
    for summary in summaries:
        if not summary.finite:
            yield f"{summary.name} {list(summary.shape)} holds {summary.nan} NaN and {summary.inf} Inf"


def is_within(path: str, modules: tuple[str, ...]) -> bool:
    """Whether a module is one of these or lies in one of them."""
    return any(path == module or path.startswith(f"{module}.") for module in modules)
