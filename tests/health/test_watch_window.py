"""The usual range of a value: the mean and deviation of its last steps, whatever came before them."""

from __future__ import annotations

import numpy as np
import pytest

from aam.health.monitor import WINDOW, Window


@pytest.mark.parametrize("start", [1.0, 1e12])
def test_it_is_that_of_the_last_values(start: float):
    values = np.concatenate([[start], np.random.default_rng(0).normal(0.7, 1e-3, 5 * WINDOW)])
    window = Window()
    for count, value in enumerate(values, 1):
        window.add(float(value))
        if count > 3 * WINDOW or (start == 1.0 and count > 2):
            last = values[:count][-WINDOW:]
            assert window.mean == pytest.approx(last.mean(), rel=1e-9)
            assert window.deviation == pytest.approx(last.std(ddof=1), rel=1e-5)
