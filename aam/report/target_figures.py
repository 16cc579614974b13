"""Figures of predictions, and of `aam explain`: leading ASVs, the check by deletion, the influence along the tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.stats import binomtest

from aam.evaluation.calibration import reliability_bins
from aam.inference.explain import DELETED_COUNTS, RANKING_LABELS, Explanation
from aam.inference.predictions import TRUE
from aam.report.figures import DASHED, HELD_OUT, OKABE_ITO, PAGE, TRAIN, PngFile, axis_limits, legend_label, open_figure

PARTS = (0, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8, 15 / 16, 31 / 32, 1)
"""Quantiles of the truth between which medians are drawn."""
LEAST_IN_PART = 5
"""Samples whose median is worth drawing."""
MOST_BARS = 150
"""Samples whose intervals are drawn one by one; of more they would be a wall."""
LEGEND_BELOW: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13), "ncols": 2, "fontsize": 9}
"""Where legends stand: on no sample."""
MOST_NUMBERED = 12
"""With more classes the cells of the confusion matrix hold no text."""
LEADING_ASVS = 20
"""ASVs that are drawn by name."""


def plot_numbers(table: pd.DataFrame, targets: Sequence[str], target: PngFile) -> None:
    """Predicted against true values with intervals, and residuals; one row of panels per target."""
    with open_figure(PAGE, 4.9 * len(targets), target) as figure:
        grid = figure.subplots(len(targets), 2, squeeze=False)
        for (left, right), name in zip(grid, targets, strict=True):
            known = table[table[f"{name}{TRUE}"].notna()]
            draw_against_truth(left, known, name)
            draw_residuals(right, known, name)


def draw_against_truth(axes: Axes, known: pd.DataFrame, name: str) -> None:
    """One point per sample with its interval, which is orange if the true value is outside of it."""
    true, found = known[f"{name}{TRUE}"].to_numpy(), known[name].to_numpy()
    ends = np.stack([known.get(f"{name}_{end}", known[name]).to_numpy() for end in ("lower", "upper")])
    ends = np.where(np.isfinite(ends), ends, found)
    inside = (ends[0] <= true) & (true <= ends[1]) | (ends[0] == ends[1])
    low, high = axis_limits(np.concatenate([true, found]))
    axes.plot([low, high], [low, high], **DASHED, zorder=3)
    many = len(known) > MOST_BARS
    if many:
        draw_band(axes, true, ends)
    for rows, colour, label in ((inside, TRAIN, "true value in its own interval"), (~inside, HELD_OUT, "not in it")):
        if not many:
            axes.vlines(true[rows], *ends[:, rows], color=colour, linewidth=0.8, alpha=0.25)
        looks: dict[str, Any] = {"s": 8 if many else 16, "color": colour, "edgecolors": "white", "linewidths": 0.3}
        axes.scatter(true[rows], found[rows], label=label, zorder=4, **looks)
    axes.set(xlim=(low, high), xlabel=f"true {legend_label(name)}", ylabel=f"predicted {legend_label(name)}")
    axes.set_title(f"{legend_label(name)}: {len(known):,} held-out samples")
    axes.legend(**LEGEND_BELOW, markerscale=1.4)


def draw_residuals(axes: Axes, known: pd.DataFrame, name: str) -> None:
    """Residuals (predicted - true) over the true values; a slope shows predictions biased to the mean."""
    true = known[f"{name}{TRUE}"].to_numpy()
    wrong = known[name].to_numpy() - true
    axes.axhline(0.0, **DASHED)
    axes.scatter(true, wrong, s=14, color=TRAIN, linewidths=0, alpha=0.5)
    parts = split_range(true)
    middle = np.array([(np.median(true[rows]), np.median(wrong[rows])) for rows in parts])
    axes.plot(*middle.T, color=HELD_OUT, linewidth=1.8, marker="o", markersize=4, label="median")
    if len(middle):  # the medians of the outermost parts, out to the ends
        for end, (inner, height) in ((true.min(), middle[0]), (true.max(), middle[-1])):
            axes.plot([inner, end], [height, height], color=HELD_OUT, linewidth=1.8)
    axes.set(xlabel=f"true {legend_label(name)}", ylabel=f"predicted less true {legend_label(name)}", title="Residuals")
    axes.legend(**LEGEND_BELOW)


def draw_band(axes: Axes, true: NDArray[np.float64], ends: NDArray[np.float64]) -> None:
    """The median interval of samples with like true values, out to the ends of the range; `ends` [2, N]."""
    parts = split_range(true)
    middle = np.array([np.median(true[rows]) for rows in parts])
    low, high = (np.array([np.median(end[rows]) for rows in parts]) for end in ends)
    x, low, high = (
        np.r_[true.min(), middle, true.max()],
        low[[0, *range(len(low)), -1]],
        high[[0, *range(len(high)), -1]],
    )
    axes.fill_between(x, low, high, color=TRAIN, alpha=0.15, linewidth=0, label="median interval")


def split_range(values: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Rows of each part of the range of values [N], in order: of few values one each, else `PARTS` of the samples.

    The parts at both ends are finer, because predictions are biased most there; each has `LEAST_IN_PART` samples,
    except where there are fewer in all.
    """
    own = np.unique(values)
    if len(own) <= len(PARTS) - 1:
        return [np.flatnonzero(values == value) for value in own]
    edges, count = [0], len(values)
    for part in PARTS[1:-1]:
        edge = round(part * count)
        if edge - edges[-1] >= LEAST_IN_PART and count - edge >= LEAST_IN_PART:
            edges.append(edge)
    return [rows for rows in np.split(np.argsort(values, kind="stable"), edges[1:]) if len(rows)]


