"""The figure of `aam explain`: the leading ASVs, the check by deletion, and where on the tree the influence lies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from aam.evaluation.explain import DELETED, RANKINGS, Explanation
from aam.evaluation.plots import OKABE_ITO, PAGE, PngFile, drawing
from aam.wording import cut

TOP = 20
"""ASVs that are drawn by name."""
NAME = 18
"""Characters of a name; ids that are sequences are longer."""


def plot_explanation(
    found: Explanation, names: Sequence[str], tree_order: NDArray[np.int64] | None, target: PngFile
) -> None:
    """Draw an explanation of ASVs `names`; `tree_order` [U]: the place of each among the leaves, if there is a tree."""
    with drawing(PAGE, 6.4 if tree_order is None else 8.4, target) as figure:
        grid = figure.add_gridspec(
            1 if tree_order is None else 2, 2, height_ratios=[3] if tree_order is None else [3, 1]
        )
        leading(figure.add_subplot(grid[0, 0]), found, names)
        check(figure.add_subplot(grid[0, 1]), found)
        if tree_order is not None:
            along_the_tree(figure.add_subplot(grid[1, :]), found, tree_order)


def leading(axes: Axes, found: Explanation, names: Sequence[str]) -> None:
    """Bars of the ASVs with the largest share, numbered as in the table; the colour says which way they push."""
    top = found.order()[:TOP][::-1]
    colours = [OKABE_ITO[0] if found.attribution[row] < 0 else OKABE_ITO[4] for row in top]
    axes.barh(range(len(top)), 100 * found.share[top], color=colours)
    short = [cut(names[row], NAME) for row in top]
    labels = [f"{name} {rank:>2}" for rank, name in zip(range(len(top), 0, -1), short, strict=True)]  # of one primer
    axes.set_yticks(range(len(top)), labels, fontsize=7.5, family="DejaVu Sans Mono")
    axes.set(xlabel="share of the influence, %", title="Leading ASVs (orange raises, blue lowers)")
    axes.grid(visible=False, axis="y")


def check(axes: Axes, found: Explanation) -> None:
    """How far the output moves when ASVs are deleted, by each ranking."""
    some = found.deleted_samples > 0
    for row, (name, colour) in enumerate(
        zip(RANKINGS, (OKABE_ITO[4], OKABE_ITO[2], OKABE_ITO[1], "#888888"), strict=True)
    ):
        axes.plot(
            np.array(DELETED)[some], found.deletion[row, some], marker="o", markersize=4, color=colour, label=name
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(DELETED, [str(count) for count in DELETED])
    axes.set(
        xlabel="ASVs deleted from a sample",
        ylabel="mean change of the output",
        title="Check by deletion",
        ylim=(0, None),
    )
    axes.legend(title="chosen by")


def along_the_tree(axes: Axes, found: Explanation, tree_order: NDArray[np.int64]) -> None:
    """Share of each ASV at its place among the leaves: neighbours are relatives."""
    axes.vlines(tree_order, 0, 100 * found.share, color=OKABE_ITO[0], linewidth=1.0)
    axes.set(xlabel="ASVs in the order of the tree", ylabel="share, %", title="Where on the tree", ylim=(0, None))
