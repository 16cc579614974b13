"""What of a run's log is worth a curve: which values, in which order, and how they are thinned of noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Panel(NamedTuple):
    """One small multiple: its title and the value of the log it shows.

    `log` allows a logarithmic axis; `floor` is the lowest value worth showing once the curve has risen above it.
    """

    title: str
    name: str
    log: bool = True
    floor: float | None = None


PANELS = (
    Panel("Total loss", "loss"),
    Panel("UniFrac, latent tree: loss", "unifrac"),
    Panel("UniFrac, embedding: loss", "euclidean"),
    Panel("Masked nucleotides: loss", "nucleotide"),
    Panel("Tree distances of ASVs: loss", "patristic"),
    Panel("Hidden ASVs: loss", "masked_asv"),
    Panel("Hidden abundances: loss", "count"),
    Panel("Faith's PD: loss", "faith_pd"),
    Panel("UniFrac: R²", "unifrac_r2", False, -0.1),
    Panel("UniFrac: mean absolute error", "unifrac_mae"),
    Panel("UniFrac by embedding: R²", "euclidean_r2", False, -0.1),
    Panel("Masked nucleotides: accuracy", "nucleotide_accuracy", False),
    Panel("Gradient norm before clipping", "grad_norm"),
    Panel("Learning rate", "learning_rate", False),
    Panel("Samples per second", "samples_per_second", False),
)
"""The panels of a figure, in this order, as far as the log holds it; other values stay in the log."""


def series(records: Sequence[Mapping[str, Any]], kind: str, name: str) -> tuple[NDArray, NDArray]:
    """Steps and finite values of one curve, by step."""
    points = {record["step"]: record[name] for record in records if record.get("kind") == kind and name in record}
    steps = [step for step in sorted(points) if points[step] is not None and math.isfinite(points[step])]
    return np.array(steps), np.array([points[step] for step in steps], dtype=np.float64)


def smoothed(values: NDArray) -> NDArray:
    """Centred running mean over a 25th of the curve, narrower at its ends."""
    window = np.ones(max(len(values) // 25, 1))
    return np.convolve(values, window, "same") / np.convolve(np.ones_like(values), window, "same")
