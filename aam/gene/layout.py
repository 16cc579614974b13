"""How the reads of a table lie: a summary of some of them, and the window that several tables have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.config.reads import ReadsRecord
from aam.gene.alignment import NO_COLUMN, Columns, align_bases
from aam.gene.profile import Profile, gene_profile, reverse_complement
from aam.gene.reads import LEAST_BASES, MARGIN, Reads, place_reads, scout, some_of, window_of
from aam.gene.regions import begin_text

LOOKED_AT = 300
"""ASVs of a table that are looked at: a strand or another begin of 1 % of them is seen with 95 %."""
LONGEST = 5000
"""Bases of the longest sequence that is laid on the gene, which has 1,500: longer ones are no reads of it."""
COVERED = 0.95
"""Share of the reads that cover the window of a table. The others begin at an insertion, end early, or are no 16S that
looks like it: in three studies of the gut 1 to 4 % of the ASVs begin elsewhere."""
FAR = 20
"""Columns from the usual begin of the reads of a table, beyond which a read is of another region."""
USUAL = 0.9
"""Share of the reads with one begin, or one length, from which on the others are not worth a word."""
ROWS_AT_ONCE = 1024
"""Bounds memory and changes nothing."""


class Window(NamedTuple):
    """The `length` bases of a read from its first base in column `start` of the gene, or behind it, on."""

    start: int
    length: int

    def __str__(self) -> str:
        return f"{self.start}:{self.length}"


class Skipped(NamedTuple):
    """`begin` int64 [A]: the column of the first base of each read; `bases` int64 [A]: its bases before a column."""

    begin: NDArray[np.int64]
    bases: NDArray[np.int64]


def skipped_bases(profile: Profile, sequences: Sequence[str], column: int, threads: int = 1) -> Skipped:
    """How many bases of each read lie before `column`, insertions included.

    Bases before the first that has a column stand in the columns before that one, as a read that begins with a
    sequencing error does not begin later for it.
    """
    blocks = [
        _skipped(profile.first, align_bases(profile.hmm, some, threads), some, column)
        for some in (sequences[start : start + ROWS_AT_ONCE] for start in range(0, len(sequences), ROWS_AT_ONCE))
    ]
    return Skipped(*(np.concatenate([block[part] for block in blocks]) for part in range(2)))


def _skipped(first: int, columns: Columns, sequences: Sequence[str], column: int) -> Skipped:
    begins, bases = list[int](), list[int]()
    for read, text in enumerate(sequences):
        own = columns.of(read)
        aligned = np.flatnonzero(own != NO_COLUMN)
        place = own[aligned] + first
        behind = np.flatnonzero(place >= column)
        begins.append(int(place[0] - aligned[0]) if len(place) else first)
        if not len(behind):
            bases.append(len(text))
        elif behind[0] == 0:  # it lies among the bases before the first that has a column: count them off
            bases.append(min(max(column - begins[-1], 0), int(aligned[0])))
        else:
            bases.append(int(aligned[behind[0]]))
    return Skipped(np.array(begins), np.array(bases))


class Looked(NamedTuple):
    """What `LOOKED_AT` reads of a table tell: their record, and those on the usual strand with the `usual` begin."""

    record: ReadsRecord
    usual: list[str]


def is_usable(text: str) -> bool:
    """Whether a sequence is of a length that may be laid on the gene."""
    return LEAST_BASES <= len(text) <= LONGEST


def summarise_reads(sequences: Sequence[str]) -> ReadsRecord | None:
    """How reads (upper-case DNA) lie, from `LOOKED_AT` of them; None if they are not 16S."""
    found = look_at(sequences)
    return None if found is None else found.record


def look_at(sequences: Sequence[str]) -> Looked | None:
    """Look at some reads (upper-case DNA) of a table; None if they are not 16S."""
    return _look_at(tuple(some_of(sequences, LOOKED_AT)))


@lru_cache(maxsize=64)
def _look_at(some: tuple[str, ...]) -> Looked | None:
    """A command opens a table more than once, for its report and its baselines."""
    reads = list(filter(is_usable, some))
    scouts = scout(reads)
    if scouts is None or 2 * int((scouts.strand != 0).sum()) < len(scouts.strand):
        return None
    placed = place_reads(reads)
    found = np.flatnonzero(placed.strand != 0)
    plus = orient(reads, placed.strand)
    own = [plus[row] for row in found.tolist()]
    profile = profile_of(placed)
    columns = align_bases(profile.hmm, own)
    begins = _skipped(profile.first, columns, own, 1).begin
    lengths = np.fromiter(map(len, own), np.int64, len(own))
    begin, at_begin = most_common(begins)
    bases, alike = most_common(lengths)
    start = int(np.quantile(begins, COVERED, method="inverted_cdf"))
    left = (lengths - _skipped(profile.first, columns, own, start).bases)[begins <= start]
    length = int(np.quantile(left, 1 - COVERED, method="inverted_cdf"))
    minus = float((placed.strand[found] < 0).mean())
    usual = (placed.strand[found] < 0) == (minus > 0.5)
    near = found[usual & (np.abs(begins - begin) <= FAR)]
    record = ReadsRecord(len(some), len(own), begin, at_begin, bases, alike, minus, start, length)
    return Looked(record, [reads[row] for row in near.tolist()])


def most_common(values: NDArray[np.int64]) -> tuple[int, float]:
    """The most common of some numbers [n], and its share."""
    found, times = np.unique(values, return_counts=True)
    return int(found[times.argmax()]), float(times.max() / len(values))


def orient(sequences: Sequence[str], strand: NDArray[np.int8]) -> list[str]:
    """The sequences, those of the minus strand (-1) reverse complemented."""
    return [reverse_complement(text) if turned < 0 else text for text, turned in zip(sequences, strand, strict=True)]


def profile_of(placed: Reads) -> Profile:
    """The part of the gene on which placed reads lie, with a margin."""
    on_gene = placed.strand != 0
    return gene_profile().window(int(placed.begin[on_gene].min()) - MARGIN, int(placed.end[on_gene].max()) + MARGIN)


def place_all(sequences: Sequence[str], threads: int = 1) -> NDArray[np.int8]:
    """Strand of each sequence, int8 [A]: 1 plus, -1 minus, 0 no 16S."""
    strand = np.zeros(len(sequences), np.int8)
    usable = [row for row, text in enumerate(sequences) if is_usable(text)]
    window = window_of([sequences[row] for row in usable])
    for rows in in_blocks(usable):
        strand[rows] = place_reads([sequences[row] for row in rows], window, threads).strand
    return strand


def in_blocks(rows: list[int]) -> Iterator[list[int]]:
    """Numbers in blocks of `ROWS_AT_ONCE`."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield rows[start : start + ROWS_AT_ONCE]


