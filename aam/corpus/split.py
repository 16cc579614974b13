"""Which samples train and which are tested, fold by fold, with scikit-learn's splitters."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.config import DataConfig
from aam.errors import ConfigError, MetadataError
from aam.io.ids import find_wanted, pick_texts, read_ids
from aam.text import counted, quote

MIN_SIDE = 2
"""Samples on each side: UniFrac needs a pair."""
Scheme = Literal["k-fold", "stratified", "grouped", "stratified-grouped", "leave-one-group-out"]


class Split(NamedTuple):
    """Ids of the training and the held-out samples, each in table order."""

    train: Sequence[str]
    validation: Sequence[str]


class Sides(NamedTuple):
    """Numbers of the training and the held-out samples, int64, ascending."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]

    @classmethod
    def unsplit(cls, count: int) -> Sides:
        """Sides on which all `count` samples train."""
        return cls(np.arange(count), np.arange(0))

    def ids(self, sample_ids: Sequence[str]) -> Split:
        """The ids of the samples on both sides."""
        return Split(pick_texts(sample_ids, self.train), pick_texts(sample_ids, self.validation))


def split_samples(
    sample_ids: Sequence[str],
    config: DataConfig,
    seed: int,
    groups: Mapping[str, str | None] | None = None,
    dropped: Iterable[str] = (),
    by_id: NDArray[np.integer] | None = None,
) -> Sides:
    """Split samples by `config.validation_samples` if given, else at random by `config.validation_fraction`.

    `groups` (sample id -> group) keeps whole groups on one side; the fraction then counts groups, and samples without
    a group are refused. `dropped` are ids of the table that are no longer used; the file may name them. A random split
    depends on the seed and the ids, not on their order; `by_id` are the samples in the order of their ids, if known.

    Raises `ConfigError` if the file names unknown samples, cuts through a group, or a side has less than `MIN_SIDE`
    samples; `MetadataError` if groups are missing.
    """
    group_of = None if groups is None else _require_groups(sample_ids, groups, config.group_column)
    if config.validation_samples is not None:
        held_out = _read_held_out(sample_ids, config.validation_samples, dropped)
        if group_of is not None:
            _refuse_cut_groups(sample_ids, held_out, group_of, config)
        outside = find_wanted(sample_ids, held_out)
    elif group_of is not None:
        outside = find_wanted(sample_ids, _draw_groups(sample_ids, config.validation_fraction, seed, group_of))
    else:
        order = np.array(sorted(range(len(sample_ids)), key=sample_ids.__getitem__), int) if by_id is None else by_id
        outside = np.zeros(len(sample_ids), dtype=bool)
        outside[order[_draw_rows(len(order), config.validation_fraction, seed)]] = True
    sides = Sides(np.flatnonzero(~outside), np.flatnonzero(outside))
    if group_of is not None and len(names := set(group_of.values())) < 2:
        raise ConfigError(
            f"--group-column {config.group_column}: all {len(sample_ids)} samples are of one group, "
            f"{quote(next(iter(names), ''))}, which cannot be on both sides; name a column with several"
        )
    for side, rows in sides._asdict().items():
        if len(rows) < MIN_SIDE:
            raise ConfigError(
                f"the {side} side of the split has {len(rows)} of {len(sample_ids)} samples, expected at least "
                f"{MIN_SIDE}; give more samples, another --validation-fraction or other --validation-samples"
            )
    return sides


def _draw_rows(count: int, fraction: float, seed: int) -> NDArray[np.int64]:
    """Numbers of random samples, about `fraction` of all, with at least `MIN_SIDE` on either side if possible."""
    most = max(count - MIN_SIDE, 0)
    return np.random.default_rng(seed).permutation(count)[: min(max(round(fraction * count), MIN_SIDE), most)]


def _draw_groups(sample_ids: Sequence[str], fraction: float, seed: int, groups: Mapping[str, str]) -> set[str]:
    """Random whole groups, about `fraction` of them, at least `MIN_SIDE` samples."""
    members: dict[str, list[str]] = defaultdict(list)
    for sample in sorted(sample_ids):
        members[groups[sample]].append(sample)
    names = sorted(members)
    wanted = round(fraction * len(names))
    held_out: set[str] = set()
    for taken, place in enumerate(np.random.default_rng(seed).permutation(len(names))):
        if taken >= wanted and len(held_out) >= MIN_SIDE:
            break
        group = members[names[place]]
        if len(sample_ids) - len(held_out) - len(group) >= MIN_SIDE:
            held_out.update(group)
    return held_out


def _read_held_out(sample_ids: Sequence[str], file: Path, dropped: Iterable[str]) -> set[str]:
    """Read the held-out ids from the file, without dropped samples; raises for ids that the table never had."""
    named = read_ids(file)
    used, gone = set(sample_ids), set(dropped)
    unknown = [sample for sample in named if sample not in used and sample not in gone]
    if unknown:
        raise ConfigError(
            f"{file}: {len(unknown)} of {len(named)} ids are not samples of the table, first "
            f"{quote(unknown[0])}; expected sample ids as the table has them, one a line"
        )
    return used.intersection(named)


