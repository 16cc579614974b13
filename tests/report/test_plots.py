"""Figures: they hold what they were given, whatever is missing, and need neither a display nor pyplot."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from scipy.spatial.distance import squareform

from aam.evaluation.ordination import pcoa
from aam.report.curves import PANELS, draw_panel, plot_curves
from aam.report.figures import FEW_PAIRS, HELD_OUT, OKABE_ITO, TRAIN, plot_pcoa, plot_unifrac

METRICS = {"unifrac_r2": 0.97, "unifrac_mae": 0.011, "unifrac_pearson": 0.99, "baseline_upgma_skipped": "too many ASVs"}


def pixels_of(image: np.ndarray, colour: str) -> int:
    """Pixels of an image [H, W, RGBA] that are about this colour."""
    wanted = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return int((np.abs(image[:, :, :3] - wanted).max(axis=2) < 0.02).sum())


def curves(records: list[dict]) -> np.ndarray:
    buffer = io.BytesIO()
    plot_curves([records], buffer)
    return imread(io.BytesIO(buffer.getvalue()))


def log(steps: int) -> list[dict]:
    train = [
        {"kind": "train", "step": s, "time": 0.0, "loss": 5 / s, "unifrac": 1 / s, "other": 1} for s in range(1, steps)
    ]
    return [*train, {"kind": "validation", "step": steps - 1, "loss": 0.5, "unifrac_r2": 0.5}]


def test_curves_show_training_and_held_out_samples(tmp_path: Path) -> None:
    plot_curves([log(50)], tmp_path / "curves.png")
    image = imread(tmp_path / "curves.png")
    assert pixels_of(image, TRAIN) > 500 and pixels_of(image, HELD_OUT) > 50


def test_a_panel_for_each_known_value_of_the_log() -> None:
    one = curves([{"kind": "train", "step": 1, "loss": 1.0}])
    three = curves(log(5))  # loss, unifrac and unifrac_r2; `other` and `time` have no panel
    assert three.shape[1] == 3 * one.shape[1] and three.shape[0] == one.shape[0]


@pytest.mark.parametrize(
    "records",
    [
        [],
        [{"kind": "validation", "step": 0, "loss": 1.0}],
        [{"kind": "train", "step": s, "loss": float("nan")} for s in range(5)],
        [{"kind": "train", "step": s, "loss": None} for s in range(5)],
        [{"kind": "train", "step": s, "loss": 0.0, "unifrac_r2": -30.0} for s in range(5)],
        [{"kind": "train", "step": 3, "loss": -1.0}, {"kind": "train", "step": 3, "loss": 1e9}],
    ],
    ids=["nothing", "one point", "NaN only", "null only", "zeros", "one step twice"],
)
def test_any_log_can_be_drawn(records: list[dict]) -> None:
    assert curves(records).ndim == 3


def test_a_repeated_step_counts_once_the_later() -> None:
    before, after = {"kind": "train", "step": 2, "loss": 9.0}, {"kind": "train", "step": 2, "loss": 1.0}
    first = {"kind": "train", "step": 1, "loss": 2.0}
    np.testing.assert_array_equal(curves([first, before, after]), curves([first, after]))


@pytest.mark.parametrize("samples", [2, 20, 120])
def test_unifrac_of_few_pairs_is_points_and_of_many_is_hexagons(tmp_path: Path, samples: int) -> None:
    pairs = samples * (samples - 1) // 2
    assert (pairs > FEW_PAIRS) == (samples == 120)
    true = squareform(np.random.default_rng(0).uniform(0.2, 0.8, pairs))
    plot_unifrac(true * 0.9, true, METRICS, tmp_path / "unifrac.png")
    assert imread(tmp_path / "unifrac.png").shape[:2] == (1050, 1050)


def test_unifrac_of_equal_samples_can_be_drawn(tmp_path: Path) -> None:
    plot_unifrac(np.zeros((3, 3)), np.zeros((3, 3)), {}, tmp_path / "unifrac.png")
    assert (tmp_path / "unifrac.png").exists()


@pytest.mark.parametrize(
    "values",
    [
        [1, 2.5, None, float("nan"), 3, 4],
        ["a", "b", "", "a", None, "c"],
        [f"subject {number}" for number in range(6)] * 3,
        [None] * 6,
        [True, False] * 3,
    ],
    ids=["numbers", "classes", "many", "none", "booleans"],
)
def test_ordinations_take_any_column(tmp_path: Path, values: list) -> None:
    values = values + [f"rare {number}" for number in range(12)] if len(values) == 18 else values
    ids = [f"s{number}" for number in range(len(values))]
    matrix = squareform(np.random.default_rng(0).uniform(0.2, 0.8, len(ids) * (len(ids) - 1) // 2))
    panels = {"UniFrac": pcoa(matrix, ids), "embedding": pcoa(matrix**2, ids)}
    plot_pcoa(panels, dict(zip(ids, values, strict=True)), "column", tmp_path / "pcoa.png")
    assert imread(tmp_path / "pcoa.png").shape[1] > imread(tmp_path / "pcoa.png").shape[0]


def test_a_single_axis_can_be_drawn(tmp_path: Path) -> None:
    plot_pcoa({"pair": pcoa([[0, 1], [1, 0]], "ab")}, {"a": 1, "b": 2}, "column", tmp_path / "pcoa.png")
    assert (tmp_path / "pcoa.png").exists()


def test_no_pyplot_is_imported() -> None:
    """pyplot keeps every figure in memory and may ask for a display."""
    code = "import sys, aam.report.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_classes_have_the_same_colours_whichever_is_the_most_frequent() -> None:
    ids = [f"s{row}" for row in range(12)]
    found = pcoa(np.abs(np.subtract.outer(np.arange(12.0), np.arange(12.0))), ids)
    for frequent, rare in (("6", "12"), ("12", "6")):
        target = io.BytesIO()
        plot_pcoa({"": found}, {name: rare if name == "s0" else frequent for name in ids}, "age", target)
        image = imread(io.BytesIO(target.getvalue()))
        six, twelve = (pixels_of(image, colour) for colour in OKABE_ITO[:2])
        assert (six > 2 * twelve) == (frequent == "6") and (twelve > 2 * six) == (frequent == "12")


def test_a_curve_that_stays_below_the_floor_is_shown_whole() -> None:
    panel = next(panel for panel in PANELS if panel.name == "euclidean_r2")
    for values, low in (([-3.0, -0.05, -0.4], -3.0), ([-3.0, 0.2, 0.6], -0.1)):
        axes = Figure().subplots()
        draw_panel(axes, panel, [[{"kind": "validation", "step": s, panel.name: v} for s, v in enumerate(values)]])
        assert axes.get_ylim()[0] == pytest.approx(low, abs=0.2)
