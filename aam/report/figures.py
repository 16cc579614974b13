"""Figures of a run in one style. They do not use pyplot, so no figure stays open and no display is needed.

Colours are those of Okabe and Ito, which colour-blind readers can distinguish, or viridis for numbers.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aam.evaluation.metrics import PAIR_LABELS, UNIFRAC_LABELS, known_pairs, pair_cells
from aam.evaluation.ordination import Ordination
from aam.spelling import number_of
from aam.text import shorten

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#333333")
TRAIN, HELD_OUT, OTHER, MISSING = "#0072B2", "#D55E00", "#8C8C8C", "#C8C8C8"
STYLE = Path(__file__).parent / "templates" / "figures.mplstyle"
DPI = 150
PAGE = 10.0
"""Inches: the widest figure whose letters a report shows in full size."""
FEW_PAIRS = 3000
"""Up to this many pairs are drawn as points, more as hexagons coloured by how many fall in them."""
LABEL = 32
"""Characters of a label; more leave no room for what is drawn."""
DASHED: dict[str, Any] = {"color": "#333333", "linewidth": 1.2, "linestyle": (0, (4, 3))}
"""Of the line on which predictions would lie that are right."""
DOT: dict[str, Any] = {"s": 24, "edgecolors": "#4D4D4D", "linewidths": 0.4}
"""The edge tells light colours from the paper."""

PngFile = Path | BinaryIO
Looks = dict[str | None, tuple[str, str]]
"""Class, None where there is none -> its colour and its text in the legend."""


def plot_unifrac(
    predicted: NDArray[np.floating], true: NDArray[np.floating], metrics: Mapping[str, Any], target: PngFile
) -> None:
    """Predicted against true distance of each pair of held-out samples [N, N], the scores of the baselines beneath.

    `metrics` are those of metrics.json: `unifrac_*` and `baseline_jaccard_*`, `baseline_upgma_*` with r2, mae and
    pearson, or `baseline_*_skipped` with the reason. Missing ones are shown as a dash.
    """
    found, truth = known_pairs(predicted, true), known_pairs(true, true)
    low, high = axis_limits(np.concatenate([found, truth]))
    with open_figure(7.0, 7.0, target) as figure:
        figure.set_layout_engine("none")  # table and scatter are to share their edges, whatever stands beside them
        axes, caption = figure.add_axes((0.12, 0.24, 0.71, 0.71)), figure.add_axes((0.12, 0.01, 0.71, 0.14))
        if len(truth) <= FEW_PAIRS:
            axes.scatter(truth, found, s=12, color=TRAIN, alpha=0.4, linewidths=0)
        else:
            extent = (low, high, low, high)
            cells = axes.hexbin(truth, found, gridsize=70, extent=extent, mincnt=1, norm=LogNorm(), linewidths=0.1)
            bar = figure.add_axes((0.85, 0.3, 0.03, 0.59))
            figure.colorbar(cells, cax=bar, label="pairs of samples", format="{x:,.0f}")
        axes.plot([low, high], [low, high], **DASHED)
        axes.set(xlim=(low, high), ylim=(low, high), xlabel="true UniFrac", ylabel="predicted UniFrac")
        axes.set_title(f"UniFrac of {len(truth):,} held-out pairs ({len(true):,} samples)")
        _score_table(caption, metrics)


def plot_pcoa(panels: Mapping[str, Ordination], values: Mapping[str, Any], label: str, target: PngFile) -> None:
    """First two principal coordinates of one or several matrices side by side, coloured by a metadata column.

    `panels` maps titles to ordinations; `values` maps sample ids to numbers (then a colour bar) or to classes (then a
    legend of the seven most frequent, the rest together); samples without a value, None or NaN, are grey.
    """
    known = {name: value for name, value in values.items() if _present(value)}
    numeric = bool(known) and all(isinstance(value, Real) and not isinstance(value, bool) for value in known.values())
    looks = {} if numeric else choose_class_looks(map(str, known.values()))
    side, beside = min(4.4, (PAGE - 1.4) / len(panels)), 1.4  # a legend or a colour bar stands beside
    with open_figure(side * len(panels) + beside, side + 0.2, target) as figure:
        row = figure.subplots(1, len(panels), squeeze=False)[0]
        for axes, (title, ordination) in zip(row, panels.items(), strict=True):
            points = np.pad(ordination.coordinates, ((0, 0), (0, 1)))[:, :2].T  # of a single axis the second is 0
            of_sample = [known.get(name) for name in ordination.ids]
            if numeric:
                draw_numbers(axes, points, of_sample, (min(known.values()), max(known.values())))
            else:
                draw_classes(axes, points, of_sample, looks)
            shares = [*ordination.explained, 0.0][:2]
            axes.set(xlabel=f"PC1 ({shares[0]:.1%})", ylabel=f"PC2 ({shares[1]:.1%})", title=title)
            axes.set_aspect("equal", adjustable="datalim")
            axes.set(xticks=[], yticks=[])  # an axis has no unit; only distances between points mean something
        if numeric:
            figure.colorbar(row[0].collections[-1], ax=list(row), label=legend_label(label), shrink=0.85, pad=0.02)
        elif known:
            handles, names = row[0].get_legend_handles_labels()
            place: dict[str, Any] = {"loc": "outside right upper", "markerscale": 1.6, "alignment": "left"}
            figure.legend(handles, names, title=legend_label(label), **place)


def draw_numbers(axes: Axes, points: NDArray, values: Sequence[float | None], bounds: tuple[float, float]) -> None:
    """Points [2, N] coloured by numbers [N] between these bounds; those without one are grey."""
    (x, y), has = points, np.array([value is not None for value in values])
    axes.scatter(x[~has], y[~has], s=18, color=MISSING, linewidths=0)
    shade = [float(value) for value in values if value is not None]
    axes.scatter(x[has], y[has], c=shade, vmin=bounds[0], vmax=bounds[1], **DOT)


def draw_classes(axes: Axes, points: NDArray, values: Sequence[Any], looks: Looks) -> None:
    """Points [2, N] coloured by class [N]; what is later in the legend is further back in the picture."""
    (x, y), texts = points, np.array([looks[None if value is None else str(value)][1] for value in values])
    for order, (colour, text) in enumerate(dict.fromkeys(looks.values())):
        here = texts == text
        if here.any():
            axes.scatter(x[here], y[here], color=colour, label=legend_label(text), zorder=3 - order / 10, **DOT)


def choose_class_looks(labels: Iterable[str]) -> Looks:
    """Colour of each of the most frequent classes, in order of their names; the other classes share one colour."""
    frequent = [kind for kind, _ in Counter(labels).most_common()]
    named = frequent if len(frequent) <= len(OKABE_ITO) else frequent[: len(OKABE_ITO) - 1]
    named = sorted(named, key=_natural)  # in every figure of a column the same colours
    others = [kind for kind in frequent if kind not in named]
    looks: Looks = {kind: (colour, kind) for kind, colour in zip(named, OKABE_ITO, strict=False)}
    return looks | {kind: (OTHER, f"{len(others)} others") for kind in others} | {None: (MISSING, "no value")}


@contextmanager
def open_figure(width: float, height: float, target: PngFile) -> Iterator[Figure]:
    """Yield an empty figure of `width` x `height` inches in `STYLE`; written as PNG when the block ends."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()  # a matplotlibrc of the user may ask for LaTeX, or for fonts that are not there
        matplotlib.rc_file(STYLE, use_default_template=False)
        # Names in other scripts are drawn as boxes, and stand whole in the tables.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        yield figure
        canvas.print_png(target)  # lays the figure out and draws it once; `savefig` draws it twice


