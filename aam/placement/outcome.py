"""What became of the ASVs of a table, in words: how many were left out and why, and what is doubtful."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from aam.gene.regions import region_text
from aam.placement.placements import REASONS, TOO_FAR, Placements
from aam.placement.reference import Reference
from aam.placement.sequence import FAR
from aam.placement.tables import FATES, is_elsewhere
from aam.text import counted

MANY = 0.2
"""Share of ASVs left out, or far from the reference, above which the result is doubtful."""
SHARES = (0.03, 0.1)
"""Bounds between ASVs that are near, less near and far from the nearest reference, as shares of differing columns."""


def left_out(placements: Placements) -> Mapping[str, list[str]]:
    """Ids of the ASVs without a place, by reason."""
    found = {reason: np.flatnonzero(placements.fate == fate).tolist() for fate, reason in REASONS.items()}
    return {reason: [placements.ids[row] for row in rows] for reason, rows in found.items() if rows}


def fates_text(placements: Placements) -> str:
    """How many ASVs have no place and why: "10 not 16S, 2 far from every reference"; empty if all have one."""
    counts = {fate: int((placements.fate == fate).sum()) for fate in REASONS}
    return ", ".join(f"{count:,} {FATES[fate]}" for fate, count in counts.items() if count)


def distances_text(placements: Placements) -> str:
    """How many ASVs are how far from the reference that is nearest to them."""
    rows = placements.placed
    share = placements.differing[rows, 0] / placements.covered[rows]
    equal, near, far = int((share == 0).sum()), int((share < SHARES[0]).sum()), int((share < SHARES[1]).sum())
    return (
        f"{counted(equal, 'ASVs')} equal a reference, {near - equal:,} differ by less than {SHARES[0]:.0%}, "
        f"{far - near:,} by {SHARES[0]:.0%} to {SHARES[1]:.0%}, {len(rows) - far:,} by more, "
        f"{int((placements.fate == TOO_FAR).sum()):,} are far from all"
    )


def far_text(placements: Placements) -> str:
    """What `--joint` is for, if many of the ASVs that were placed alone are far from the reference; else empty."""
    rows = placements.placed
    far = int((placements.differing[rows, 0] > FAR * placements.covered[rows]).sum())
    if far <= MANY * len(rows):
        return ""
    return (
        f"{far:,} of {counted(len(rows), 'ASVs')} differ from every reference tip in more than {FAR:.0%} of their "
        "columns; those of a clade that the reference lacks hang on stems of their own, which makes UniFrac too large: "
        "--joint lets them share one"
    )


def where_text(placements: Placements, reference: Reference) -> str:
    """Where most reads lie on the gene, and which part of it the reference has."""
    reads, there = placements.reads, placements.reads.strand != 0
    if not there.any():
        return "none of the sequences fits the 16S gene"
    first, last = int(np.median(reads.begin[there])), int(np.median(reads.end[there]))
    own = region_text(reference.first, reference.last)
    return f"the reads lie on {region_text(first, last)}, the reference has {own}"


def doubts(placements: Placements, reference: Reference) -> list[str]:
    """Warnings about a table as a whole."""
    found, total = [], len(placements.fate)
    lost = total - len(placements.placed)
    if lost > MANY * total:
        found.append(
            f"{lost:,} of {counted(total, 'ASVs')} cannot be placed ({fates_text(placements)}): "
            f"{where_text(placements, reference)}; {distances_text(placements)}"
        )
    turned = int((placements.reads.strand == -1).sum())
    if turned:
        found.append(f"{counted(turned, 'ASVs')} of {total:,} are reverse complements and were turned")
    if elsewhere := int(is_elsewhere(placements).sum()):
        found.append(f"{counted(elsewhere, 'ASVs')} of {total:,} lie on another region of the gene than most")
    return found
