"""Find the operation that produced a NaN, as opposed to operations that only passed it on.

    report = locate(model, call)

`call()` repeats the faulty work: a forward pass, a loss, `loss.backward()`, an optimiser step. It runs once, eagerly,
under a dispatch mode that also tracks modules and autograd nodes; on a CPU this takes about 1.3 times as long.

    report = locate(
        model,
        lambda: loss_of(model(batch)),      # a returned scalar that needs a gradient gets its backward pass here
        sample_ids=batch.sample_ids,        # names for the rows of tensors; [B * S, ...] is read as S rows a sample
        label=None,                         # or label(place) -> name, with place.module .call .phase .shape .row
    )
    print(report)                           # readable; report.ok, report.producer, report.findings, report.samples
    report.producer.module, .op, .phase, .line, .output.dtype, .output.shape, .pattern, .nan, .inf, .reach

What counts as a fault: NaN made by an operation, even where it is hidden later (a hidden NaN returns in the gradients);
Inf that reaches the result or a gradient; a parameter that is already bad. What does not: -inf written as a mask and
absorbed by a softmax, an overflow that is absorbed (1 / (1 + exp(1000))), NaN in the data that no result depends on.

Gradients and buffers of the model are as they were afterwards. Random state is the caller's: restore it first to
replay a step.
`call` may raise; the report then holds the error, unless nothing was wrong with the numbers: then it propagates.
"""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from aam.health.operations import TAKES_MASKS, float_tensors
from aam.health.report import CONTAINED, OUTCOME_ORDER, REACHED_GRADIENT, REACHED_RESULT, SPOILT, Event, Origin, Report
from aam.health.stats import find_non_finite
from aam.health.tracing import Label, Listener, Tracer, label_by_sample


def locate(
    model: nn.Module,
    call: Callable[[], Any],
    sample_ids: Sequence[object] = (),
    label: Label | None = None,
) -> Report:
    """Run `call` under the locator and report what made non-finite values, and where; see the module's text."""
    ids = tuple(map(str, sample_ids))
    return locate_with_listener(model, call, label or (label_by_sample(ids) if ids else None))


def locate_with_listener(
    model: nn.Module, call: Callable[[], Any], label: Label | None = None, listener: Listener | None = None
) -> Report:
    """`locate`, with a listener that is called with every operation."""
    tracer = Tracer(model, label, listener)
    bad_before = {row.name: row for row, _ in find_non_finite(_state(model))}
    result, error = None, None
    with _keep_gradients_and_buffers(model), _run_eagerly(), keep_in_one_thread():
        try:
            with tracer:
                result = call()
                scalar = isinstance(result, Tensor) and result.numel() == 1 and result.requires_grad
                if scalar and not tracer.saw_backward:
                    result.backward()
        except Exception as raised:  # noqa: BLE001 - guards inside the call raise at the very fault being located
            result, error = None, raised
        ends = _bad_ends(model, result, set(bad_before))
    held = [(tracer.holding(tensor), reach) for reach, named in ends.items() for _, tensor in named]
    sinks = {index: reach for index, reach in held if index is not None}  # None: no traced operation made it
    if error is not None and not sinks:
        sinks = _last_fault(tracer.events)
    parameters = {name for name, _ in model.named_parameters()}  # a -inf in a buffer is an ordinary mask
    passed_on = ((event.module, event.phase) for event in tracer.events if event.origin is Origin.PASSED)
    report = Report(
        findings=_findings(tracer.events, sinks),
        passed_on=tuple(dict.fromkeys(passed_on)),
        bad_parameters=tuple(name for name, row in bad_before.items() if row.nan or name in parameters),
        bad_gradients=tuple(name for name, _ in ends[REACHED_GRADIENT]),
        spoilt_parameters=tuple(name for name, _ in ends[SPOILT]),
        bad_result=bool(ends[REACHED_RESULT]),
        history=tuple(tracer.modules.sizes()),
        operations=tracer.operations,
        error=f"{type(error).__name__}: {error}" if error else "",
        result=result,
    )
    if error is not None and report.ok:
        raise error
    return report


