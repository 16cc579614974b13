"""Which samples train and which are tested, fold by fold, with scikit-learn's splitters."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from aam.errors import ConfigError
from aam.wording import counted

Scheme = Literal["k-fold", "stratified", "grouped", "stratified-grouped", "leave-one-group-out"]


class Fold(NamedTuple):
    """Row numbers of one split, sorted; `name` is its number from 1, or the group left out."""

    name: str
    train: NDArray[np.int64]
    test: NDArray[np.int64]


def make_folds(
    scheme: Scheme, target: Sequence[Hashable], groups: Sequence[Hashable] | None, count: int, seed: int
) -> list[Fold]:
    """Folds over the rows of `target` [N]; each row is tested exactly once.

    `groups` [N] names what must not sit on both sides (subjects, studies); the schemes without "group" in their name
    ignore it. `count` folds are made, except that leave-one-group-out makes one for each group. Where the scheme is
    stratified each fold holds about the same share of every class of `target`.

    Raises ConfigError for a scheme that needs groups and has none, and for more folds than rows, groups or, where
    stratified, members of the rarest class.
    """
    grouped = "group" in scheme
    if grouped and groups is None:
        raise ConfigError(f"folds '{scheme}' need groups: name a metadata column with --group-column")
    _check_count(scheme, target, groups, count)
    parts = _splitter(scheme, count, seed).split(
        np.zeros((len(target), 1)), _numbered(target), _numbered(groups) if grouped else None
    )
    folds = []
    for number, (train, test) in enumerate(parts, start=1):
        name = str(groups[test[0]]) if groups is not None and scheme == "leave-one-group-out" else str(number)
        folds.append(Fold(name, np.sort(train), np.sort(test)))
    return folds


def divisible(scheme: Scheme, target: Sequence[Hashable], groups: Sequence[Hashable] | None) -> tuple[int, str]:
    """Into how many parts the rows of `target` [N] can go, and of what each is to have one: the rarest kind of them."""
    if "group" in scheme and groups is not None:
        return len(set(groups)), "groups"
    if scheme == "stratified" and len(target):
        label, count = min(Counter(target).items(), key=lambda entry: entry[1])
        return count, f"samples of class '{label}'"
    return len(target), "samples"


def with_fewer_labels(fold: Fold, target: Sequence[Hashable], fraction: float, seed: int) -> Fold:
    """The fold with a part of its training rows, at least one of each value of `target` [N]; the test rows stay.

    A smaller fraction of the same seed keeps a subset of what a larger one keeps, so a learning curve only ever adds.
    """
    if fraction == 1.0:
        return fold
    members: dict[Hashable, list[int]] = {}
    for row in np.random.default_rng(seed).permutation(fold.train).tolist():
        members.setdefault(target[row], []).append(row)
    kept = [row for rows in members.values() for row in rows[: math.ceil(len(rows) * fraction)]]
    return fold._replace(train=np.sort(np.array(kept, np.int64)))


def groups_on_both_sides(fold: Fold, groups: Sequence[Hashable]) -> list[Hashable]:
    """Groups with samples in the training and in the test part of a fold, in order of appearance; a reason to warn."""
    trained = {groups[row] for row in fold.train}
    return [group for group in dict.fromkeys(groups[row] for row in fold.test) if group in trained]


def _splitter(scheme: Scheme, count: int, seed: int) -> Any:
    from sklearn import model_selection as splitters

    if scheme == "leave-one-group-out":
        return splitters.LeaveOneGroupOut()
    kinds = {
        "k-fold": splitters.KFold,
        "stratified": splitters.StratifiedKFold,
        "grouped": splitters.GroupKFold,
        "stratified-grouped": splitters.StratifiedGroupKFold,
    }
    return kinds[scheme](n_splits=count, shuffle=True, random_state=seed)


def _check_count(scheme: Scheme, target: Sequence[Hashable], groups: Sequence[Hashable] | None, count: int) -> None:
    units, what = divisible(scheme, target, groups)
    needed = 2 if scheme == "leave-one-group-out" else count
    if needed < 2:
        raise ConfigError(f"{count} folds asked for: at least 2 are needed, or nothing is held out")
    if units < needed:
        raise ConfigError(
            f"{counted(needed, 'folds')} of {counted(units, what)}: at least one in each fold is needed; "
            "ask for fewer folds"
        )


def _numbered(labels: Sequence[Hashable] | None) -> NDArray[np.int64] | None:
    """Labels as numbers in order of first appearance: scikit-learn sorts labels, and cannot sort mixed types."""
    return None if labels is None else pd.factorize(pd.Series(labels, dtype=object), use_na_sentinel=False)[0]
