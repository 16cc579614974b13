"""Whether the ASVs of a table are read from where a model's were: the same primers, the same strand.

The nucleotide head knows what is usual at each position of a read, and by that alone tells ASVs of its primers from all
others. Measured on four studies under two models, in nats a base: -0.5 to -1.1 for ASVs of the same primers, -2.3 to
-3.7 for their reverse complements, -2.2 to -3.2 for ASVs cut five bases later; all bases alike are -ln 4 = -1.39.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from aam import vocab
from aam.data.tokenizer import tokenize
from aam.models.chunked_encoder import ChunkedEncoder

CHANCE = -math.log(4)
MARGIN = 0.2
"""Nats below chance that still say nothing: a model that has learned little is at chance with everything."""
SOME = 1000
"""ASVs that are looked at."""
COMPLEMENT = str.maketrans("ACGTRYSWKMBDHVN", "TGCAYRSWMKVHDBN")


def misfit(encoder: ChunkedEncoder, sequences: Sequence[str]) -> str:
    """Why these ASVs, DNA in upper case, are none for this encoder, as far as their first bases tell; else empty."""
    some = [sequences[row] for row in range(min(SOME, len(sequences)))]
    given, turned = (familiarity(encoder, reads) for reads in (some, [reverse_complement(read) for read in some]))
    if not given < CHANCE - MARGIN:  # also where no letter is a base
        return ""
    scores = f"{given:.2f} nats a base by what is usual at each position, {CHANCE:.2f} by chance"
    if turned > CHANCE:
        return (
            f"these ASVs are reverse complements of what the model has learned from ({scores}, {turned:.2f} turned "
            "round); turn them round, for what comes out means nothing"
        )
    return (
        f"these ASVs are not what the model has learned from ({scores}): another region or strand, or primers not cut "
        "off; do not trust what comes out"
    )


def reverse_complement(sequence: str) -> str:
    """The reverse complement."""
    return sequence.translate(COMPLEMENT)[::-1]


@torch.no_grad()
def familiarity(encoder: ChunkedEncoder, sequences: Sequence[str]) -> float:
    """Mean log-probability of a base, in nats, by its position alone."""
    tokens = torch.from_numpy(tokenize(sequences, encoder.max_bp, sequences)).long()[:, 1:]
    bases = slice(vocab.A, vocab.T + 1)
    usual = encoder.usual()[: tokens.shape[1], bases].float().cpu().log_softmax(dim=1)
    known = (tokens >= vocab.A) & (tokens <= vocab.T)
    row, place = known.nonzero(as_tuple=True)
    return float(usual[place, tokens[row, place] - vocab.A].mean())
