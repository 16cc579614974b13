"""Builds a reference: sequences on the columns of the gene, in the order of their tree, with their lineages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from aam.errors import SequenceError, TaxonomyError, TreeError
from aam.gene.profile import NO_BASE, Profile
from aam.gene.reads import LEAST_BASES
from aam.gene.regions import Region
from aam.io.ids import check_ids
from aam.io.sequences import fasta_records, find_invalid, to_plain_dna
from aam.phylogeny.tree import Tree
from aam.placement.parts import PER_PART, read_part
from aam.text import name_few, quote

LONGEST = 10_000
"""Bases of a sequence that is aligned; the gene has about 1,550, and the work grows with the length."""
SHARE_OF_MEDIAN = 0.5
"""Of the bases that tips have in a region, the share of the median that a tip must have."""
NO_SEQUENCE = "tips without a sequence"
NO_TIP = "sequences without a tip"
WRONG_LENGTH = f"sequences of fewer than {LEAST_BASES} or more than {LONGEST:,} bases"
NOT_16S = "sequences not of 16S"
FEW_BASES = "tips with few bases in the region"
EXAMPLES = 3
"""Names in a message."""

LeftOut = dict[str, list[str]]
"""Reason -> ids of the tips or sequences that are not in the reference."""


class Matched(NamedTuple):
    """What is to be aligned: `leaves` int64 [n], the leaf of each sequence that has one, in the order of the file."""

    leaves: NDArray[np.int64]
    left_out: LeftOut


class Aligned(NamedTuple):
    """Tips of `tree` with their codes `rows` uint8 [R, C] in the order of the tree; `turned`: from the minus strand."""

    tree: Tree
    rows: NDArray[np.uint8]
    turned: int


def plain_dna(sequence: str) -> str:
    """A sequence without the gaps of an alignment, upper case, T for U."""
    return to_plain_dna(sequence.replace("-", "").replace(".", ""))


def has_length(sequence: str) -> bool:
    """Whether a sequence is neither too short nor too long to be aligned."""
    return LEAST_BASES <= len(sequence) <= LONGEST


def match_sequences(fasta: Path, name: str, tree: Tree) -> Matched:
    """Find the tip of each sequence of a FASTA text, which messages call `name`.

    Raises `SequenceError` for a file without sequences or with one that is not DNA, `TreeError` if no name is a tip.
    """
    check_ids(tree.tip_names, "tip name", tree.source, TreeError)
    leaf_of = {tip: leaf for leaf, tip in enumerate(tree.tip_names)}
    leaves: list[int] = []
    left_out: LeftOut = {NO_SEQUENCE: [], NO_TIP: [], WRONG_LENGTH: []}
    for identifier, sequence in fasta_records(fasta, name):
        sequence = plain_dna(sequence)
        if fault := find_invalid([sequence]):
            raise SequenceError(
                f"{name}: the sequence {quote(identifier)} is not DNA: {fault.character!r} at position "
                f"{fault.position} (without gaps); expected A C G T U or IUPAC codes; correct the file"
            )
        if identifier not in leaf_of:
            left_out[NO_TIP].append(identifier)
        elif not has_length(sequence):
            left_out[WRONG_LENGTH].append(identifier)
        else:
            leaves.append(leaf_of[identifier])
    if not leaves:
        refuse_unmatched(tree, left_out, name)
    found = np.zeros(len(tree.tip_names), bool)
    found[[*leaves, *(leaf_of[tip] for tip in left_out[WRONG_LENGTH])]] = True
    left_out[NO_SEQUENCE] = [tree.tip_names[leaf] for leaf in np.flatnonzero(~found).tolist()]
    return Matched(np.array(leaves, np.int64), left_out)


def refuse_unmatched(tree: Tree, left_out: LeftOut, name: str) -> NoReturn:
    """Raise for a file `name` of sequences none of which can be aligned."""
    if wrong := left_out[WRONG_LENGTH]:
        raise SequenceError(
            f"{name}: all {len(wrong):,} sequences that are tips of {tree.source} have fewer than {LEAST_BASES} or "
            f"more than {LONGEST:,} bases, e.g. {few(wrong)}; give sequences of 16S"
        )
    if others := left_out[NO_TIP]:
        raise TreeError(
            f"{tree.source}: none of its {len(tree.tip_names):,} tips is among the {len(others):,} sequences of "
            f"{name}; tips are e.g. {few(tree.tip_names)}, sequences e.g. {few(others)}; give the tree that was made "
            "from these sequences"
        )
    raise SequenceError(f"{name} holds no records; expected '>id' lines, each followed by DNA")


def few(names: Sequence[str]) -> str:
    """Some names, for messages."""
    return name_few([quote(name) for name in names[:EXAMPLES]], EXAMPLES)


def matched_sequences(fasta: Path, name: str, tree: Tree) -> Iterator[str]:
    """The sequences of `match_sequences`, one by one in the same order."""
    tips = set(tree.tip_names)
    for identifier, sequence in fasta_records(fasta, name):
        if identifier in tips and has_length(plain := plain_dna(sequence)):
            yield plain


def assemble(folder: Path, matched: Matched, tree: Tree, region: Region, gene: Profile) -> Aligned:
    """Put the parts of a folder together on the columns of a region, and cut the tree to the tips that align.

    Adds to `matched.left_out`. Raises `SequenceError` if fewer than two sequences align.
    """
    columns = slice(region.first - gene.first, region.last - gene.first + 1)
    codes = np.empty((len(tree.tip_names), region.last - region.first + 1), np.uint8)
    kept, turned = np.zeros(len(tree.tip_names), bool), 0
    for number, start in enumerate(range(0, len(matched.leaves), PER_PART)):
        part, leaves = read_part(folder, number), matched.leaves[start : start + PER_PART]
        codes[leaves] = part.codes[:, columns]
        kept[leaves] = part.strand != 0
        turned += int((part.strand < 0).sum())
    lost = [tree.tip_names[leaf] for leaf in matched.leaves[~kept[matched.leaves]].tolist()]
    matched.left_out[NOT_16S] = lost
    if kept.sum() < 2:
        lost += matched.left_out[WRONG_LENGTH]
        raise SequenceError(
            f"{kept.sum()} of the {kept.sum() + len(lost):,} sequences that are tips of {tree.source} fit the profile "
            f"of the 16S gene, expected at least 2; not so e.g. {few(lost)}; give sequences of 16S"
        )
    return Aligned(*keep_tips(tree, codes, kept), turned)


def keep_tips(tree: Tree, codes: NDArray[np.uint8], kept: NDArray[np.bool_]) -> tuple[Tree, NDArray[np.uint8]]:
    """Tree and codes [R, C] of the tips `kept` [R]."""
    if kept.all():
        return tree.shear(tree.tip_names), codes
    return tree.shear([tree.tip_names[leaf] for leaf in np.flatnonzero(kept).tolist()]), codes[kept]


def keep_covering(aligned: Aligned, region: Region, left_out: LeftOut) -> Aligned:
    """Leave out the tips that have few bases in a region; `left_out` gets them.

    Raises `SequenceError` for a region that fewer than two sequences cover.
    """
    bases = (aligned.rows != NO_BASE).sum(axis=1)
    there = bases >= LEAST_BASES
    if there.sum() < 2:
        raise SequenceError(
            f"--region: of {len(bases):,} sequences {there.sum()} have at least {LEAST_BASES} bases on columns "
            f"{region.first:,} to {region.last:,} (most: {bases.max():,}), expected 2 or more; give a region that the "
            "sequences cover"
        )
    kept = there & (bases >= SHARE_OF_MEDIAN * np.median(bases[there]))
    left_out[FEW_BASES] = [aligned.tree.tip_names[leaf] for leaf in np.flatnonzero(~kept).tolist()]
    return Aligned(*keep_tips(aligned.tree, aligned.rows, kept), aligned.turned)


def lineages_of(names: Sequence[str], taxonomy: dict[str, str], source: str) -> list[str]:
    """Lineage of each tip, "" if it has none; raises `TaxonomyError` if no tip has one."""
    found = [taxonomy.get(name, "") for name in names]
    if not any(found):
        raise TaxonomyError(
            f"{source}: none of its {len(taxonomy):,} ids is a tip of the reference; ids are e.g. "
            f"{few(list(taxonomy))}, tips e.g. {few(names)}; give the taxonomy of these sequences"
        )
    return found
