"""The figure of `aam explain` for a model on clades: the leading clades and ASVs, and what deleting them changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aam.report.figures import OKABE_ITO, PAGE, PngFile, open_figure

LEADING = 20
"""Lines that are drawn."""


def plot_clade_drivers(
    names: Sequence[str],
    share: NDArray[np.float64],
    attribution: NDArray[np.float64],
    change: NDArray[np.float64],
    target: PngFile,
) -> None:
    """Share of the influence, coloured by its sign, and change of the output by deletion, of the leading lines [L]."""
    count = min(LEADING, len(names))
    place = np.arange(count)[::-1]
    with open_figure(PAGE, 1.6 + 0.24 * max(count, 8), target) as figure:
        left, right = figure.subplots(1, 2, sharey=True)
        colours = [OKABE_ITO[0] if value < 0 else OKABE_ITO[4] for value in attribution[:count]]
        left.barh(place, 100 * share[:count], color=colours)
        labels = [f"{name} {rank:>2}" for rank, name in enumerate(names[:count], start=1)]
        left.set_yticks(place, labels, fontsize=7.5, family="DejaVu Sans Mono")
        left.set(xlabel="share of the influence, % (orange raises, blue lowers)", title="Leading clades and ASVs")
        right.barh(place, np.nan_to_num(change[:count]), color="#888888")
        right.axvline(0.0, color="#333333", linewidth=0.8)
        right.set(xlabel="mean change of the output", title="If their reads are taken out")
        for axes in (left, right):
            axes.grid(visible=False, axis="y")
