"""Describe a tensor of a fault: counts, range, pattern, and which samples of the batch its bad rows belong to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from aam.health.events import Counts, Site, Tensors
from aam.health.patterns import classify
from aam.health.stats import real_values

OUTLIER = 100.0  # a row whose largest magnitude exceeds the median row's by this factor is suspected


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
