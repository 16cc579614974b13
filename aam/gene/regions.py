"""Names of places on the 16S gene: columns of the usual primers, and of the windows between them."""

from __future__ import annotations

from typing import NamedTuple

from aam.errors import ConfigError
from aam.spelling import whole_of


class Region(NamedTuple):
    """Columns `first` to `last` of the profile, counted from 1, both included."""

    first: int
    last: int


STARTS = {"27F": 21, "338F": 427, "341F": 427, "515F": 611, "799F": 878, "926F": 1019, "967F": 1079, "1114F": 1284}
"""First column behind each forward primer."""
ENDS = {
    "338R": 406,
    "534R": 594,
    "785R": 862,
    "806R": 864,
    "907R": 998,
    "926R": 998,
    "1046R": 1214,
    "1193R": 1361,
    "1391R": 1581,
    "1492R": 1689,
}
"""Last column before each reverse primer."""
REGIONS = {
    "v1-v2": Region(STARTS["27F"], ENDS["338R"]),
    "v1-v3": Region(STARTS["27F"], ENDS["534R"]),
    "v3": Region(STARTS["341F"], ENDS["534R"]),
    "v3-v4": Region(STARTS["341F"], ENDS["785R"]),
    "v4": Region(STARTS["515F"], ENDS["806R"]),
    "v4-v5": Region(STARTS["515F"], ENDS["926R"]),
    "v5-v7": Region(STARTS["799F"], ENDS["1193R"]),
    "v6": Region(STARTS["967F"], ENDS["1046R"]),
    "v6-v8": Region(STARTS["926F"], ENDS["1391R"]),
}
"""Found by placing the primers on the consensus of the profile (mean log probability per base best of all places)."""
NEAR = 60
"""Columns within which the begin of reads is told by a primer."""


def parse_region(text: str, columns: int) -> Region | None:
    """The columns of a --region: a name of `REGIONS`, FROM:TO, or none (None). Raises ConfigError for anything else."""
    name = text.strip().lower()
    if name == "none":
        return None
    if name in REGIONS:
        return REGIONS[name]
    first, last = (whole_of(part) for part in (*name.split(":"), "", "")[:2])
    if name.count(":") != 1 or first is None or last is None:
        raise ConfigError(f"--region is {text!r}, expected one of {', '.join(REGIONS)}, none, or FROM:TO in columns")
    region = Region(first, last)
    if not 1 <= region.first <= region.last <= columns:
        raise ConfigError(f"--region is {text}, expected columns with 1 <= FROM <= TO <= {columns:,}")
    return region


def begin_text(column: int) -> str:
    """Where reads begin, for messages: "515F + 10" for the tenth base behind the place where reads of 515F begin."""
    name = min(STARTS, key=lambda primer: abs(STARTS[primer] - column))
    offset = column - STARTS[name]
    if abs(offset) > NEAR:
        return f"column {column}"
    return name if offset == 0 else f"{name} {'+' if offset > 0 else '-'} {abs(offset)}"


def region_text(first: int, last: int) -> str:
    """The name of the region that covers columns best, for messages, with the columns: "v4 (columns 611 to 759)"."""
    overlap = {
        name: (min(last, region.last) - max(first, region.first) + 1)
        / (max(last, region.last) - min(first, region.first) + 1)
        for name, region in REGIONS.items()
    }
    inside = [name for name, region in REGIONS.items() if region.first - NEAR <= first and last <= region.last + NEAR]
    smallest = min(inside, key=lambda name: REGIONS[name].last - REGIONS[name].first, default=None)
    name = smallest or max(overlap, key=overlap.__getitem__)
    return (
        f"{name} (columns {first:,} to {last:,})" if inside or overlap[name] > 0.5 else f"columns {first:,} to {last:,}"
    )
