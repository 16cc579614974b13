"""Find the operation that made a NaN, and tell it from everything that only passed it on.

    report = locate(model, call)

`call()` does what went wrong: a forward pass, a loss, `loss.backward()`, an optimiser step. It runs once, eagerly,
under a dispatch mode, with the modules and the autograd nodes followed; about 1.3 times the plain call on a CPU.

    report = locate(
        model,
        lambda: loss_of(model(batch)),      # a returned scalar that needs a gradient gets its backward pass here
        sample_ids=batch.sample_ids,        # names for the rows of tensors, along ...
        sample_axis=0,                      # ... this axis; a [B * S, ...] tensor is read as S rows a sample
        label=None,                         # or label(place) -> name, with place.module .call .phase .shape .row
        context={"step": 17},               # printed with the report
    )
    print(report)                           # readable; report.ok, report.producer, report.findings, report.samples
    report.producer.module, .op, .phase, .line, .output.dtype, .output.shape, .pattern, .nan, .inf, .reach

What counts as a fault: NaN made by an operation, even where it is hidden later (a hidden NaN returns in the gradients);
Inf that reaches the result or a gradient; a parameter that is already bad. What does not: -inf written as a mask and
absorbed by a softmax, an overflow that is absorbed (1 / (1 + exp(1000))), NaN in the data that no result depends on.

Gradients of the model are as they were afterwards. Random state is the caller's: restore it first to replay a step.
`call` may raise; the report then holds the error, unless nothing was wrong with the numbers: then it propagates.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from aam.health.describe import Describer, Label, SampleAxis
from aam.health.events import Event, Origin, ancestors, blame
from aam.health.modules import ModuleStack, float_tensors
from aam.health.report import CONTAINED, REACHED_GRADIENT, REACHED_RESULT, Finding, Report
from aam.health.stats import summarise
from aam.health.tracing import Tracer


def locate(
    model: nn.Module,
    call: Callable[[], Any],
    sample_ids: Sequence[object] | None = None,
    sample_axis: int = 0,
    label: Label | None = None,
    context: Mapping[str, Any] | None = None,
) -> Report:
    """Run `call` under the locator and report what made non-finite values, and where; see the module's text."""
    stack = ModuleStack(model)
    shapes = frozenset(shape for p in model.parameters() for shape in (tuple(p.shape), tuple(p.shape[::-1])))
    tracer = Tracer(model, stack, Describer(SampleAxis.of(sample_ids, sample_axis, label), shapes))
    bad_parameters = _bad_parameters(model)
    result, error = None, None
    with _own_gradients(model), _eager():
        try:
            with stack, tracer:
                result = call()
                if _wants_backward(result, tracer):
                    result.backward()
        except Exception as caught:  # noqa: BLE001 - guards inside the call raise at the fault that is being located
            error = caught
        gradients = [(name, p.grad) for name, p in model.named_parameters() if p.grad is not None]
        bad_gradients = dict(_not_finite(gradients))
    bad_results = [tensor for _, tensor in _not_finite([("", tensor) for tensor in float_tensors(result)])]
    sinks = _sinks(tracer, bad_results, list(bad_gradients.values()), error)
    report = Report(
        findings=_findings(tracer.events, sinks),
        passed_on=_passed_on(tracer.events),
        bad_parameters=bad_parameters,
        bad_gradients=tuple(bad_gradients),
        bad_result=bool(bad_results),
        history=tuple(stack.sizes()),
        operations=tracer.operations,
        error=f"{type(error).__name__}: {error}" if error else "",
        context=dict(context or {}),
        result=result,
    )
    if error is not None and report.ok:
        raise error
    return report


def _wants_backward(result: Any, tracer: Tracer) -> bool:
    scalar = isinstance(result, Tensor) and result.numel() == 1 and result.requires_grad
    return scalar and not tracer.saw_backward


def _not_finite(named: list[tuple[str, Tensor]]) -> list[tuple[str, Tensor]]:
    return [pair for pair, row in zip(named, summarise(named), strict=True) if not row.finite]


def _bad_parameters(model: nn.Module) -> tuple[str, ...]:
    """Names of parameters with NaN or Inf and of buffers with NaN (a -inf in a buffer is an ordinary mask)."""
    parameters = {name for name, _ in model.named_parameters()}
    rows = summarise((*model.named_parameters(), *model.named_buffers()))
    return tuple(row.name for row in rows if row.nan or (row.inf and row.name in parameters))


@contextmanager
def _own_gradients(model: nn.Module) -> Iterator[None]:
    """Set the gradients of the model aside, and put them back afterwards."""
    parameters = list(model.parameters())
    kept = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in zip(parameters, kept, strict=True):
            parameter.grad = gradient


def _eager() -> Any:
    """Compiled parts run eagerly, since a fused kernel cannot be looked into; nothing is imported where none exist."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


def _sinks(tracer: Tracer, results: list[Tensor], gradients: list[Tensor], error: Exception | None) -> dict[int, str]:
    """Events whose values ended in the result or in a gradient; where the call raised, the last event stands for it."""
    sinks = {}
    for tensors, reach in ((gradients, REACHED_GRADIENT), (results, REACHED_RESULT)):
        for tensor in tensors:
            index = tracer.holding(tensor)
            if index is not None:
                sinks[index] = reach
    if error is not None and not sinks and tracer.events:
        sinks[len(tracer.events) - 1] = REACHED_RESULT
    return sinks


def _findings(events: list[Event], sinks: dict[int, str]) -> tuple[Finding, ...]:
    """The origins of what reached the result or a gradient, then of NaN that was made and did not get there."""
    reach: dict[int, str] = {}
    for sink, where in sinks.items():
        for culprit in blame(events, sink):
            reach[culprit] = REACHED_RESULT if REACHED_RESULT in (where, reach.get(culprit)) else where
    reached = ancestors(events, sinks)
    for event in events:
        made_nan = event.counts.nan and event.origin in (Origin.MADE, Origin.TURNED) and not event.auxiliary
        if made_nan and event.index not in reached:
            for culprit in blame(events, event.index):
                reach.setdefault(culprit, CONTAINED)
    order = sorted(reach, key=lambda index: (reach[index] == CONTAINED, index))
    return tuple(Finding.of(events[index], reach[index]) for index in order)


def _passed_on(events: list[Event]) -> tuple[tuple[str, str], ...]:
    pairs = [(event.site.module, event.site.phase) for event in events if event.origin is Origin.PASSED]
    return tuple(dict.fromkeys(pairs))
