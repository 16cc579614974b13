"""A dispatch mode that checks the output of every operation and records the origin and path of non-finite values.

Forward operations are stored by the sequence number that autograd gives their node, so that an operation of the
backward pass knows the module and the source line of the forward operation whose gradient it computes.
"""

from __future__ import annotations

import cmath
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from aam.health.operations import (
    GUARD_FILES,
    OUTSIDE,
    ROOT,
    UNINITIALISED,
    ModuleCall,
    ModuleStack,
    Operation,
    calling_lines,
    float_tensors,
    running_method,
)
from aam.health.report import Counts, Event, Origin, Site, TensorRecord
from aam.health.stats import classify_pattern, find_non_finite, real_values, tripwire

OUTLIER = 100.0  # a row whose largest magnitude exceeds the median row's by this factor is suspected
DESCRIBED = 64  # events whose tensors are described in full; later ones are consequences
BEFORE = "(forward ran before the trace)"
Listener = Callable[[Operation, str, Sequence[Tensor]], None]
"""Called with operation, module and results of everything that runs."""
Found = list[tuple[Tensor, Counts]]
"""Tensors that hold NaN or Inf."""


@dataclass(frozen=True)
class Place(ModuleCall):
    """A row of a tensor inside the model, which a `Label` names; `call` distinguishes chunks of one batch."""

    shape: tuple[int, ...]
    row: int


Label = Callable[[Place], str | None]


