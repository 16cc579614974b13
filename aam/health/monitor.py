"""The watch: checks that each step is finite and finds spikes, in less than 1 % of the time of a step.

    watcher = watch(model, names=("loss", "unifrac"), config=config)
    for step in ...:
        ...                                             # forward, backward
        reading = watcher.record(step, terms, grad_norm, rate)     # terms [n] and the norm before clipping, on device
        if reading is not None and not reading.finite:  # None between reads, where config.watch_every > 1
            ...                                         # weights are still intact: replay, report, policy
        with watcher.update(step):
            optimizer.step()

With `watch_every` = k the host waits for the device every k steps; a fault is then found up to k - 1 updates late.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aam.config import HealthConfig
from aam.health.stats import gather_tensor

WINDOW = 128  # steps from which the usual range is taken
SETTLED = 16  # steps before which nothing is called a spike
RATIO_EVERY = 100  # steps between measurements of update against weight, which need a copy of the weights
NORM = "gradient norm"


@dataclass(frozen=True)
class Spike:
    """A finite value far above its recent mean."""

    step: int
    name: str
    value: float
    mean: float
    sigmas: float


@dataclass(frozen=True)
class Reading:
    """Result of one host read: the steps since the last read."""

    step: int  # the newest
    bad: tuple[tuple[int, str, float], ...]  # (step, term, value) of what was not finite, in order of time
    spikes: tuple[Spike, ...]
    ratios: dict[str, float]  # parameter -> |update| / |weight|, where it was measured since the last read

    @property
    def finite(self) -> bool:
        """True if all loss terms and gradient norms were finite."""
        return not self.bad

    def __str__(self) -> str:
        if self.bad:
            step, name, value = self.bad[0]
            more = f" and {len(self.bad) - 1} more" if len(self.bad) > 1 else ""
            return f"step {step}: {name} is {value}{more}"
        rows = [
            f"step {s.step}: {s.name} {s.value:.4g} is {s.sigmas:.1f} sigma above {s.mean:.4g}" for s in self.spikes
        ]
        return "; ".join(rows) or f"step {self.step}: all finite"


def mean_and_deviation(values: Collection[float]) -> tuple[float, float]:
    """Mean and standard deviation of two values or more."""
    mean = sum(values) / len(values)
    return mean, math.dist(tuple(values), (mean,) * len(values)) / math.sqrt(len(values) - 1)


class Watch:
    """Stores loss terms and gradient norms on the device and reads them every `watch_every` steps."""

    def __init__(self, model: nn.Module, names: Sequence[str], config: HealthConfig):
        self.spikes = 0
        self._names = (*names, NORM)
        self._every, self._sigma = config.watch_every, config.spike_sigma
        self._rows: list[tuple[int, Tensor]] = []
        self._recent = {name: deque[float](maxlen=WINDOW) for name in self._names}
        self._parameters = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self._ratios: Tensor | None = None

    def record(self, step: int, terms: Tensor, grad_norm: Tensor) -> Reading | None:
        """Record one step: loss terms [n] in the order of the names, and the gradient norm before clipping (on device).

        Returns a reading when one is due, else None."""
        if terms.numel() != len(self._names) - 1:
            raise ValueError(
                f"expected the {len(self._names) - 1} loss terms {self._names[:-1]}, found {terms.numel()}"
            )
        # Not in the dtype of the terms: a norm beyond the range of fp16 is no fault.
        row = torch.cat([value.detach().reshape(-1).to(terms.device, torch.float64) for value in (terms, grad_norm)])
        self._rows.append((step, row))
        return self.read() if len(self._rows) >= self._every else None

    def read(self) -> Reading:
        """Read what was recorded since the last read: the one host read."""
        if not self._rows:
            return Reading(0, (), (), {})
        steps, rows = zip(*self._rows, strict=True)
        ratios = [] if self._ratios is None else [self._ratios.to(rows[0].device)]
        flat = torch.cat([*rows, *ratios]).tolist()
        self._rows, self._ratios = [], None
        bad: list[tuple[int, str, float]] = []
        spikes: list[Spike] = []
        terms = [(step, name) for step in steps for name in self._names]
        for (step, name), value in zip(terms, flat, strict=False):
            if not math.isfinite(value):
                bad.append((step, name, value))
            elif (spike := self._find_spike(step, name, value)) is not None:
                spikes.append(spike)
        self.spikes += len(spikes)
        changes = zip((name for name, _ in self._parameters), flat[len(terms) :], strict=False)
        finite = {name: ratio for name, ratio in changes if math.isfinite(ratio)}  # weights of 0 have no ratio
        return Reading(steps[-1], tuple(bad), tuple(spikes), finite)

    @contextmanager
    def update(self, step: int) -> Iterator[None]:
        """Context around `optimizer.step()`: every `RATIO_EVERY` steps, measure the relative change of weights."""
        if step % RATIO_EVERY:
            yield
            return
        before = [parameter.detach().clone() for _, parameter in self._parameters]
        yield
        with torch.no_grad():
            after = [parameter.detach() for _, parameter in self._parameters]
            moved = torch.stack(torch._foreach_norm(torch._foreach_sub(after, before)))
            self._ratios = gather_tensor(moved / torch.stack(torch._foreach_norm(before))).double()

    def _find_spike(self, step: int, name: str, value: float) -> Spike | None:
        """A spike if the value is `sigma` standard deviations above the mean of the last steps, else None.

        Spikes are not added to the window, so that one does not hide the next. Deviations below 1 % of the mean are
        never spikes, since a nearly constant window has no scale.
        """
        recent = self._recent[name]
        if len(recent) >= SETTLED:
            mean, deviation = mean_and_deviation(recent)
            scale = max(deviation, 0.01 * abs(mean) / self._sigma)
            if value - mean > self._sigma * scale:
                return Spike(step, name, value, mean, (value - mean) / scale)
        recent.append(value)
        return None


def watch(model: nn.Module, names: Sequence[str] = ("loss",), config: HealthConfig | None = None) -> Watch:
    """A watch over a model's steps; `names` are those of the loss terms that `record` will be given, in their order."""
    return Watch(model, names, config or HealthConfig())
