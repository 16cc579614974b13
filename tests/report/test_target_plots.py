"""Figures of predictions: they draw what the table says, whatever is missing in it."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.image import imread

from aam.evaluation.calibration import reliability_bins
from aam.report.figures import HELD_OUT, TRAIN
from aam.report.target_figures import (
    MOST_BARS,
    draw_against_truth,
    draw_residuals,
    plot_classes,
    plot_numbers,
    split_range,
)

RNG = np.random.default_rng(0)


def pixels_of(picture: io.BytesIO, colour: str) -> int:
    """Pixels that are about this colour."""
    image = imread(io.BytesIO(picture.getvalue()))
    wanted = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return int((np.abs(image[:, :, :3] - wanted).max(axis=2) < 0.02).sum())


def numbers(error: float) -> pd.DataFrame:
    true = RNG.uniform(0, 10, 40)
    found = true + error
    return pd.DataFrame({"age": found, "age_lower": found - 1, "age_upper": found + 1, "age_true": true})


def drawn(table: pd.DataFrame, targets: list[str]) -> io.BytesIO:
    target = io.BytesIO()
    plot_numbers(table, targets, target)
    return target


def test_truths_outside_of_their_intervals_have_the_other_colour():
    median = pixels_of(drawn(numbers(0.0), ["age"]), HELD_OUT)  # the line of medians and the legend
    assert pixels_of(drawn(numbers(3.0), ["age"]), HELD_OUT) > median + 500


def test_several_targets_with_missing_values_and_intervals_without_end():
    table = numbers(0.5).assign(weight=3.0, weight_true=[np.nan] * 20 + [2.0] * 20)
    table[["age_lower", "age_upper"]] = [-np.inf, np.inf]
    assert pixels_of(drawn(table, ["age", "weight"]), TRAIN) > 1000


def test_confusion_and_calibration_of_classes():
    chance = RNG.dirichlet(np.ones(3), 60)
    names = np.array(["1.10", "00123", "late onset"])
    table = pd.DataFrame({f"p_{name}": chance[:, place] for place, name in enumerate(names)})
    table = table.assign(kind=names[chance.argmax(axis=1)], kind_true=names[RNG.integers(0, 3, 60)])
    target = io.BytesIO()
    plot_classes(table, "kind", list(names), target)
    assert pixels_of(target, TRAIN) > 500


def test_any_name_can_be_a_class():
    names = ["_low", "$10 to $20_{", "Größe 女", "x" * 300]
    table = pd.DataFrame({f"p_{name}": 0.25 for name in names}, index=range(40))
    table = table.assign(**{"$y$": names * 10, "$y$_true": names * 10})
    target = io.BytesIO()
    plot_classes(table, "$y$", names, target)  # warnings are errors here
    assert pixels_of(target, "#08306B") > 10_000  # the diagonal has room


def test_reliability_by_hand():
    chance = np.array([[0.62, 0.38], [0.38, 0.62], [0.66, 0.34], [0.95, 0.05]])
    found = reliability_bins(chance, np.array([0, 0, 0, 0]))
    # 0.62, 0.62 and 0.66 share a bin, two of the three are right; 0.95 stands alone
    np.testing.assert_allclose(found, [[1.9 / 3, 2 / 3, 3], [0.95, 1.0, 1]])


def test_medians_of_few_true_values_are_one_each() -> None:
    table = pd.DataFrame({"age": np.arange(40.0), "age_true": np.repeat([6.0, 12.0], 20)})
    figure = Figure()
    axes = figure.subplots()
    draw_residuals(axes, table, "age")
    (line,) = (line for line in axes.lines if line.get_label() == "median")
    assert line.get_xydata().tolist() == [[6.0, 3.5], [12.0, 17.5]]  # medians 9.5 and 29.5 less the truth


def test_the_median_of_residuals_spans_the_whole_range() -> None:
    true = np.append(RNG.exponential(1.0, 1674), [0.0, 40.0])
    figure = Figure()
    axes = figure.subplots()
    draw_residuals(axes, pd.DataFrame({"age": true, "age_true": true}), "age")
    x = np.concatenate([line.get_xdata() for line in axes.lines[1:]])  # the first is the line at zero
    assert (x.min(), x.max()) == (0.0, 40.0)


def test_parts_of_the_range_hold_every_sample_once_in_order_and_are_finer_at_the_ends() -> None:
    true = RNG.permutation(1600).astype(float)
    parts = split_range(true)
    assert [len(rows) for rows in parts] == [50, 50, 100, *[200] * 6, 100, 50, 50]  # by hand: 1600 / 32, / 16, / 8
    assert [true[rows].max() for rows in parts[:-1]] < [true[rows].min() for rows in parts[1:]]
    assert sorted(np.concatenate(parts)) == list(range(1600))
    assert [len(rows) for rows in split_range(np.arange(20.0))] == [5, 5, 5, 5]


def test_many_samples_have_a_band_and_no_wall_of_bars() -> None:
    for count in (MOST_BARS, MOST_BARS + 1):
        true = np.sort(RNG.uniform(0, 10, count))
        table = pd.DataFrame({"age": true, "age_lower": true - 1, "age_upper": true + 1, "age_true": true})
        axes = Figure().subplots()
        draw_against_truth(axes, table, "age")
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        bars = [
            lines for lines in axes.collections if type(lines).__name__ == "LineCollection" and len(lines.get_paths())
        ]
        assert ("median interval" in labels) == (count > MOST_BARS) and bool(bars) == (count <= MOST_BARS)