def label_by_sample(ids: Sequence[str]) -> Label:
    """Label rows along the first axis by samples: one row each, or k consecutive rows each (a flattened [B * S, …]).

    Rows of tensors whose size is no multiple of the number of samples get no name.
    """

    def label(place: Place) -> str | None:
        rows = place.shape[0]
        return None if rows % len(ids) else ids[place.row * len(ids) // rows]

    return label


class Tracer(TorchDispatchMode):
    """Records an `Event` for each operation with a non-finite output, and the sizes of module outputs.

    Each output is summed first; the sum is not finite if a value is not. Only then the bad values are counted.
    """

    def __init__(self, model: nn.Module, label: Label | None = None, listener: Listener | None = None):
        super().__init__()
        self.events: list[Event] = []
        self.operations = 0
        self.saw_backward = False
        self.modules = ModuleStack(model)
        self._label: Label = label or (lambda place: None)
        self._listener = listener
        self._described = 0
        self._sites: dict[int, Site] = {}  # sequence number of an autograd node -> its forward operation
        self._first_node = torch.autograd._get_sequence_nr()
        # storage -> the event it holds, or what is known about it; the weak reference keeps its address from reuse
        self._holders: dict[int, tuple[StorageWeakRef, int | Origin]] = {}
        self._parameters = {id(parameter): name for name, parameter in model.named_parameters()}
        # Shapes of parameters and their transposes: gradients of these shapes have no sample axis.
        self._shapes = {shape for p in model.parameters() for shape in (tuple(p.shape), tuple(p.shape[::-1]))}
        # A tensor of the model that was finite at the start is no source: batch norm, for one, writes its running
        # statistics without saying so in its schema, so that they look like a bad operand afterwards.
        owned = (*model.named_parameters(), *model.named_buffers())
        self._owned: dict[int, tuple[str, Tensor] | None] = {_storage(tensor).cdata: None for _, tensor in owned}
        self._owned |= {_storage(tensor).cdata: (row.name, tensor) for row, tensor in find_non_finite(owned)}

    def __enter__(self) -> Tracer:
        self.modules.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self.modules.__exit__(*exception)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.modules.paused:
            return func(*args, **kwargs)
        operation = Operation.of(func)
        self.operations += 1
        self._remember(operation)
        written = operation.written_tensors(args, kwargs) if operation.written else []
        before = _find_bad(written) if operation.reads_written else []
        out = func(*args, **kwargs)
        if operation.name in UNINITIALISED:
            self._hold(float_tensors(out), Origin.UNINITIALISED)
        elif operation.name == "lift_fresh":
            if out.dim() == 0:  # a number in the code, e.g. torch.tensor(-math.inf)
                self._hold(float_tensors(out), Origin.SPELT)
        elif not operation.view:
            outputs = [*float_tensors(out), *written]
            if self._listener is not None:
                top = self.modules.top
                self._listener(operation, top.module if top is not None else OUTSIDE, outputs)
            bad = _find_bad(outputs)
            site = self._site(operation) if bad else None
            # The statistics of this package handle NaN on purpose.
            if site is not None and (site.line is None or site.line.file not in GUARD_FILES):
                replaced = {id(tensor) for tensor in written}
                given = [tensor for tensor in float_tensors((args, kwargs)) if id(tensor) not in replaced]
                sources = [(self._source(*found, site), found[1]) for found in before + _find_bad(given)]
                origin = self._origin(sources, bad, operation.spelt_out(args, kwargs))
                parents = tuple(dict.fromkeys(source for source, _ in sources if source is not None))
                auxiliary = bad[0][0] is not outputs[0]
                self._record(site, origin, bad, given, parents=parents, auxiliary=auxiliary)
        return out

    def holding(self, tensor: Tensor) -> int | None:
        """The event whose values a tensor holds, if known."""
        holder = self._holders.get(_storage(tensor).cdata)
        return holder[1] if holder is not None and isinstance(holder[1], int) else None

    def _hold(self, tensors: list[Tensor], what: int | Origin) -> None:
        for tensor in tensors:
            reference = _storage(tensor)
            self._holders[reference.cdata] = (reference, what)

    def _remember(self, operation: Operation) -> None:
        """Store a forward operation under the node that autograd just created for it."""
        if not self._is_forward():
            self.saw_backward = True
            return
        number = torch.autograd._get_sequence_nr() - 1
        if number >= self._first_node and number not in self._sites:
            self._sites[number] = self._forward_site(operation)

    def _is_forward(self) -> bool:
        """True for a forward pass, recomputation inside of backward included: that runs Python, with gradients on."""
        if torch._C._current_autograd_node() is None:
            return True
        top = self.modules.top
        recomputed_module = top is not None and top.phase == "backward"
        return recomputed_module or (torch.is_grad_enabled() and bool(calling_lines(backward=True)))

    def _forward_site(self, operation: Operation) -> Site:
        top = self.modules.top
        update = self.saw_backward and top is None and not torch.is_grad_enabled()
        module, call = (top.module, top.call) if top is not None else (OUTSIDE, 0)
        method = running_method(self.modules.paths)
        if method is not None and method != module:
            module, call = method, 0
        return Site(module, call, "update" if update else "forward", operation.name, operation.kernel, calling_lines())

    def _site(self, operation: Operation) -> Site:
        """Where the operation that just ran was called."""
        node = torch._C._current_autograd_node()
        if node is None or self._is_forward():
            return self._forward_site(operation)
        if node.name().endswith("AccumulateGrad"):
            path = self._parameters.get(id(node.variable), "")  # type: ignore[attr-defined]  # this node has it
            return Site(path.rpartition(".")[0] or ROOT, 0, "backward", "accumulate gradient", operation.kernel)
        forward = self._sites.get(node._sequence_nr(), Site(BEFORE, 0, "forward", node.name(), ""))
        by_hand = calling_lines(backward=True)
        if by_hand:  # a hook, or a backward pass written in Python: its own line and operation say more
            return Site(forward.module, forward.call, "backward", operation.name, operation.kernel, by_hand)
        return Site(forward.module, forward.call, "backward", forward.op, operation.kernel, forward.lines)

    def _origin(self, sources: list[tuple[int | None, Counts]], bad: Found, spelt_out: bool) -> Origin:
        """How the output of an operation came to be bad; `sources` are the events of its bad operands."""
        given = [counts for source, counts in sources if source is not None]
        if not given:
            return Origin.SPELT if spelt_out else Origin.MADE
        made_nan = any(counts.nan for _, counts in bad) and not any(counts.nan for counts in given)
        return Origin.TURNED if made_nan else Origin.PASSED

    def _source(self, tensor: Tensor, counts: Counts, site: Site) -> int | None:
        """The event that produced the values of an operand; a new one if they come from outside of the trace."""
        reference = _storage(tensor)
        held = self._holders.get(reference.cdata, (reference, Origin.INPUT))[1]
        if isinstance(held, int):
            return held
        name, described = "", tensor
        if reference.cdata in self._owned:
            owner = self._owned[reference.cdata]
            if owner is None:
                return None
            held, (name, described) = Origin.PARAMETER, owner  # describe the parameter, not a view of it
        return self._record(site, held, [(described, counts)], name=name)

    def _record(self, site: Site, origin: Origin, bad: Found, given: Sequence[Tensor] = (), **facts: Any) -> int:
        """Append the event that put bad values into these tensors, note that they hold it, and return its index."""
        output, inputs = None, tuple[TensorRecord, ...]()
        if origin is not Origin.PASSED and self._described < DESCRIBED:
            self._described += 1
            output = self._describe(*bad[0], site)
            inputs = tuple(self._describe(tensor, _count_bad(tensor), site) for tensor in given)
        facts |= {"counts": sum((counts for _, counts in bad), Counts()), "output": output, "inputs": inputs}
        index = len(self.events)
        self.events.append(Event(**vars(site), index=index, origin=origin, **facts))
        self._hold([tensor for tensor, _ in bad], index)
        return index

    def _describe(self, tensor: Tensor, counts: Counts, site: Site) -> TensorRecord:
        """Describe one tensor: the pattern of its bad values, and their samples.

        If all values are finite, the outlying rows are described: a single sample with very large values can make a
        reduction over the batch overflow.
        """
        with torch.no_grad():
            values, shape = real_values(tensor), tuple(tensor.shape)
            bad = ~torch.isfinite(values) if counts.bad else None
            magnitude = values.abs() if bad is None else values.abs().masked_fill(bad, 0)
            absmax = float(magnitude.amax()) if values.numel() else 0.0
            gradient = site.phase == "backward" and shape in self._shapes
            rows = () if gradient or values.shape != tensor.shape else _rows(magnitude, bad)
            pattern = None if bad is None else classify_pattern(bad)
        names = (self._label(Place(site.module, site.call, site.phase, shape, row)) for row in rows)
        labels = tuple(dict.fromkeys(name for name in names if name is not None))
        return TensorRecord(shape, tensor.dtype, counts, absmax, pattern, rows, labels)


def _rows(magnitude: Tensor, bad: Tensor | None) -> tuple[int, ...]:
    """Indices of the first axis with bad values or, if all are finite, with outliers."""
    if magnitude.dim() == 0 or magnitude.numel() == 0:
        return ()
    if bad is not None:
        flags = bad.reshape(len(bad), -1).any(dim=1)
    else:
        largest = magnitude.reshape(len(magnitude), -1).amax(dim=1).double()
        flags = largest > OUTLIER * largest.median().clamp(min=torch.finfo(torch.float64).tiny)
        if len(magnitude) < 3 or flags.all():
            return ()
    return tuple(flags.nonzero().flatten().tolist())


def _storage(tensor: Tensor) -> StorageWeakRef:
    values = tensor if tensor.layout is torch.strided else real_values(tensor)
    return StorageWeakRef(values.untyped_storage())


def _find_bad(tensors: list[Tensor]) -> Found:
    """Those of the tensors that hold NaN or Inf; one host read each, which is free on a CPU."""
    suspects = [tensor for tensor in tensors if tensor.numel() and not cmath.isfinite(tripwire(tensor).item())]
    return [(tensor, counts) for tensor in suspects if (counts := _count_bad(tensor)).bad]


def _count_bad(tensor: Tensor) -> Counts:
    """Exact counts for a floating-point or complex tensor, in one host read."""
    values = real_values(tensor)
    bad = [torch.isnan(values).sum(), (values == torch.inf).sum(), (values == -torch.inf).sum()]
    return Counts(*torch.stack(bad).tolist())
