"""Training curves of a run or of its folds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from aam.report.digits import three_digits
from aam.report.figures import HELD_OUT, PAGE, TRAIN, PngFile, open_figure

Log = Sequence[Mapping[str, Any]]


class Panel(NamedTuple):
    """One small multiple: its title and the value of the log it shows.

    `log` allows a logarithmic axis; `floor` is the lowest value worth showing of curves that end above it.
    """

    title: str
    name: str
    log: bool = True
    floor: float | None = None


PANELS = (
    Panel("Total loss", "loss"),
    Panel("UniFrac, latent tree: loss", "unifrac"),
    Panel("UniFrac, embedding: loss", "euclidean"),
    Panel("Masked bases: loss", "nucleotide"),
    Panel("Tree distances: loss", "patristic"),
    Panel("Hidden ASVs: loss", "masked_asv"),
    Panel("Hidden abundances: loss", "count"),
    Panel("Faith's PD: loss", "faith_pd"),
    Panel("Reference, tree distances: loss", "reference_patristic"),
    Panel("Reference, masked bases: loss", "reference_nucleotide"),
    Panel("Reference tips: R² of distances", "reference_tips_r2", False, -0.1),
    Panel("Reference tips: error below 0.02", "reference_tips_mae_to_0.02"),
    Panel("Reference genera: R² of distances", "reference_genera_r2", False, -0.1),
    Panel("UniFrac: R²", "unifrac_r2", False, -0.1),
    Panel("UniFrac: absolute error", "unifrac_mae"),
    Panel("UniFrac by embedding: R²", "euclidean_r2", False, -0.1),
    Panel("Masked bases: accuracy", "nucleotide_accuracy", False),
    Panel("Mean absolute error", "mae"),
    Panel("R²", "r2", False, -0.1),
    Panel("Balanced accuracy", "balanced_accuracy", False),
    Panel("Macro F1", "macro_f1", False),
    Panel("Gradient norm before clipping", "grad_norm"),
    Panel("Learning rate", "learning_rate", False),
    Panel("Samples per second", "samples_per_second", False),
)
"""The panels of a figure, in this order, as far as the log holds it; other values stay in the log."""


def plot_curves(logs: Sequence[Log], target: PngFile) -> None:
    """Draw the logs of a run, or of its folds: one small panel per term, with training and held-out samples.

    A record holds `kind` ("train" or "validation"), `step` and values by name; those that are not finite are left out.
    Where a step stands twice, as after a resumption, the later record counts. The number in a panel's corner is the
    last held-out value, the mean over the folds. `target` is a path or a binary file; it receives PNG.
    """
    records = [record for log in logs for record in log]
    panels = [panel for panel in PANELS if any(panel.name in record for record in records)]
    columns = min(3, max(len(panels), 1))
    rows = max(math.ceil(len(panels) / columns), 1)
    with open_figure(PAGE / 3 * columns, 2.4 * rows + 0.6, target) as figure:
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        last = max([1, *(record["step"] for record in records)])
        for axes, panel in zip(grid, panels, strict=False):
            draw_panel(axes, panel, logs)
            axes.set_xlim(-0.02 * last, 1.02 * last)
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        figure.supxlabel("optimiser step", fontsize=11)
        handles = [
            grid[0].plot([], [], color=colour, linewidth=2.5, label=label)[0]
            for colour, label in ((TRAIN, "training"), (HELD_OUT, "held-out samples"))
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=2, fontsize=11)


def draw_panel(axes: Axes, panel: Panel, logs: Sequence[Log]) -> None:
    """The curves of one value; of several folds each is thinner, and what lies behind the smoothing is left out."""
    lines, ends, width = [], [], 1.8 if len(logs) == 1 else 1.0
    for log in logs:
        steps, values = curve_points(log, "train", panel.name)
        if len(steps):
            if len(logs) == 1:
                axes.plot(steps, values, color=TRAIN, linewidth=0.8, alpha=0.25)
            axes.plot(steps, smooth(values), color=TRAIN, linewidth=width)
            lines.append(smooth(values))
        steps, values = curve_points(log, "validation", panel.name)
        if len(steps):
            axes.plot(steps, values, color=HELD_OUT, linewidth=width, marker="o", markersize=2 * width)
            lines.append(values)
            ends.append(values[-1])
    if ends:
        axes.set_title(
            three_digits(float(np.mean(ends))), loc="right", y=1.0, color=HELD_OUT, fontsize=10, fontweight="normal"
        )
    if lines:
        scale_axis(axes, lines, panel)
    axes.set_title(panel.title, y=1.0, fontsize=10)  # nothing above the axis: the search for a free place costs a third
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def scale_axis(axes: Axes, lines: Sequence[NDArray], panel: Panel) -> None:
    """A logarithmic axis for positive values over a factor of ten or more.

    Values below the floor are cut off if all curves end above it.
    """
    values, lowest_end = np.concatenate(lines), min(line[-1] for line in lines)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    low, high = values.min(), values.max()
    if panel.log and low > 0 and high / low >= 10:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 100 else (1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif panel.floor is not None and lowest_end > panel.floor > low:
        axes.set_ylim(panel.floor, high + 0.05 * (high - panel.floor))
    axes.yaxis.set_major_formatter("{x:g}")


def curve_points(records: Log, kind: str, name: str) -> tuple[NDArray, NDArray]:
    """Steps [n] and finite values [n] of one curve, by step."""
    points = {record["step"]: record[name] for record in records if record.get("kind") == kind and name in record}
    steps = [step for step in sorted(points) if points[step] is not None and math.isfinite(points[step])]
    return np.array(steps), np.array([points[step] for step in steps], dtype=np.float64)


def smooth(values: NDArray) -> NDArray:
    """Centred running mean [n] over a 25th of the curve [n], narrower at its ends."""
    window = np.ones(max(len(values) // 25, 1))
    return np.convolve(values, window, "same") / np.convolve(np.ones_like(values), window, "same")
