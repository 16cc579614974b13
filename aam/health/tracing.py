"""A dispatch mode that looks at the output of every operation and records where non-finite values are made and go.

Forward operations are remembered by the sequence number that autograd gives their node, so that an operation of the
backward pass knows the module and the source line of the forward operation whose gradient it computes.
"""

from __future__ import annotations

import cmath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from aam.health.events import Counts, Event, Origin, Site, Tensors, classify, count_bad
from aam.health.modules import OUTSIDE, ROOT, ModuleStack, float_tensors
from aam.health.operations import Operation, is_guard, running_method, spots
from aam.health.stats import not_finite, real_values, tripwire

OUTLIER = 100.0  # a row whose largest magnitude exceeds the median row's by this factor is suspected
DESCRIBED = 64  # events whose tensors are described in full; later ones are consequences
BEFORE = "(forward ran before the trace)"
Listener = Callable[[Operation, str, Sequence[Tensor]], None]  # (operation, module, results) of everything that runs
Found = list[tuple[Tensor, Counts]]  # tensors that hold NaN or Inf


@dataclass(frozen=True)
class Place:
    """A row of a tensor, for a caller that knows which sample it belongs to.

    `call` counts how many times `module` had run before: with it a caller who feeds a module in chunks can tell which
    chunk this is.
    """

    module: str
    call: int
    phase: str
    shape: tuple[int, ...]
    row: int


Label = Callable[[Place], str | None]


