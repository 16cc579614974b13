"""Folds: each row tested once, groups never on both sides, classes in proportion, and refusals that say why."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aam.corpus.split import Fold, groups_on_both_sides, keep_label_fraction, make_folds
from aam.errors import ConfigError

GROUPS = [f"s{row // 5}" for row in range(60)]  # 12 subjects of 5 samples
CLASSES = ["ill" if row % 3 == 0 else "well" for row in range(60)]
SCHEMES = ["k-fold", "stratified", "grouped", "stratified-grouped", "leave-one-group-out"]


@pytest.mark.parametrize("scheme", SCHEMES)
@given(seed=st.integers(0, 100))
@settings(max_examples=20)
def test_every_row_is_tested_once_and_never_trained_on_at_the_same_time(scheme: str, seed: int) -> None:
    folds = make_folds(scheme, CLASSES, GROUPS, 4, seed)
    assert sorted(row for fold in folds for row in fold.test) == list(range(60))
    for fold in folds:
        assert sorted([*fold.train, *fold.test]) == list(range(60))
        assert (np.diff(fold.train) > 0).all() and (np.diff(fold.test) > 0).all()
        if "group" in scheme:
            assert not groups_on_both_sides(fold, GROUPS)


@pytest.mark.parametrize("scheme", ["stratified", "stratified-grouped"])
def test_stratified_folds_hold_the_classes_in_proportion(scheme: str) -> None:
    # 20 of 60 are ill; a fold of 15 holds 5 of them, and whole subjects of 5 (1 or 2 ill each) come close
    for fold in make_folds(scheme, CLASSES, GROUPS, 4, 0):
        ill = Counter(CLASSES[row] for row in fold.test)["ill"]
        assert abs(ill - 5) <= (0 if scheme == "stratified" else 1)


def test_leaving_one_group_out_names_it() -> None:
    folds = make_folds("leave-one-group-out", CLASSES, GROUPS, 5, 0)
    assert sorted(fold.name for fold in folds) == sorted(set(GROUPS))
    assert all({GROUPS[row] for row in fold.test} == {fold.name} for fold in folds)


def test_folds_repeat_by_seed() -> None:
    def tests(seed: int) -> list:
        return [fold.test.tolist() for fold in make_folds("grouped", CLASSES, GROUPS, 3, seed)]

    assert tests(1) == tests(1) != tests(2)


def test_labels_of_mixed_types_are_fine() -> None:
    assert len(make_folds("stratified-grouped", [1, "1", None] * 8, ["a", 2, "b", None] * 6, 2, 0)) == 2


def test_groups_on_both_sides_are_named_in_order() -> None:
    fold = Fold("1", np.array([0, 1, 2]), np.array([3, 4, 5]))
    assert groups_on_both_sides(fold, ["a", "b", "c", "b", "d", "a"]) == ["b", "a"]


@pytest.mark.parametrize(
    ("scheme", "target", "groups", "count", "message"),
    [
        ("grouped", CLASSES, None, 5, "need groups"),
        ("grouped", CLASSES, GROUPS, 13, "13 folds of 12 groups"),
        ("leave-one-group-out", CLASSES, ["a"] * 60, 5, "2 folds of 1 group:"),
        ("k-fold", CLASSES[:3], None, 5, "5 folds of 3 samples"),
        ("k-fold", CLASSES, None, 1, "1 folds asked for"),
        ("stratified", ["well"] * 10 + ["ill"] * 2, None, 3, "3 folds of 2 samples of class 'ill'"),
    ],
)
def test_impossible_folds_are_refused(scheme: str, target: list, groups: list | None, count: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_folds(scheme, target, groups, count, 0)


def test_fewer_labels_are_a_share_of_every_class_and_nested() -> None:
    fold = make_folds("stratified", CLASSES, None, 4, 0)[0]  # trains on 15 ill and 30 well
    tenth, quarter, half = (keep_label_fraction(fold, CLASSES, fraction, 3) for fraction in (0.1, 0.25, 0.5))
    # ceil(1.5) + 3, ceil(3.75) + ceil(7.5), ceil(7.5) + 15
    assert [Counter(CLASSES[row] for row in part.train) for part in (tenth, quarter, half)] == [
        {"ill": 2, "well": 3}, {"ill": 4, "well": 8}, {"ill": 8, "well": 15},
    ]  # fmt: skip
    assert set(tenth.train) < set(quarter.train) < set(half.train) < set(fold.train)
    assert all((part.test == fold.test).all() and (np.diff(part.train) > 0).all() for part in (tenth, quarter, half))
    assert keep_label_fraction(fold, CLASSES, 1.0, 3) is fold
    assert (keep_label_fraction(fold, CLASSES, 0.1, 4).train != tenth.train).any()
