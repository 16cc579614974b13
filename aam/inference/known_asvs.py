"""Whether the ASVs of a table are read from where a model's were: the same primers, the same strand.

The nucleotide head knows what is usual at each position of a read, and by that alone tells ASVs of its primers from all
others. Measured on four studies under two models, in nats a base: -0.5 to -1.1 for ASVs of the same primers, -2.3 to
-3.7 for their reverse complements, -2.2 to -3.2 for ASVs cut five bases later; all bases alike are -ln 4 = -1.39.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from aam import vocab
from aam.atomic import whole_file
from aam.errors import CheckpointError
from aam.io.sequences import tokenize
from aam.models.chunked_encoder import ChunkedEncoder

KNOWN = "known_asvs.npy"
"""File of a checkpoint folder: the rows of a sketch."""
ROW = np.dtype([("hash", "<u8"), ("study", "<u4"), ("prevalence", "<f4")])
MOST = 1 << 16
"""Most hashes that are kept, a megabyte. Of 1,000,000 ASVs that is every 15th: of a table's 4,000 about 260 are looked
up, and the part that is known is found to within 0.03 (its standard error)."""
ALIKE = 0.75
"""Likeness from which on a table counts as one of a study that was learned.

Measured on four studies: held-out samples have 0.96 to 1, those of held-out subjects 0.83 to 1, others' 0 to 0.69.
"""
PIECE = 1 << 16
"""ASVs whose tokens are copied at a time."""
CHANCE = -math.log(4)
MARGIN = 0.2
"""Nats below chance that still say nothing: a model that has learned little is at chance with everything."""
SOME = 1000
"""ASVs that are looked at."""
COMPLEMENT = str.maketrans("ACGTRYSWKMBDHVN", "TGCAYRSWMKVHDBN")


@dataclass(frozen=True)
class KnownASVs:
    """`rows` of type `ROW`, ascending: the smallest hashes of the ASVs that were learned from, and for each study that
    has them the part of its training samples that carries them. All hashes, where they are fewer than `MOST`."""

    rows: NDArray[np.void]

    def reaches(self, asked: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """For which hashes [A] it is known whether their ASVs were learned from."""
        own = np.unique(self.rows["hash"])
        return asked <= own[-1] if len(own) == MOST else np.ones(len(asked), dtype=bool)

    def share(self, asked: NDArray[np.uint64]) -> float | None:
        """Part of these ASVs, hashes [A], that are known; None where the sketch reaches none of them."""
        within = asked[self.reaches(asked)]
        return float(np.isin(within, self.rows["hash"]).mean()) if len(within) else None

    def likeness(self, asked: NDArray[np.uint64], counts: csr_array) -> float | None:
        """How alike the prevalences of ASVs, hashes [A], are in samples, counts [n, A], and in the most like study.

        Their cosine, 0 to 1: that of all samples like these, whatever their number, since a pair of samples shares an
        ASV with the square of its prevalence. None where the samples share no ASV that the sketch reaches.
        """
        n = counts.shape[0]
        carriers = np.bincount(counts.indices, minlength=len(asked)) * self.reaches(asked)
        squares = float((carriers * (carriers - 1)).sum()) / max(n * (n - 1), 1)
        if squares == 0:
            return None
        order = np.argsort(asked)
        place = np.searchsorted(asked, self.rows["hash"], sorter=order).clip(max=len(asked) - 1)
        here = np.where(asked[order[place]] == self.rows["hash"], carriers[order[place]] / n, 0.0)
        learned, study = self.rows["prevalence"].astype(np.float64), self.rows["study"]
        both, own = np.bincount(study, here * learned), np.bincount(study, learned**2)
        found = both[own > 0] / np.sqrt(own[own > 0] * squares)
        return min(1.0, float(found.max(initial=0.0)))

    def joined(self, other: KnownASVs) -> KnownASVs:
        """What both have learned from, each with studies of its own."""
        theirs = other.rows.copy()
        theirs["study"] += self.rows["study"].max(initial=0) + 1
        both = np.concatenate([self.rows, theirs])
        return kept(both[self.reaches(both["hash"]) & other.reaches(both["hash"])])


def kept(rows: NDArray[np.void]) -> KnownASVs:
    """The rows of the smallest hashes."""
    own = np.unique(rows["hash"])
    some = rows if len(own) <= MOST else rows[rows["hash"] <= own[MOST - 1]]
    return KnownASVs(np.sort(some, order=("hash", "study")))


def hashes_of(tokens: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Hashes [A] of ASVs, tokens [A, L]; the padding of the table plays no part."""
    parts = [np.empty(0, np.uint64)]
    width, pad = tokens.shape[1], bytes([vocab.PAD])
    for start in range(0, len(tokens), PIECE):
        text = tokens[start : start + PIECE].tobytes()
        rows = (text[row : row + width].rstrip(pad) for row in range(0, len(text), width))
        digests = b"".join(hashlib.blake2b(row, digest_size=8).digest() for row in rows)
        parts.append(np.frombuffer(digests, "<u8").astype(np.uint64))
    return np.concatenate(parts)


def sketch(
    tokens: NDArray[np.uint8],
    counts: csr_array,
    samples: NDArray[np.int64],
    studies: NDArray[np.integer] | None = None,
) -> KnownASVs:
    """The ASVs, tokens [A, L], of some samples, which are rows of counts [n, A]; `studies` are theirs, None: one."""
    hashes, parts = hashes_of(tokens), list[NDArray[np.void]]()
    studies = np.zeros(len(samples), np.int64) if studies is None else studies
    for study in np.unique(studies):
        own, carriers = samples[studies == study], np.zeros(len(tokens), dtype=np.int64)
        for row in own:
            carriers[counts.indices[counts.indptr[row] : counts.indptr[row + 1]]] += 1
        columns = np.flatnonzero(carriers)
        part = np.empty(len(columns), ROW)
        part["hash"], part["study"], part["prevalence"] = hashes[columns], study, carriers[columns] / len(own)
        parts.append(part)
    return kept(np.concatenate(parts))


def write_known(checkpoint: Path, known: KnownASVs) -> None:
    """Put the sketch into the folder of a checkpoint."""
    with whole_file(checkpoint / KNOWN) as partial, partial.open("wb") as handle:
        np.save(handle, known.rows, allow_pickle=False)


def read_known(checkpoint: Path) -> KnownASVs | None:
    """What stands with a checkpoint; those of runs that never came to their end have none."""
    file = checkpoint / KNOWN
    if not file.exists():
        return None
    try:
        rows = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CheckpointError(f"{file}: not readable ({error}); remove it, or restore the checkpoint") from error
    if rows.dtype != ROW or rows.ndim != 1 or not np.array_equal(rows, np.sort(rows, order=("hash", "study"))):
        raise CheckpointError(
            f"{file}: {rows.dtype} {rows.shape}, expected ascending rows of {', '.join(ROW.names or ())}; "
            "remove it, or restore the checkpoint"
        )
    return KnownASVs(rows)


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