@dataclass(frozen=True)
class SampleRows:
    """Which samples the rows of a tensor, along its first axis, belong to: by ids, or by a callback that knows better.

    Without a callback, exactly `len(ids)` rows are read as the samples, and k times as many as k consecutive rows for
    each sample (a flattened [B * S, …]). Anything else is left unnamed.
    """

    ids: tuple[str, ...] = ()
    label: Label | None = None

    def names(self, site: Site, shape: tuple[int, ...], rows: Sequence[int]) -> tuple[str, ...]:
        """Distinct names of the rows of a tensor, in order; empty where they cannot be named."""
        if not rows:
            return ()
        if self.label is not None:
            named = [self.label(Place(site.module, site.call, site.phase, shape, row)) for row in rows]
        else:
            if not self.ids or shape[0] % len(self.ids):
                return ()
            block = shape[0] // len(self.ids)
            named = [self.ids[row // block] for row in rows]
        return tuple(dict.fromkeys(name for name in named if name is not None))


@dataclass(frozen=True)
class Describer:
    """Makes `Tensors` of tensors. `parameter_shapes` are the shapes whose gradients have no sample axis."""

    samples: SampleRows
    parameter_shapes: frozenset[tuple[int, ...]] = field(default_factory=frozenset)

    def tensor(self, tensor: Tensor, counts: Counts, site: Site) -> Tensors:
        """One tensor, with the pattern of its bad values and the samples they lie in.

        Where every value is finite, the rows are the outlying ones: a single sample that is far larger than the others
        is what makes a reduction over the batch overflow.
        """
        shape = tuple(tensor.shape)
        with torch.no_grad():
            values = real_values(tensor)
            strided = values.shape == tensor.shape
            bad = ~torch.isfinite(values) if counts.bad else None
            absmax = self._absmax(values, bad)
            rows = self._rows(values, bad, site) if strided else ()
        return Tensors(
            shape=shape,
            dtype=tensor.dtype,
            counts=counts,
            absmax=absmax,
            pattern=classify(bad) if bad is not None else None,
            rows=rows,
            labels=self.samples.names(site, shape, rows),
        )

    def _absmax(self, values: Tensor, bad: Tensor | None) -> float:
        """Largest finite magnitude; 0 where there is none."""
        if values.numel() == 0:
            return 0.0
        magnitude = values.abs() if bad is None else values.abs().masked_fill(bad, 0)
        return float(magnitude.amax())

    def _rows(self, values: Tensor, bad: Tensor | None, site: Site) -> tuple[int, ...]:
        if values.dim() == 0 or values.numel() == 0:
            return ()
        if site.phase == "backward" and tuple(values.shape) in self.parameter_shapes:
            return ()
        if bad is not None:
            flags = bad.reshape(len(bad), -1).any(dim=1)
        else:
            largest = values.abs().reshape(len(values), -1).amax(dim=1).double()
            flags = largest > OUTLIER * largest.median().clamp(min=torch.finfo(torch.float64).tiny)
            if len(values) < 3 or flags.all():
                return ()
        return tuple(flags.nonzero().flatten().tolist())


class Tracer(TorchDispatchMode):
    """Records an `Event` for each operation with a non-finite output.

    A sum over the output is the tripwire: it cannot be finite where a value is not. Where it trips, counts decide.
    """

    def __init__(self, model: nn.Module, stack: ModuleStack, describer: Describer, listener: Listener | None = None):
        super().__init__()
        self._listener = listener
        self.events: list[Event] = []
        self.operations = 0
        self.saw_backward = False
        self._stack = stack
        self._describer = describer
        self._described = 0
        self._known: dict[Any, Operation] = {}
        self._sites: dict[int, Site] = {}  # sequence number of an autograd node -> its forward operation
        self._first_node = torch.autograd._get_sequence_nr()
        # storage -> the event it holds, or what is known about it; the weak reference keeps its address from reuse
        self._holders: dict[int, tuple[StorageWeakRef, int | Origin]] = {}
        self._parameters = {id(parameter): name for name, parameter in model.named_parameters()}
        # A tensor of the model that was finite at the start is no source: batch norm, for one, writes its running
        # statistics without saying so in its schema, so that they look like a bad operand afterwards.
        owned = (*model.named_parameters(), *model.named_buffers())
        self._owned: dict[int, tuple[str, Tensor] | None] = {_storage(tensor).cdata: None for _, tensor in owned}
        self._owned |= {_storage(tensor).cdata: (row.name, tensor) for row, tensor in not_finite(owned)}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._stack.paused:
            return func(*args, **kwargs)
        operation = self._known.get(func)
        if operation is None:
            operation = self._known[func] = Operation.of(func)
        self.operations += 1
        self._remember(operation)
        written = operation.written_tensors(args, kwargs) if operation.written else []
        before = _bad_among(written) if operation.reads_written else []
        out = func(*args, **kwargs)
        if operation.uninitialised:
            self._hold(float_tensors(out), Origin.UNINITIALISED)
        elif operation.name == "lift_fresh":
            if out.dim() == 0:  # a number in the code, e.g. torch.tensor(-math.inf)
                self._hold(float_tensors(out), Origin.SPELT)
        elif not operation.view:
            outputs = [*float_tensors(out), *written]
            if self._listener is not None:
                top = self._stack.top
                self._listener(operation, top.path if top is not None else OUTSIDE, outputs)
            bad = _bad_among(outputs)
            site = self._site(operation) if bad else None
            if site is not None and not is_guard(site.spots):
                replaced = {id(tensor) for tensor in written}
                given = [tensor for tensor in float_tensors((args, kwargs)) if id(tensor) not in replaced]
                spelt_out = operation.spelt_out(args, kwargs)
                event = self._event(site, before + _bad_among(given), bad, spelt_out)
                event.auxiliary = bad[0][0] is not outputs[0]
                self._describe(event, bad[0], given)
        return out

    def holding(self, tensor: Tensor) -> int | None:
        """The event whose values a tensor holds, where one is known."""
        holder = self._holders.get(_storage(tensor).cdata)
        return holder[1] if holder is not None and isinstance(holder[1], int) else None

    def _hold(self, tensors: list[Tensor], what: int | Origin) -> None:
        for tensor in tensors:
            reference = _storage(tensor)
            self._holders[reference.cdata] = (reference, what)

    def _remember(self, operation: Operation) -> None:
        """Note a forward operation under the node that autograd just made for it."""
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
        top = self._stack.top
        recomputed_module = top is not None and top.recomputed
        return recomputed_module or (torch.is_grad_enabled() and bool(spots(backward=True)))

    def _forward_site(self, operation: Operation) -> Site:
        top = self._stack.top
        update = self.saw_backward and top is None and not torch.is_grad_enabled()
        module, call = (top.path, top.call) if top is not None else (OUTSIDE, 0)
        method = running_method(self._stack.by_id)
        if method is not None and method != module:
            module, call = method, 0
        return Site(module, call, "update" if update else "forward", operation.name, operation.kernel, spots())

    def _site(self, operation: Operation) -> Site:
        """Where the operation that just ran was asked for."""
        node = torch._C._current_autograd_node()
        if node is None or self._is_forward():
            return self._forward_site(operation)
        if node.name().endswith("AccumulateGrad"):
            path = self._parameters.get(id(node.variable), "")  # type: ignore[attr-defined]  # this node has it
            return Site(path.rpartition(".")[0] or ROOT, 0, "backward", "accumulate gradient", operation.kernel)
        forward = self._sites.get(node._sequence_nr(), Site(BEFORE, 0, "forward", node.name(), ""))
        by_hand = spots(backward=True)
        if by_hand:  # a hook, or a backward pass written in Python: its own line and operation say more
            return Site(forward.module, forward.call, "backward", operation.name, operation.kernel, by_hand)
        return Site(forward.module, forward.call, "backward", forward.op, operation.kernel, forward.spots)

    def _event(self, site: Site, given: Found, bad: Found, spelt_out: bool) -> Event:
        sources = [(self._source(tensor, counts, site), counts) for tensor, counts in given]
        parents = tuple(dict.fromkeys(source for source, _ in sources if source is not None))
        total = sum((counts for _, counts in bad), Counts())
        if not parents:
            origin = Origin.SPELT if spelt_out else Origin.MADE
        else:
            nan_given = any(counts.nan for source, counts in sources if source is not None)
            origin = Origin.TURNED if total.nan and not nan_given else Origin.PASSED
        event = Event(len(self.events), origin, site, total, parents)
        self.events.append(event)
        self._hold([tensor for tensor, _ in bad], event.index)
        return event

    def _source(self, tensor: Tensor, counts: Counts, site: Site) -> int | None:
        """The event that put these values into an operand; a new one where they come from outside of the trace."""
        reference = _storage(tensor)
        held = self._holders.get(reference.cdata, (reference, Origin.INPUT))[1]
        if isinstance(held, int):
            return held
        name = ""
        if reference.cdata in self._owned:
            owner = self._owned[reference.cdata]
            if owner is None:
                return None
            held, (name, tensor) = Origin.PARAMETER, owner  # describe the parameter, not a view of it
        event = Event(len(self.events), held, site, counts, (), name=name)
        self.events.append(event)
        self._holders[reference.cdata] = (reference, event.index)
        self._describe(event, (tensor, counts), [])
        return event.index

    def _describe(self, event: Event, output: tuple[Tensor, Counts], given: list[Tensor]) -> None:
        if event.origin is Origin.PASSED or self._described >= DESCRIBED:
            return
        self._described += 1
        event.output = self._describer.tensor(*output, event.site)
        counts = count_bad(given)
        event.inputs = tuple(
            self._describer.tensor(tensor, count, event.site) for tensor, count in zip(given, counts, strict=True)
        )


def _storage(tensor: Tensor) -> StorageWeakRef:
    values = tensor if tensor.layout is torch.strided else real_values(tensor)
    return StorageWeakRef(values.untyped_storage())


def _bad_among(tensors: list[Tensor]) -> Found:
    """Those of the tensors that hold NaN or Inf; one host read each, which on a CPU costs nothing."""
    suspects = [tensor for tensor in tensors if tensor.numel() and not cmath.isfinite(tripwire(tensor).item())]
    return [(tensor, counts) for tensor, counts in zip(suspects, count_bad(suspects), strict=True) if counts.bad]
