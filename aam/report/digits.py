"""Numbers of a report: three significant digits, a value and its interval with the same decimals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MOST_DECIMALS = 6
"""Of a value with its interval; smaller ones have an exponent."""
NOISE = 1e-12
"""Sizes up to which a value is 0 to a reader: what rounding leaves of one."""


def three_digits(value: Any) -> str:
    """A number with three significant digits, whole from 1,000 on; text stays as it is."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:#.3g}".rstrip(".")


def with_ends(value: float, low: float, high: float, signed: bool = False) -> list[str]:
    """A value and the ends of its interval, with the decimals that give the value or half the interval three digits."""
    size = max(abs(value), (high - low) / 2)
    sign = "+" if signed else ""
    if NOISE < size < 10.0 ** (2 - MOST_DECIMALS - 1):
        return [f"{number + 0.0:{sign}.2e}" for number in (value, low, high)]
    decimals = 2 - math.floor(math.log10(size)) if 0 < size < math.inf else 2
    decimals = min(max(decimals, 0), MOST_DECIMALS)
    return [f"{rounded(number, decimals):{sign},.{decimals}f}" for number in (value, low, high)]


def rounded(value: float, decimals: int) -> float:
    """The value rounded, for which no -0.00 is printed."""
    return round(value, decimals) + 0.0


def format_estimate(estimate: Mapping[str, float], signed: bool = False) -> str:
    """A metric by `value`, `low` and `high` with its interval, as `0.123 (0.100 to 0.145)`."""
    value, low, high = with_ends(estimate["value"], estimate["low"], estimate["high"], signed)
    return f"{value} ({low} to {high})"


def estimate_of(metrics: Mapping[str, Any], key: str) -> dict[str, float] | None:
    """`value`, `low` and `high` of a metric of metrics.json; None unless it has all three."""
    found = {"value": metrics.get(key), "low": metrics.get(f"{key}_low"), "high": metrics.get(f"{key}_high")}
    numbers = {name: float(number) for name, number in found.items() if number is not None}
    return numbers if len(numbers) == len(found) else None
