"""Errors of predicted tree distances between tips, by how far apart the tips are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

EDGES = (0.0, 0.02, 0.05, 0.1, 0.3, np.inf)
"""Bounds of the bins, in the units of the reference tree (substitutions per site)."""
BINS = ("to_0.02", "to_0.05", "to_0.1", "to_0.3", "above_0.3")
BIN_LABELS = ("0 to 0.02", "0.02 to 0.05", "0.05 to 0.1", "0.1 to 0.3", "above 0.3")
TIP_SETS = {"reference_tips": "tips held out", "reference_genera": "tips of genera held out"}
"""Prefixes of the metrics, and what they are about."""


def distance_errors(predicted: NDArray[np.floating], true: NDArray[np.floating]) -> dict[str, float]:
    """Errors of predicted distances [n]: `r2` of all, and for each bin of true distances `mae_BIN` and `pairs_BIN`.

    `pairs_BIN` is the number of distances in a bin; empty bins are left out. A distance on a bound of two bins belongs
    to the lower one.
    """
    error = np.asarray(predicted, np.float64) - true
    spread = np.square(true - true.mean()).sum()
    found = {"r2": float(1 - np.square(error).sum() / spread)} if spread > 0 else {}
    places = np.searchsorted(EDGES[1:-1], true)
    for place, name in enumerate(BINS):
        some = places == place
        if some.any():
            found |= {f"mae_{name}": float(np.abs(error[some]).mean()), f"pairs_{name}": float(some.sum())}
    return found


def error_rows(metrics: Mapping[str, Any]) -> list[list[str]]:
    """Cells of a table: mean absolute error by bin and R2 of each set of tips; no rows without a reference."""
    rows = []
    for prefix, label in TIP_SETS.items():
        if any(name.startswith(f"{prefix}_") for name in metrics):
            errors = [metrics.get(f"{prefix}_mae_{name}") for name in BINS]
            r2 = metrics.get(f"{prefix}_r2")
            cells = ["" if error is None else f"{error:.4f}" for error in errors]
            rows.append([label, *cells, "" if r2 is None else f"{r2:.3f}"])
    return rows
