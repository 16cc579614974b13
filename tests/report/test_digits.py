"""Numbers of a report, by hand."""

from __future__ import annotations

import pytest

from aam.report.digits import with_ends


@pytest.mark.parametrize(
    ("value", "low", "high", "signed", "expected"),
    [
        (0.12345, 0.1, 0.15, False, ["0.123", "0.100", "0.150"]),
        (1234.5, 1000.0, 1400.0, False, ["1,234", "1,000", "1,400"]),
        (-0.004, -0.1, 0.1, True, ["-0.004", "-0.100", "+0.100"]),  # the interval is what has three digits
        (1.54e-8, 1.31e-8, 1.75e-8, False, ["1.54e-08", "1.31e-08", "1.75e-08"]),  # a concentration in mol/l
        (-2e-9, -1e-8, 0.0, True, ["-2.00e-09", "-1.00e-08", "+0.00e+00"]),
        (3e-17, 0.0, 6e-17, False, ["0.000000", "0.000000", "0.000000"]),  # what rounding leaves
        (0.0, 0.0, 0.0, False, ["0.00", "0.00", "0.00"]),
    ],
)
def test_a_value_with_its_interval(value: float, low: float, high: float, signed: bool, expected: list[str]):
    assert with_ends(value, low, high, signed) == expected
