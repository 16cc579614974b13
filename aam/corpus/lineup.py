"""Lines up the reads of tables: turns reads of the other strand, cuts all to one window of the gene, merges equal ASVs.

An ASV keeps its id, and the sequence that it was read with (`Table.originals`), by which a tree is matched.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.config import DataConfig
from aam.config.reads import ReadsRecord
from aam.corpus.equal_asvs import merge_equal_asvs, merged_texts, order_asvs
from aam.errors import ConfigError
from aam.gene.layout import (
    USUAL,
    Window,
    common_window,
    in_blocks,
    layout_text,
    orient,
    place_all,
    same_layout,
    skipped_bases,
    summarise_reads,
    unlike_text,
)
from aam.gene.reads import LEAST_BASES, window_of
from aam.gene.strands import lie_of
from aam.io.table import Table, read_table
from aam.placement.threads import usable_cores
from aam.spelling import whole_of
from aam.text import counted

UNKNOWN = "N"
"""Base that a model reads as hidden."""
OUTSIDE = "ASVs outside of the window of --trim"
ALL_OUTSIDE = "samples all of whose ASVs are outside of the window of --trim"
MOST_THREADS = 8
"""Most threads that align."""


@dataclass(frozen=True)
class Lineup:
    """How the reads of tables lie, and what was done to line them up.

    `records` has one entry for each table of 16S, after all that was done; `notes` are messages, `doubts` warnings.
    `window` is that of --trim, None if nothing was to be trimmed.
    """

    records: tuple[ReadsRecord, ...] = ()
    window: Window | None = None
    notes: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


class LinedSequences(NamedTuple):
    """The sequences of ASVs lined up, which of them are `outside` [A] of the window of --trim, and how it was done."""

    sequences: Sequence[str]
    outside: NDArray[np.bool_]
    lineup: Lineup


class LinedTable(NamedTuple):
    """A table whose reads are lined up, and how."""

    table: Table
    lineup: Lineup


class Rules(NamedTuple):
    """What to do with the reads of a table: `trim` and `orient` are options of `DataConfig`.

    `model` has the reads that a model has learned from, of which it reads `max_bp` bases; empty without a model.
    """

    trim: str
    orient: str
    model: tuple[ReadsRecord, ...] = ()
    max_bp: int | None = None


def read_lined_table(data: DataConfig, path: Path, tips: Collection[str] = ()) -> LinedTable:
    """Read a table and line up its reads, by the options of `data` and the reads of its model, if it has one.

    `tips` are names of the tree of the ASVs, if there is one.
    """
    rules = Rules(data.trim, data.orient, data.reads, data.max_bp or None)
    return line_up(read_table(path, data.sequences), rules, tips)


def parse_trim(text: str) -> Window | None:
    """The window of a --trim START:LENGTH; None for auto and none. Raises ConfigError for anything else."""
    if text in ("auto", "none"):
        return None
    start, length = (whole_of(part) for part in (*text.split(":"), "", "")[:2])
    if text.count(":") != 1 or start is None or length is None:
        raise ConfigError(f"--trim is {text!r}, expected auto, none or START:LENGTH, e.g. 621:140")
    window = Window(start, length)
    if window.start < 1 or window.length < LEAST_BASES:
        raise ConfigError(f"--trim is {text}, expected a START from 1 on and a LENGTH of {LEAST_BASES} bases or more")
    return window


def line_up(table: Table, rules: Rules, tips: Collection[str] = ()) -> LinedTable:
    """Turn and trim the reads of a table as the rules say, merge the ASVs that are equal then, and order all ASVs.

    Of equal ASVs that is kept which is one of the `tips` of a tree; see `merge_equal_asvs`.
    """
    sequences, outside, lineup = line_up_sequences(table.sequences, rules, str(table.source))
    if sequences is not table.sequences:
        table = replace(table, sequences=sequences, originals=table.sequences)
    if outside.any():
        gone = [table.asv_ids[row] for row in np.flatnonzero(outside).tolist()]
        table = replace(table.select(asvs=np.flatnonzero(~outside)), dropped={**table.dropped, OUTSIDE: gone})
        table = table.keep(table.depths() > 0, ALL_OUTSIDE)
    merged = merge_equal_asvs(table, tips)
    texts = merged_texts(table.originals or table.sequences, len(table.asv_ids) - len(merged.asv_ids))
    return LinedTable(order_asvs(merged), replace(lineup, notes=(*lineup.notes, *texts)))


def line_up_sequences(sequences: Sequence[str], rules: Rules, source: str) -> LinedSequences:
    """Turn and trim sequences [A] of the table `source`; if nothing is to be done, the very same come back."""
    window, outside = parse_trim(rules.trim), np.zeros(len(sequences), bool)
    if max(map(len, sequences), default=0) < LEAST_BASES:
        return LinedSequences(sequences, outside, Lineup())
    lying = lie_of(sequences, threads())
    if lying is None:
        return LinedSequences(sequences, outside, Lineup(notes=(layout_text(None),)))
    record, regions = lying.record, lying.regions_text()
    notes, doubts = [layout_text(record)], list[str]()
    if rules.orient == "auto" and lying.minus and not any(known.minus >= 0.5 for known in rules.model):
        sequences = orient(sequences, lying.strand)
        rest = "" if lying.minus == len(sequences) else f", of {len(sequences):,}"
        notes.append(f"turned: {counted(lying.minus, 'ASVs')} of the minus strand{rest}")
        record = summarise_reads(sequences) or record
    elif both := lying.strands_text():
        doubts.append(both)
    if rules.trim == "auto":
        window = common_window(rules.model or (record,))
        if rules.max_bp is not None and rules.model:
            window = Window(window.start, min(window.length, rules.max_bp))
    if window is not None:
        missing = missing_bases(record, window) if rules.model and rules.trim == "auto" else None
        sequences, outside, cut = trim_reads(sequences, window, source, missing)
        notes.append(cut)
        record = summarise_reads(sequences) or record
    elif regions:
        doubts.append(regions)
    doubts += doubts_of_model(record, rules) if rules.model else ()
    return LinedSequences(sequences, outside, Lineup((record,), window, tuple(notes), tuple(doubts)))


class Missing(NamedTuple):
    """Bases that the reads of a table lack of a window, at its begin and at its end."""

    before: int
    behind: int


def missing_bases(record: ReadsRecord, window: Window) -> Missing:
    """What reads lack of a window; nothing if their begin or length varies, since then it is the ASV that differs."""
    if min(record.begins, record.alike) < USUAL:
        return Missing(0, 0)
    before = max(0, record.begin - window.start)
    return Missing(before, max(0, window.length - max(0, record.begin - window.start) - record.length))


class TrimmedReads(NamedTuple):
    """Sequences [A] cut to a window, which of them are outside of it [A], and what was done in words."""

    sequences: list[str]
    outside: NDArray[np.bool_]
    text: str


def trim_reads(sequences: Sequence[str], window: Window, source: str, missing: Missing | None = None) -> TrimmedReads:
    """Cut all reads of the plus strand to a window; the others, and what is no 16S, stay as they are.

    Bases that a table is `missing` are N. Raises ConfigError if no read of the table `source` has `LEAST_BASES` bases
    in the window.
    """
    rows, missing = np.flatnonzero(place_all(sequences, threads()) > 0).tolist(), missing or Missing(0, 0)
    profile = window_of([sequences[row] for row in rows])
    trimmed, late, cut, outside = list(sequences), 0, 0, np.zeros(len(sequences), bool)
    for block in in_blocks(rows):
        skipped = skipped_bases(profile, [sequences[row] for row in block], window.start, threads())
        late += int((skipped.begin > window.start).sum())
        before = np.clip(skipped.begin - window.start, 0, missing.before)
        for row, bases, masked in zip(block, skipped.bases.tolist(), before.tolist(), strict=True):
            own = sequences[row][bases : bases + window.length - masked]
            outside[row] = len(own) < LEAST_BASES
            cut += len(own) < len(sequences[row])
            behind = min(missing.behind, window.length - masked - len(own))
            trimmed[row] = UNKNOWN * masked + own + UNKNOWN * behind
    if outside[rows].all():
        raise ConfigError(
            f"--trim {window}: none of the {len(outside):,} ASVs of {source} has {LEAST_BASES} bases there; "
            f"{layout_text(summarise_reads(sequences))}"
        )
    short = sum(len(trimmed[row]) < window.length for row in rows) - int(outside.sum())
    text = f"trimmed to {window.length} bases from column {window.start} on: {counted(cut, 'ASVs')} cut"
    if any(missing):
        text += f"; {missing.before} bases before and {missing.behind} behind them are unknown (N)"
    elif late or short:
        text += f"; {late:,} begin later, {short:,} have fewer bases"
    return TrimmedReads(trimmed, outside, text)


def doubts_of_model(record: ReadsRecord, rules: Rules) -> tuple[str, ...]:
    """Warnings if the reads of a table differ from those that a model has learned from."""
    if any(same_layout(record, known, rules.max_bp) for known in rules.model):
        return ()
    window = common_window(rules.model)
    both = common_window([*rules.model, record])
    if both.length < LEAST_BASES:
        remedy = (
            "their windows share nothing, so no --trim helps: do not trust the results; `aam place`, and `aam "
            "distance` without --model, take reads of every region"
        )
    else:
        remedy = "--trim auto brings them to the window of the model"
    if record.start > window.start and both.length >= LEAST_BASES:
        remedy += f", with N for missing bases; better, train the model with --trim {both}, the window of both"
    return (f"{unlike_text(record, rules.model[0])}; {remedy}",)


def compare_tables(names: Sequence[str], records: Sequence[ReadsRecord | None]) -> tuple[str, ...]:
    """Warnings if the reads of the tables of one command differ from those of the first of them that is 16S."""
    known = [(name, record) for name, record in zip(names, records, strict=True) if record is not None]
    other = [(name, record) for name, record in known[1:] if not same_layout(known[0][1], record)]
    if not other:
        return ()
    window = common_window([record for _, record in known])
    remedy = "the tables have no window in common"
    if window.length >= LEAST_BASES:
        remedy = f"`aam prepare --trim auto` brings all to their common window, {window}"
    (first, one), (second, two) = known[0], other[0]
    return (
        f"the reads of {len(other)} of {len(known)} tables differ from those of the first, so that they share no "
        f"ASV: {first}: {layout_text(one)}; {second}: {layout_text(two)}; {remedy}",
    )


def threads() -> int:
    """Threads to align with."""
    return min(usable_cores(), MOST_THREADS)
