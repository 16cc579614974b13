"""Which samples are held out: given by file, or drawn at random, single or in whole groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.config import DataConfig
from aam.data.ids import read_ids
from aam.data.texts import pick
from aam.errors import ConfigError, MetadataError
from aam.wording import quote

MIN_SIDE = 2
"""Samples on each side: UniFrac needs a pair."""


class Split(NamedTuple):
    """Sample ids of both sides, each in table order."""

    train: Sequence[str]
    validation: Sequence[str]


class Sides(NamedTuple):
    """Sample numbers of both sides, int64, ascending."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]

    def ids(self, sample_ids: Sequence[str]) -> Split:
        """The ids of these samples."""
        return Split(pick(sample_ids, self.train), pick(sample_ids, self.validation))


def split_samples(
    sample_ids: Sequence[str],
    config: DataConfig,
    seed: int,
    groups: Mapping[str, str | None] | None = None,
    dropped: Iterable[str] = (),
    by_id: NDArray[np.integer] | None = None,
) -> Sides:
    """Split samples by `config.validation_samples` if given, else at random by `config.validation_fraction`.

    `groups` (sample id -> group) keeps whole groups on one side; the fraction then counts groups, and a sample without
    a group is refused, because nobody could promise on which side its group is. `dropped` are ids that the table had
    and that are no longer used (too shallow): the file may name them. A random split depends on the seed and the ids,
    not on their order; `by_id` are the samples in the order of their ids, if that is known.

    Raises `ConfigError` where the file names unknown samples, cuts through a group, or a side has less than `MIN_SIDE`
    samples; `MetadataError` where groups are missing.
    """
    group_of = None if groups is None else _complete(sample_ids, groups, config.group_column)
    if config.validation_samples is not None:
        held_out = _given(sample_ids, config.validation_samples, dropped)
        if group_of is not None:
            _refuse_cut_groups(sample_ids, held_out, group_of, config)
        outside = _inside(sample_ids, held_out)
    elif group_of is not None:
        outside = _inside(sample_ids, _drawn(sample_ids, config.validation_fraction, seed, group_of))
    else:
        order = np.array(sorted(range(len(sample_ids)), key=sample_ids.__getitem__), int) if by_id is None else by_id
        outside = np.zeros(len(sample_ids), dtype=bool)
        outside[order[_drawn_places(len(order), config.validation_fraction, seed)]] = True
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


def _inside(sample_ids: Sequence[str], held_out: Collection[str]) -> NDArray[np.bool_]:
    """Which of the samples [N] are held out."""
    return np.fromiter((sample in held_out for sample in sample_ids), bool, len(sample_ids))


def _drawn_places(count: int, fraction: float, seed: int) -> NDArray[np.int64]:
    """Numbers of random single samples, about `fraction` of them, at least `MIN_SIDE` on either side if there are."""
    most = max(count - MIN_SIDE, 0)
    return np.random.default_rng(seed).permutation(count)[: min(max(round(fraction * count), MIN_SIDE), most)]


def _drawn(sample_ids: Sequence[str], fraction: float, seed: int, groups: Mapping[str, str]) -> set[str]:
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


def _given(sample_ids: Sequence[str], file: Path, dropped: Iterable[str]) -> set[str]:
    """Ids of the file that are samples in use; ids that the table never had are refused."""
    named = read_ids(file)
    used, gone = set(sample_ids), set(dropped)
    unknown = [sample for sample in named if sample not in used and sample not in gone]
    if unknown:
        raise ConfigError(
            f"{file}: {len(unknown)} of {len(named)} ids are not samples of the table, first "
            f"{quote(unknown[0])}; expected sample ids as the table has them, one a line"
        )
    return used.intersection(named)


def _complete(sample_ids: Sequence[str], groups: Mapping[str, str | None], column: str | None) -> dict[str, str]:
    """The group of each sample; raises where one has none."""
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
    """Raise where a given split has a group on both sides."""
    inside = {groups[sample] for sample in sample_ids if sample in held_out}
    outside = {groups[sample] for sample in sample_ids if sample not in held_out}
    if both := sorted(inside & outside):
        raise ConfigError(
            f"{config.validation_samples} puts {len(both)} groups of column {config.group_column!r} on both sides, "
            f"first {quote(both[0])}; list all samples of a group or none, or leave --group-column away"
        )