def _bad_ends(model: nn.Module, result: Any, bad_before: set[str]) -> dict[str, list[tuple[str, Tensor]]]:
    """The non-finite tensors after the call, by what the fault reached: parameters, gradients or the result."""
    state = [pair for pair in _state(model) if pair[0] not in bad_before]
    gradients = [(name, p.grad) for name, p in model.named_parameters() if p.grad is not None]
    results = [("result", tensor) for tensor in float_tensors(result)]
    ends = {SPOILT: state, REACHED_GRADIENT: gradients, REACHED_RESULT: results}
    return {reach: [(row.name, tensor) for row, tensor in find_non_finite(named)] for reach, named in ends.items()}


def _state(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


@contextmanager
def _keep_gradients_and_buffers(model: nn.Module) -> Iterator[None]:
    """Put gradients and buffers back afterwards: a fault would poison the running statistics of a batch norm."""
    parameters = list(model.parameters())
    gradients = [parameter.grad for parameter in parameters]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    for parameter in parameters:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


@contextmanager
def _run_eagerly() -> Iterator[None]:
    """Run compiled parts eagerly, since the locator cannot see into a fused kernel."""
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Using `torch.compile.module.` when there are global hooks")
        yield


@contextmanager
def keep_in_one_thread() -> Iterator[None]:
    """Keep all work in this thread: a dispatch mode does not see operations of other threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _last_fault(events: list[Event]) -> dict[int, str]:
    """The end of a trace whose call raised: the last event with a cause other than infinities written in the code."""
    for event in reversed(events):
        if any(events[culprit].origin is not Origin.SPELT for culprit in find_causes(events, event.index)):
            return {event.index: REACHED_RESULT}
    return {}


def _findings(events: list[Event], sinks: dict[int, str]) -> tuple[Event, ...]:
    """The origins of what reached the result or a gradient, then of NaN that was made and did not get there."""
    reach: dict[int, str] = {}
    for sink, where in sinks.items():
        for culprit in find_causes(events, sink):
            reach[culprit] = max(where, reach.get(culprit, where), key=OUTCOME_ORDER.index)
    reached = find_ancestors(events, sinks)
    for event in events:
        if event.made_nan and event.index not in reached:
            for culprit in find_causes(events, event.index):
                reach.setdefault(culprit, CONTAINED)
    order = sorted(reach, key=lambda index: (reach[index] == CONTAINED, index))  # what did harm first, then by time
    return tuple(dataclasses.replace(events[index], reach=reach[index]) for index in order)


def find_ancestors(events: list[Event], start: Iterable[int]) -> set[int]:
    """Indices of the given events and of all events they come from."""
    seen: set[int] = set()
    todo = list(start)
    while todo:
        index = todo.pop()
        if index not in seen:
            seen.add(index)
            todo += events[index].parents
    return seen


def find_causes(events: list[Event], index: int) -> set[int]:
    """The events that caused the non-finite values of event `index`.

    A NaN is followed back to the operation that first produced NaN. If that operation had an Inf as input, the cause is
    the origin of the Inf: an overflow, a parameter or the data. But an Inf written as a constant in the code, or a -inf
    given to a softmax, is an ordinary mask; then the operation itself is the cause (e.g. a row without any key).
    """
    blamed: set[int] = set()
    seen: set[int] = set()
    todo = [index]
    while todo:
        index = todo.pop()
        if index in seen:
            continue
        seen.add(index)
        event = events[index]
        if event.origin is Origin.PASSED:
            nan_parents = [parent for parent in event.parents if events[parent].counts.nan]
            todo += nan_parents if event.counts.nan and nan_parents else event.parents
        elif event.origin is Origin.TURNED:
            blamed |= _causes_of_infinity(events, event) or {index}
        else:
            blamed.add(index)
    return blamed


def _causes_of_infinity(events: list[Event], event: Event) -> set[int]:
    """The events that caused the Inf that `event` turned into NaN; empty if that Inf was an ordinary mask."""
    roots = set().union(*(find_causes(events, parent) for parent in event.parents)) if event.parents else set()
    masks = event.op in TAKES_MASKS
    return {
        root
        for root in roots
        if events[root].origin is not Origin.SPELT
        and not (events[root].origin is Origin.INPUT and masks and not events[root].counts.positive)
    }
