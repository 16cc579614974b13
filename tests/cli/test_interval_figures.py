"""How well intervals cover, and how wide they are, by hand: of each target in its own units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from aam.config import FinetuneConfig, from_options
from aam.corpus.split import Fold
from aam.inference.predictions import Predictions
from aam.workflows.fold_results import FoldResult, coverage

NAN = float("nan")


def test_each_target_has_its_own_coverage_and_width():
    config = from_options(FinetuneConfig, {"target": ("age", "weight"), "coverage": 0.5})
    true = pd.DataFrame({"age": [1, 2, 3, 1, 1, 5], "weight": [100, 200, NAN, 100, 300, 300]}, dtype=float)
    rows = np.arange(6)
    folds = [Fold("1", rows[3:], rows[:3]), Fold("2", rows[:3], rows[3:])]
    results = [FoldResult(fold, np.zeros((1, 3, 2, 1)), Path(), 1, 1.0) for fold in folds]
    zero = Predictions(np.zeros((3, 2, 1)), np.zeros((3, 2)))

    found = coverage(config, [zero, zero], true, results)

    # Half of 3 residuals is the 2nd smallest, rank ceil(4 / 2). Age: fold 1 by those of fold 2 (1, 1, 5) is 0 ± 1 and
    # holds 1 of 1, 2, 3; fold 2 by 1, 2, 3 is 0 ± 2 and holds two of 1, 1, 5.
    assert found["age_interval_coverage"] == pytest.approx(3 / 6)
    assert found["age_interval_width"] == pytest.approx((2 + 4) / 2)
    # Weight: fold 1 by 100, 300, 300 is 0 ± 300 and holds both; fold 2 by 100, 200, rank ceil(3 / 2), is 0 ± 200.
    assert found["weight_interval_coverage"] == pytest.approx(3 / 5)
    assert found["weight_interval_width"] == pytest.approx((600 + 400) / 2)

    one = config.target.target[:1]
    alone = coverage(
        from_options(FinetuneConfig, {"target": one, "coverage": 0.5}),
        [Predictions(zero.values[:, :1], zero.spread[:, :1])] * 2,
        true[["age"]],
        results,
    )
    assert alone == {"interval_nominal": 0.5, "interval_coverage": 0.5, "interval_width": 3.0}
