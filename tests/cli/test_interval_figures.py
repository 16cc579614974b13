"""How well intervals cover, and how wide they are, by hand: of each target in its own units."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aam.config import FinetuneConfig, from_options
from aam.evaluation.calibration import Calibration
from aam.inference.predictions import Predictions, prediction_table
from aam.workflows.fold_results import calibrate_folds, score_intervals

NAN = float("nan")


def scored(targets: tuple[str, ...], true: pd.DataFrame) -> dict[str, float]:
    """Figures of two folds of three samples each, all predicted as 0."""
    config = from_options(FinetuneConfig, {"target": targets, "coverage": 0.5})
    zero = [Predictions(np.zeros((3, len(targets), 1)), np.zeros((3, len(targets)))) for _ in range(2)]
    parts = calibrate_folds(config, zero, true, Calibration())
    table = pd.concat(prediction_table(list(true.index[own]), one, config, known) for own, one, known in parts)
    return score_intervals(config, table, true)


def test_each_target_has_its_own_coverage_and_width():
    true = pd.DataFrame(
        {"age": [1, 2, 3, 1, 1, 5], "weight": [100, 200, NAN, 100, 300, 300]}, list("abcdef"), dtype=float
    )
    found = scored(("age", "weight"), true)

    # Half of 3 residuals is the 2nd smallest, rank ceil(4 / 2). Age: fold 1 by those of fold 2 (1, 1, 5) is 0 ± 1 and
    # holds 1 of 1, 2, 3; fold 2 by 1, 2, 3 is 0 ± 2 and holds two of 1, 1, 5.
    assert found["age_interval_coverage"] == pytest.approx(3 / 6)
    assert found["age_interval_width"] == pytest.approx((2 + 4) / 2)
    # Weight: fold 1 by 100, 300, 300 is 0 ± 300 and holds both; fold 2 by 100, 200, rank ceil(3 / 2), is 0 ± 200.
    assert found["weight_interval_coverage"] == pytest.approx(3 / 5)
    assert found["weight_interval_width"] == pytest.approx((600 + 400) / 2)

    alone = scored(("age",), true[["age"]])
    assert alone == {"interval_nominal": 0.5, "interval_coverage": 0.5, "interval_width": 3.0}
