"""How much of its samples a model does not read because of its token limit."""

from __future__ import annotations

import numpy as np

from aam.corpus.dataset import ASVDataset
from aam.text import counted

MEASURED = 1000
"""Samples that are drawn to count what is cut; of more, evenly spread ones, which takes a tenth of a second."""


def limit_text(samples: ASVDataset) -> str:
    """What the token limit of a draw cuts of its samples, in the draw of epoch 0; empty if it cuts nothing."""
    limit = samples.draw.token_limit
    if limit is None:
        return ""
    starts, rows = samples.stored.indptr, np.arange(len(samples)) if samples.rows is None else samples.rows
    richness = starts[rows + 1] - starts[rows]
    rich = np.flatnonzero(richness > limit)
    some = rich[np.unique(np.linspace(0, max(len(rich) - 1, 0), min(len(rich), MEASURED)).astype(np.int64))]
    whole = ASVDataset(samples.stored, samples.tokens, samples.sample_ids, samples.draw.without_limit, rows=rows)
    cut = []
    for row in some.tolist():
        all_of, kept = whole[row].counts, samples[row].counts
        if len(kept) < len(all_of):
            cut.append((len(all_of) - len(kept), all_of.sum() - kept.sum(), all_of.sum(), len(all_of)))
    if not cut:
        return ""
    asvs, reads, of, most = np.array(cut, np.int64).T
    times = len(rich) / len(some)
    about = "about " if times > 1 else ""
    which = "the least abundant" if samples.draw.selection == "abundance" else "drawn at random"
    return (
        f"{about}{counted(round(len(cut) * times), 'samples')} of {len(samples):,} have more than "
        f"{limit:,} ASVs; {about}{round(asvs.sum() * times):,} of their ASVs ({which} of each) with "
        f"{round(reads.sum() * times):,} reads, {reads.sum() / of.sum():.1%} of theirs, are not read; --token-limit "
        f"{most.max()} reads all"
    )
