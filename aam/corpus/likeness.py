"""Warnings of names that look alike to a reader and differ for a program: classes, categories, groups, ids, values."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import pandas as pd

from aam.spelling import alike_strangers, look_alike, look_of, tell_apart
from aam.text import counted

WARNED = 3
"""Warnings of one kind that are given in full."""


def warn_of_alike(names: Iterable[str], what: str) -> list[str]:
    """Warnings of different names that look alike; they are `what`, e.g. "groups of their own"."""
    found = [
        f"{' and '.join(tell_apart(group))} are {what}; if they mean the same, spell them alike"
        for group in look_alike(names)
    ]
    more = [f"{len(found) - WARNED:,} more names look alike and are {what}"] if len(found) > WARNED else []
    return found[:WARNED] + more


def warn_of_alike_ids(table_ids: Sequence[str], metadata_ids: Sequence[str]) -> list[str]:
    """A warning of samples that have no metadata, where metadata have an id that looks like theirs."""
    pairs = alike_strangers(table_ids, set(metadata_ids))
    if not pairs:
        return []
    ours, theirs = tell_apart(pairs[0])
    return [
        f"{counted(len(pairs), 'samples')} of the table are without metadata, which have an id that looks like theirs, "
        f"first {ours} in the table and {theirs} in the metadata; spell them alike"
    ]


def warn_of_left_out(values: pd.Series, chosen: Collection[str], option: str) -> list[str]:
    """Warnings of values [N] that look like those that an option has `chosen`, and are left out by it."""
    looks = {look_of(value): value for value in chosen}
    counts = values[~values.isin(chosen)].value_counts()
    alike = [
        (looks[look], str(value), int(count))
        for value, count in counts.items()
        if (look := look_of(str(value))) in looks
    ]
    return [
        f"{option} leaves out {counted(count, 'samples')} with {other}, which looks like {own}; spell them alike, or "
        "give both"
        for own_value, other_value, count in alike[:WARNED]
        for own, other in [tell_apart([own_value, other_value])]
    ]