def common_window(records: Sequence[ReadsRecord]) -> Window:
    """The window that nearly all reads of all tables cover; its length is below 1 if there is none."""
    start = max(record.start for record in records)
    return Window(start, min(record.length - (start - record.start) for record in records))


def layout_text(record: ReadsRecord | None) -> str:
    """How reads lie, in words: "reads begin at 515F + 10, 150 bases, plus strand (column 621 of the gene)"."""
    if record is None:
        return "reads are not 16S: no columns"
    strand = {0.0: "plus strand", 1.0: "minus strand"}.get(record.minus, f"both strands, {record.minus:.0%} minus")
    parts = [f"column {record.begin} of the gene"]
    if record.begins < USUAL:
        parts.append(f"{1 - record.begins:.0%} begin elsewhere")
    if record.found < record.asvs:
        parts.append(f"{record.asvs - record.found} of {record.asvs} ASVs looked at are no 16S")
    length = f"{record.bases} bases" if record.alike >= USUAL else f"about {record.bases} bases"
    return f"reads begin at {begin_text(record.begin)}, {length}, {strand} ({'; '.join(parts)})"


def unlike_text(record: ReadsRecord, known: ReadsRecord) -> str:
    """Says that the reads of a table lie otherwise than those that a model has learned from, and what follows."""
    return (
        f"{layout_text(record)}, but those that the model has learned from differ: {layout_text(known)}; no ASV of one "
        "is an ASV of the other"
    )


def same_layout(one: ReadsRecord, other: ReadsRecord, most: int | None = None) -> bool:
    """Whether two tables have the same begin, strand and length, of which a model reads `most` bases.

    Lengths that vary within a table may differ by what they vary.
    """
    lengths = [record.bases if most is None else min(record.bases, most) for record in (one, other)]
    fixed = min(one.alike, other.alike) >= USUAL
    near = lengths[0] == lengths[1] if fixed else abs(lengths[0] - lengths[1]) <= 0.05 * max(lengths)
    return one.begin == other.begin and (one.minus >= 0.5) == (other.minus >= 0.5) and near