def _require_groups(sample_ids: Sequence[str], groups: Mapping[str, str | None], column: str | None) -> dict[str, str]:
    """The group of each sample; raises if a sample has none."""
    known = {sample: group for sample in sample_ids if (group := groups.get(sample))}
    missing = [sample for sample in sample_ids if sample not in known]
    if missing:
        raise MetadataError(
            f"metadata column {column!r} has no value for {len(missing)} of {len(sample_ids)} samples, first "
            f"{quote(missing[0])}; fill the column in, or take these samples out of the table"
        )
    return known


def _refuse_cut_groups(
    sample_ids: Sequence[str], held_out: Collection[str], groups: Mapping[str, str], config: DataConfig
) -> None:
    """Raise if a split from a file has a group on both sides."""
    inside = {groups[sample] for sample in sample_ids if sample in held_out}
    outside = {groups[sample] for sample in sample_ids if sample not in held_out}
    if both := sorted(inside & outside):
        raise ConfigError(
            f"{config.validation_samples} puts {len(both)} groups of column {config.group_column!r} on both sides, "
            f"first {quote(both[0])}; list all samples of a group or none, or leave --group-column away"
        )


class Fold(NamedTuple):
    """Row numbers of one split, sorted; `name` is its number from 1, or the group left out."""

    name: str
    train: NDArray[np.int64]
    test: NDArray[np.int64]


def make_folds(
    scheme: Scheme, target: Sequence[Hashable], groups: Sequence[Hashable] | None, count: int, seed: int
) -> list[Fold]:
    """Folds over the rows of `target` [N]; each row is tested exactly once.

    `groups` [N], e.g. subjects or studies, are never on both sides; schemes without "group" in their name ignore
    them. `count` folds are made, except that leave-one-group-out makes one for each group. Where the scheme is
    stratified each fold holds about the same share of every class of `target`.

    Raises ConfigError for a scheme that needs groups and has none, and for more folds than rows, groups or, if
    stratified, members of the rarest class.
    """
    grouped = "group" in scheme
    if grouped and groups is None:
        raise ConfigError(f"folds '{scheme}' need groups: name a metadata column with --group-column")
    _check_count(scheme, target, groups, count)
    parts = _splitter(scheme, count, seed).split(
        np.zeros((len(target), 1)), _number_labels(target), _number_labels(groups) if grouped else None
    )
    folds = []
    for number, (train, test) in enumerate(parts, start=1):
        name = str(groups[test[0]]) if groups is not None and scheme == "leave-one-group-out" else str(number)
        folds.append(Fold(name, np.sort(train), np.sort(test)))
    return folds


def count_possible_folds(
    scheme: Scheme, target: Sequence[Hashable], groups: Sequence[Hashable] | None
) -> tuple[int, str]:
    """Largest possible number of folds for `target` [N], and what limits it: groups, members of a class, or samples."""
    if "group" in scheme and groups is not None:
        return len(set(groups)), "groups"
    if scheme == "stratified" and len(target):
        label, count = min(Counter(target).items(), key=lambda entry: entry[1])
        return count, f"samples of class {quote(str(label))}"
    return len(target), "samples"


def keep_label_fraction(fold: Fold, target: Sequence[Hashable], fraction: float, seed: int) -> Fold:
    """Keep a part of the training rows of a fold, at least one of each value of `target` [N]; the test rows stay.

    With the same seed, a smaller fraction keeps a subset of the rows that a larger one keeps.
    """
    if fraction == 1.0:
        return fold
    members: dict[Hashable, list[int]] = {}
    for row in np.random.default_rng(seed).permutation(fold.train).tolist():
        members.setdefault(target[row], []).append(row)
    kept = [row for rows in members.values() for row in rows[: math.ceil(len(rows) * fraction)]]
    return fold._replace(train=np.sort(np.array(kept, np.int64)))


def groups_on_both_sides(fold: Fold, groups: Sequence[Hashable]) -> list[Hashable]:
    """Groups with samples in both parts of a fold, in order of appearance."""
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
    units, what = count_possible_folds(scheme, target, groups)
    needed = 2 if scheme == "leave-one-group-out" else count
    if needed < 2:
        raise ConfigError(f"{count} folds asked for: at least 2 are needed, or nothing is held out")
    if units < needed:
        raise ConfigError(
            f"{counted(needed, 'folds')} of {counted(units, what)}: at least one in each fold is needed; "
            "ask for fewer folds"
        )


def _number_labels(labels: Sequence[Hashable] | None) -> NDArray[np.int64] | None:
    """Number labels by first appearance: scikit-learn sorts labels, and cannot sort mixed types."""
    import pandas as pd  # half a second that commands without folds do not wait for

    return None if labels is None else pd.factorize(pd.Series(labels, dtype=object), use_na_sentinel=False)[0]
