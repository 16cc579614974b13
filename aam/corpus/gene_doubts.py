"""What is doubtful of reads that a model with positions on the gene is put to: it takes reads of every region."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from aam.config import PretrainConfig, RunnableConfig
from aam.config.reads import ReadsRecord
from aam.corpus.windows import LENGTHS
from aam.gene.layout import Window, common_window, same_layout, unlike_text
from aam.gene.reads import LEAST_BASES
from aam.gene.regions import region_text
from aam.text import counted
from aam.vocab import PAD

LEAST_SHARED = 0.5
"""Share of the columns of reads that training must have covered."""


def knows_every_region(trained: RunnableConfig) -> bool:
    """Whether a model has learned from windows all over the gene."""
    return isinstance(trained, PretrainConfig) and trained.data.positions == "gene" and trained.tips.windows == "random"


def doubts_on_gene(trained: RunnableConfig, tokens: NDArray[np.uint8], records: Sequence[ReadsRecord]) -> Iterator[str]:
    """Warnings about ASVs, tokens [A, L] by columns of the gene, that lie as `records` say."""
    unseen = int((tokens[:, 1:] == PAD).all(axis=1).sum())
    if unseen:
        yield (
            f"{counted(unseen, 'ASVs')} of {len(tokens):,} are no 16S, or have fewer than {LEAST_BASES} bases: the "
            "model sees nothing of them, and gives them all one embedding"
        )
    known = trained.data.reads
    every = knows_every_region(trained)
    least = min(LENGTHS) if every else min((own.bases for own in known), default=0) // 2
    for record in records:
        if record.bases < least:
            yield (
                f"reads of {record.bases} bases are short: the model has learned from reads of {least} and more, so "
                "similar ASVs are hard to tell apart; give longer reads"
            )
        alike = max((shared(record, own) for own in known), default=1.0)
        if not every and alike >= LEAST_SHARED and known and not any(same_layout(record, own) for own in known):
            yield differing_reads(record, known[0])
        if not every and alike < LEAST_SHARED:
            regions = ", ".join(dict.fromkeys(span_text(own) for own in known))
            yield (
                f"reads lie on {span_text(record)}, but those that the model has learned from on {regions}; do not "
                "trust the results: `aam place`, and `aam distance` without --model, take reads of every region"
            )


def differing_reads(record: ReadsRecord, known: ReadsRecord) -> str:
    """Warning about reads of the region of training, but of another begin or length."""
    both, own = common_window([known, record]), Window(known.start, known.length)
    remedy = "--trim auto cuts them to the bases that the model reads"
    if both != own:
        remedy = f"train the model with --trim {both}, the window that both cover, and give --trim {both} here"
    return f"{unlike_text(record, known)}; {remedy}"


def shared(one: ReadsRecord, other: ReadsRecord) -> float:
    """Share of the columns of one table's reads that another one's cover; a column for each base, insertions aside."""
    first, last = max(one.start, other.start), min(one.start + one.length, other.start + other.length)
    return max(0, last - first) / max(one.length, 1)


def span_text(record: ReadsRecord) -> str:
    """The region of reads and its columns, in words."""
    return region_text(record.start, record.start + max(record.length, 1) - 1)
