"""The part of the report on prediction intervals: whether they hold the truth, everywhere in the range."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from aam.evaluation.intervals import coverage_by_size
from aam.inference.predictions import TRUE
from aam.report.digits import three_digits
from aam.report.page import HtmlTable, Part

INTERVAL_WORDS = (
    "The interval of a sample is made from the errors of similar predictions in the other folds, so the coverage "
    "should be near {nominal:.0%} in every row of the first table. In the second table it can be lower: the intervals "
    "of samples that are hard to predict, often those at the ends of the range, miss the true value more often."
)


def interval_part(table: pd.DataFrame, targets: Sequence[str], nominal: float) -> Part:
    """Coverage and width of the intervals in a table of out-of-fold predictions, by predicted and by true value.

    Empty where there are none, or where not all are finite.
    """
    tables = []
    for name in targets:
        ends = [f"{name}_lower", f"{name}_upper"]
        if not {*ends, f"{name}{TRUE}"} <= set(table.columns):
            continue
        known = table[table[f"{name}{TRUE}"].notna()].astype(dict.fromkeys((name, *ends), float))
        if not len(known) or known[ends].isna().any(axis=None):  # text has no infinite numbers
            continue
        true, lower, upper = (known[column] for column in (f"{name}{TRUE}", *ends))
        for what, by in (("predicted", known[name]), ("true", true)):
            parts = coverage_by_size(by, true, (lower, upper))
            rows = [
                [
                    f"{three_digits(one.low)} to {three_digits(one.high)}",
                    f"{one.samples:,}",
                    three_digits(one.coverage),
                    three_digits(one.width),
                ]
                for one in parts.itertuples()
            ]
            tables.append(HtmlTable([f"{what} {name}", "samples", "coverage", "mean width"], rows))
    return Part("Prediction intervals", tables, notes=[INTERVAL_WORDS.format(nominal=nominal)] if tables else [])