def plot_classes(table: pd.DataFrame, name: str, classes: Sequence[str], target: PngFile) -> None:
    """Confusion matrix of the likeliest class, and calibration of the probabilities."""
    place = {label: number for number, label in enumerate(classes)}
    true, found = (table[column].map(place).to_numpy(np.int64) for column in (f"{name}{TRUE}", name))
    with open_figure(PAGE, 4.6, target) as figure:
        left, right = figure.subplots(1, 2)
        draw_confusion(left, np.histogram2d(true, found, bins=np.arange(len(classes) + 1))[0], classes)
        left.set(xlabel=f"predicted {legend_label(name)}", ylabel=f"true {legend_label(name)}")
        draw_calibration(right, reliability_bins(table[[f"p_{label}" for label in classes]].to_numpy(), true))


def draw_confusion(axes: Axes, counts: NDArray[np.float64], classes: Sequence[str]) -> None:
    """Draw the counts [C, C] of samples by true class (row) and predicted class (column), coloured by row share."""
    parts = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(parts, cmap="Blues", vmin=0.0, vmax=1.0)
    ticks = range(len(classes))
    labels = list(map(legend_label, classes))
    axes.set_xticks(ticks, labels, rotation=30 if max(map(len, labels)) > 6 else 0)
    axes.set_yticks(ticks, labels)
    axes.grid(visible=False)
    axes.set_title(f"{int(counts.sum()):,} held-out samples")
    if len(classes) > MOST_NUMBERED:
        return
    for row in ticks:
        for column in ticks:
            ink = "white" if parts[row, column] > 0.55 else "#333333"
            words = f"{int(counts[row, column]):,}\n{parts[row, column]:.0%}"
            axes.text(column, row, words, ha="center", va="center", color=ink, fontsize=9)


def draw_calibration(axes: Axes, bins: NDArray[np.float64]) -> None:
    """Accuracy over confidence, bins [n, 3] of `reliability_bins`, with 95 % Wilson intervals."""
    confidence, accuracy, samples = bins.T
    ends = [binomtest(round(right * count), int(count)).proportion_ci(method="wilson") for _, right, count in bins]
    axes.plot([0, 1], [0, 1], **DASHED)
    axes.vlines(confidence, [end.low for end in ends], [end.high for end in ends], color=TRAIN, linewidth=1.2)
    axes.scatter(confidence, accuracy, s=20 + 180 * samples / samples.sum(), color=TRAIN, zorder=3)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="probability of the likeliest class", ylabel="part that is right")
    axes.set_title("Calibration")
    axes.set_aspect("equal")


def plot_explanation(
    found: Explanation, names: Sequence[str], tree_order: NDArray[np.int64] | None, target: PngFile
) -> None:
    """Draw an explanation of ASVs `names`; `tree_order` [U]: the place of each among the leaves, if there is a tree."""
    heights = [3] if tree_order is None else [3, 1]
    with open_figure(PAGE, 4.4 + 2.0 * len(heights), target) as figure:
        grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
        draw_leading_asvs(figure.add_subplot(grid[0, 0]), found, names)
        draw_deletion_check(figure.add_subplot(grid[0, 1]), found)
        if tree_order is not None:
            draw_along_tree(figure.add_subplot(grid[1, :]), found, tree_order)


def draw_leading_asvs(axes: Axes, found: Explanation, names: Sequence[str]) -> None:
    """Bars of the ASVs with the largest share, numbered as in the table; colour: sign of the influence."""
    top = found.order()[:LEADING_ASVS][::-1]
    colours = [OKABE_ITO[0] if found.attribution[row] < 0 else OKABE_ITO[4] for row in top]
    axes.barh(range(len(top)), 100 * found.share[top], color=colours)
    labels = [f"{names[row]} {rank:>2}" for rank, row in zip(range(len(top), 0, -1), top, strict=True)]
    axes.set_yticks(range(len(top)), labels, fontsize=7.5, family="DejaVu Sans Mono")
    axes.set(xlabel="share of the influence, %", title="Leading ASVs (orange raises, blue lowers)")
    axes.grid(visible=False, axis="y")


def draw_deletion_check(axes: Axes, found: Explanation) -> None:
    """Change of the output when ASVs are deleted, by ranking."""
    some = found.deleted_samples > 0
    colours = (OKABE_ITO[4], OKABE_ITO[2], OKABE_ITO[0], "#888888")
    for name, colour, changes in zip(RANKING_LABELS, colours, found.deletion[:, some], strict=True):
        axes.plot(np.array(DELETED_COUNTS)[some], changes, marker="o", markersize=4, color=colour, label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(DELETED_COUNTS, [str(count) for count in DELETED_COUNTS])
    axes.set(xlabel="ASVs deleted from a sample", ylabel="mean change of the output", title="Check by deletion")
    axes.set_ylim(0, None)
    axes.legend(title="chosen by")


def draw_along_tree(axes: Axes, found: Explanation, tree_order: NDArray[np.int64]) -> None:
    """Share of each ASV at its place among the leaves: neighbours are relatives."""
    axes.vlines(tree_order, 0, 100 * found.share, color=OKABE_ITO[0], linewidth=1.0)
    axes.set(xlabel="ASVs in the order of the tree", ylabel="share, %", title="Where on the tree", ylim=(0, None))
