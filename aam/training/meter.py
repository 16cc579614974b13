"""Running means of what steps report, kept on the device until they are read."""

from __future__ import annotations

import time

import torch

from aam.training.step import StepResult


class Meter:
    """Means since the last reading, and how many samples and ASVs a second went through."""

    def __init__(self) -> None:
        self._results: list[StepResult] = []
        self._since = time.perf_counter()

    def add(self, result: StepResult) -> None:
        self._results.append(result)

    def read(self) -> dict[str, float]:
        """Means of the loss terms and gradient norms, last learning rate, rates per second; starts anew."""
        results, self._results = self._results, []
        seconds, now = time.perf_counter() - self._since, time.perf_counter()
        self._since = now
        if not results:
            return {}
        rows = torch.stack([torch.cat([r.terms.float(), r.grad_norm.float()[None]]) for r in results])
        values = dict(zip((*results[-1].names, "grad_norm"), rows.mean(0).tolist(), strict=True))
        samples, asvs = sum(r.samples for r in results), sum(r.asvs for r in results)
        return values | {
            "learning_rate": results[-1].rate,
            "samples_per_second": samples / seconds,
            "asvs_per_second": asvs / seconds,
        }
