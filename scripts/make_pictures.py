#!/usr/bin/env python3
"""Draw the pictures of placement in docs/images: a tree by phylum, UniFrac against that of SEPP, an ordination.

    python scripts/make_pictures.py                                 of the embedded example
    python scripts/make_pictures.py --study FOLDER --depth 2000 --color month_of_life --only mom_child C

A study is a folder with table.biom, tree.nwk and metadata.tsv. The pictures of the pages are of Bokulich et al. 2016
(Qiita 10249, 741 samples) by the second command; nothing of it was in what the placement has learned from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, to_rgba
from matplotlib.lines import Line2D
from numpy.typing import NDArray

import aam
from aam.datasets import Example, example
from aam.evaluation.metrics import pair_scores, upper_triangle
from aam.evaluation.ordination import pcoa
from aam.observer import Observer
from aam.phylogeny.tree import Tree
from aam.report.figures import DASHED, OTHER, axis_limits, choose_class_looks, draw_numbers, open_figure
from aam.workflows.any_distance import any_distance
from aam.workflows.distance import Distances

IMAGES = Path(__file__).parents[1] / "docs" / "images"
METRICS = {"unweighted": "unweighted UniFrac", "weighted_normalized": "weighted normalised UniFrac"}
FEW = 0.01
"""Phyla with a smaller share of the ASVs are drawn as others."""


@dataclass(frozen=True)
class Study:
    """A study with a tree of its own, of which `depth` reads a sample are drawn.

    `column` of its metadata has numbers, of which those count whose sample has the value `only[1]` in column `only[0]`.
    """

    files: Example
    column: str
    depth: str
    only: tuple[str, str] | None

    @cached_property
    def placed(self) -> Any:
        """Its ASVs, placed on the reference that ships."""
        return aam.place(self.files.table)

    def distances(self, metric: str) -> Distances:
        """UniFrac on the placed ASVs, and on its own tree."""
        asked = {"table": self.files.table, "tree": self.files.tree, "metric": metric, "rarefy_depth": self.depth}
        return any_distance(None, asked, False, Observer())

    @cached_property
    def unifracs(self) -> dict[str, Distances]:
        """By metric."""
        return {metric: self.distances(metric) for metric in METRICS}


def draw_tree(axes: Axes, tree: Tree, phyla: pd.Series) -> None:
    """The tree with a colour for each branch all of whose tips are of one phylum; `phyla` is by tip name."""
    named = phyla.reindex(list(tree.tip_names)).fillna("")
    share = named.value_counts(normalize=True)
    looks = choose_class_looks(named.where(named.map(share) > FEW, ""))
    depth = np.zeros(len(tree.parent))
    for node in reversed(range(len(tree.parent) - 1)):  # the root is last
        depth[node] = depth[tree.parent[node]] + tree.length[node]
    height = (tree.first + tree.last - 1) / 2
    colours: NDArray[Any] = np.tile(to_rgba("#BBBBBB"), (len(depth), 1))
    for phylum, (colour, _) in looks.items():
        before = np.concatenate([[0], np.cumsum(named == phylum)])
        if phylum:
            colours[before[tree.last] - before[tree.first] == tree.last - tree.first] = to_rgba(colour)
    start = depth[tree.parent]
    across = np.stack([np.stack([start, height], 1), np.stack([depth, height], 1)], 1)[:-1]
    along = np.stack([np.stack([start, height[tree.parent]], 1), np.stack([start, height], 1)], 1)[:-1]
    for lines in (along, across):
        axes.add_collection(LineCollection(list(lines), colors=list(colours[:-1]), linewidths=0.6))
    axes.set(xlim=(0, depth.max() * 1.02), ylim=(-1, len(named)), yticks=[], xlabel="distance from the root")
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    shown = {phylum: colour for phylum, (colour, _) in looks.items() if phylum} | {"other phyla": OTHER}
    handles = [Line2D([], [], color=colour, linewidth=3, label=phylum) for phylum, colour in shown.items()]
    axes.legend(handles=handles, loc="upper left", fontsize=8, frameon=True, edgecolor="none", framealpha=0.8)


def draw_pairs(axes: Axes, found: Distances, label: str) -> None:
    """UniFrac of each pair of samples by placement against that of the tree of the study."""
    assert found.unifrac is not None and found.true_unifrac is not None
    predicted, true = upper_triangle(found.unifrac.data), upper_triangle(found.true_unifrac.data)
    low, high = axis_limits(np.concatenate([predicted, true]))
    axes.hexbin(true, predicted, gridsize=60, extent=(low, high, low, high), mincnt=1, norm=LogNorm(), linewidths=0.1)
    axes.plot([low, high], [low, high], **DASHED)
    scores = pair_scores(predicted, true)
    text = f"R² {scores.r2:.3f}, r {scores.pearson:.4f}\n{len(true):,} pairs"
    axes.text(0.04, 0.96, text, transform=axes.transAxes, va="top")
    axes.set(xlim=(low, high), ylim=(low, high), xlabel=f"{label}, tree by SEPP", ylabel="by placement")
    axes.set_aspect("equal")


def draw_ordination(axes: Axes, study: Study) -> None:
    """Principal coordinates of weighted UniFrac by placement, coloured by the column of the metadata."""
    found = study.unifracs["weighted_normalized"].unifrac
    assert found is not None
    ordination = pcoa(found.data, list(found.ids), dimensions=2)
    metadata = pd.read_csv(study.files.metadata, sep="\t", dtype={"sample-id": str}, index_col="sample-id")
    column = pd.to_numeric(metadata[study.column], errors="coerce").reindex(ordination.ids)
    if study.only is not None:
        column = column.where(metadata[study.only[0]].reindex(ordination.ids) == study.only[1])
    values = [None if np.isnan(value) else float(value) for value in column]
    draw_numbers(axes, ordination.coordinates.T, values, (column.min(), column.max()))
    label = study.column.replace("_", " ")
    axes.figure.colorbar(axes.collections[-1], ax=axes, label=label, shrink=0.8, pad=0.02)
    shares = ordination.explained
    axes.set(xlabel=f"PC1 ({shares[0]:.0%})", ylabel=f"PC2 ({shares[1]:.0%})", xticks=[], yticks=[])


def phyla_of(study: Study) -> pd.Series:
    """The likeliest phylum of each ASV."""
    names: pd.Series = study.placed.ranks["phylum"]
    return names.str.removeprefix("p__")


def draw_all(study: Study, folder: Path) -> None:
    """Write overview.png, placed-tree.png and placed-unifrac.png."""
    tree, phyla = study.placed.insertion, phyla_of(study)
    with open_figure(13.0, 4.3, folder / "overview.png") as figure:
        row = figure.subplots(1, 3, width_ratios=(1, 1, 1.2))
        draw_tree(row[0], tree, phyla)
        draw_pairs(row[1], study.unifracs["unweighted"], METRICS["unweighted"])
        draw_ordination(row[2], study)
        titles = (
            f"Tree and phyla of {len(tree.tip_names):,} ASVs",
            "UniFrac without SEPP",
            "Ordination of the samples",
        )
        for axes, title in zip(row, titles, strict=True):
            axes.set_title(title)
    with open_figure(7.0, 7.0, folder / "placed-tree.png") as figure:
        draw_tree(figure.subplots(), tree, phyla)
    with open_figure(9.5, 4.8, folder / "placed-unifrac.png") as figure:
        for axes, (metric, label) in zip(figure.subplots(1, 2), METRICS.items(), strict=True):
            draw_pairs(axes, study.unifracs[metric], label)


@click.command()
@click.option("--study", type=click.Path(path_type=Path, exists=True), help="Folder; default: the embedded example.")
@click.option("--color", default="age_months", show_default=True, help="Column of the metadata, of numbers.")
@click.option("--only", nargs=2, help="Column and value of the samples that are coloured; others are grey.")
@click.option("--depth", default="none", show_default=True, help="Reads drawn of each sample.")
@click.option("--output", type=click.Path(path_type=Path), default=IMAGES, help="Folder to write to.")
def main(study: Path | None, color: str, only: tuple[str, str] | None, depth: str, output: Path) -> None:
    """Draw the pictures of placement."""
    files = (
        example() if study is None else Example(*(study / name for name in ("table.biom", "tree.nwk", "metadata.tsv")))
    )
    draw_all(Study(files, color, depth, only), output)


if __name__ == "__main__":
    main()