def legend_label(name: str) -> str:
    """A name as a legend label: shortened, and without leading underscore, because matplotlib omits such labels."""
    text = shorten(name, LABEL)
    return f" {text}" if text.startswith("_") else text


def axis_limits(values: NDArray) -> tuple[float, float]:
    """Common limits of both axes of a scatter plot: the range of the values [n] with a margin."""
    margin = max(0.03 * float(np.ptp(values)), 1e-3)
    return float(values.min()) - margin, float(values.max()) + margin


def _score_table(axes: Axes, metrics: Mapping[str, Any]) -> None:
    """The model's metrics above those of the baselines, in columns."""
    axes.set_axis_off()
    rows = [("", list(PAIR_LABELS.values()))]
    for key in ("unifrac", "baseline_upgma", "baseline_jaccard"):
        skipped = f"{key}_skipped" in metrics
        rows.append((UNIFRAC_LABELS[key], ["", "", "not computed"] if skipped else pair_cells(metrics, key)))
    for place, (label, cells) in enumerate(rows):
        look: dict[str, Any] = {"va": "top", "transform": axes.transAxes, "color": "#666666" if place == 0 else "black"}
        look["fontweight"] = "bold" if place == 1 else "normal"
        for x, text in zip((0.0, 0.62, 0.8, 1.0), (label, *cells), strict=True):
            axes.text(x, 1.0 - 0.27 * place, text, ha="right" if x else "left", **look)


def _natural(name: str) -> tuple[float, str]:
    """Numbers by size, before words."""
    number = number_of(name)
    return math.inf if math.isnan(number) else number, name


def _present(value: Any) -> bool:
    return value is not None and value == value and str(value) != ""  # NaN is not equal to itself
