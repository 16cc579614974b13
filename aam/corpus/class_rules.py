"""Classes made of the values of a column by `--as-class NAME=VALUE`: of texts, or of ranges of numbers.

A value of a metadata column stands for a class if a rule names it; samples with other values have no class.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from aam.config import NUMERIC_TASKS, TargetConfig
from aam.errors import ConfigError, MetadataError
from aam.io.metadata import fill_missing_texts, parse_numbers
from aam.spelling import NUMBER, nearest
from aam.text import name_few, quote

FORM = "expected NAME=VALUE or NAME=LOW:HIGH, e.g. IBD=CD or obese=30:"
RANGE = re.compile(rf"({NUMBER.pattern})?:({NUMBER.pattern})?")
VALUES_LISTED = 10
"""Values of a column that a message lists."""


class Rule(NamedTuple):
    """Samples whose column has `value` are of class `name`; of a range, those with `low` <= value < `high`."""

    name: str
    value: str
    low: float = -np.inf
    high: float = np.inf
    is_range: bool = False

    @property
    def text(self) -> str:
        """The rule as an option."""
        return f"--as-class {self.name}={self.value}"


def parse_rules(config: TargetConfig) -> list[Rule]:
    """The rules of --as-class; raises ConfigError for bad forms, rules that overlap, and fewer than two classes."""
    rules = [parse_rule(text) for text in config.as_class]
    if not rules:
        return rules
    if config.task in NUMERIC_TASKS:
        raise ConfigError(f"--as-class makes classes, but --task is {config.task}; give --task classification")
    names = sorted({rule.name for rule in rules})
    if len(names) < 2:
        raise ConfigError(
            f"--as-class makes one class, {names[0]!r}, expected at least two; name the values of another"
        )
    for one, other in combinations(rules, 2):
        if overlap(one, other):
            raise ConfigError(
                f"{one.text} and {other.text} overlap: a sample can have one class; give each value once, and ranges "
                "that end where the next begins"
            )
    return rules


def parse_rule(text: str) -> Rule:
    """One rule from NAME=VALUE or NAME=LOW:HIGH."""
    name, _, value = text.partition("=")
    name, value = name.strip(), value.strip()
    if not name or not value or value == ":":
        raise ConfigError(f"--as-class is {text!r}, {FORM}")
    if (found := RANGE.fullmatch(value)) is None:
        return Rule(name, value)
    low, high = (float(end) if end else bound for end, bound in zip(found.groups(), (-np.inf, np.inf), strict=True))
    if low >= high:
        raise ConfigError(f"--as-class is {text!r}: no number is at least {low:g} and below {high:g}; {FORM}")
    return Rule(name, value, low, high, True)


def overlap(one: Rule, other: Rule) -> bool:
    """Whether two rules claim the same value; ranges of one class may."""
    if one.is_range and other.is_range:
        return one.name != other.name and max(one.low, other.low) < min(one.high, other.high)
    if one.is_range or other.is_range:
        span, single = (one, other) if one.is_range else (other, one)
        number = parse_numbers(pd.Series([single.value], dtype=object))[0]
        return span.name != single.name and bool(span.low <= number < span.high)
    return one.value == other.value


def classify(values: pd.Series, rules: Sequence[Rule]) -> list[str | None]:
    """The class of each value [N] of a column of text; None if it is missing or no rule names it."""
    if not rules:
        return fill_missing_texts(values)
    found, numbers = np.full(len(values), None, dtype=object), parse_numbers(values)
    for rule in rules:
        with np.errstate(invalid="ignore"):
            found[which(rule, values, numbers)] = rule.name
    return found.tolist()


def which(rule: Rule, values: pd.Series, numbers: np.ndarray) -> np.ndarray:
    """Which values [N], as text and as numbers, a rule names."""
    return (numbers >= rule.low) & (numbers < rule.high) if rule.is_range else (values == rule.value).to_numpy(bool)


def refuse_unfit_rules(values: pd.Series, rules: Sequence[Rule], source: Path | str) -> None:
    """Raise for rules that do not suit a column [N] of the metadata `source`: a range of texts, a value it has not."""
    numbers = parse_numbers(values)
    wrong = np.flatnonzero(values.notna().to_numpy() & np.isnan(numbers))
    known = [repr(str(value)) for value in pd.unique(values.dropna())]
    for rule in rules:
        if rule.is_range and len(wrong):
            raise ConfigError(
                f"{rule.text} is a range of numbers, but {len(wrong)} values of column {values.name!r} are none, first "
                f"{quote(str(values.iloc[wrong[0]]))} of sample {quote(str(values.index[wrong[0]]))}; name values"
            )
        if not which(rule, values, numbers).any():
            what = "between" if rule.is_range else "with the value"
            shown = f"found {name_few(known, VALUES_LISTED) or 'no value'}"
            close = "" if rule.is_range else nearest(rule.value, map(str, pd.unique(values.dropna())))
            raise MetadataError(
                f"{source}: {rule.text}: no sample of column {values.name!r} {what} {quote(rule.value)}; "
                f"{close or shown}"
            )
