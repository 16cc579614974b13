"""Compares the ASVs of a table with those of training: the same ASVs, the same region and strand.

A sketch next to a checkpoint records which ASVs were in training, and in which fraction of the samples of each study.
Region and strand are checked with the nucleotide head, which has learned the base frequencies by position.
Mean log-probability
of a base by position, measured on four studies under two models, in nats: -0.5 to -1.1 for ASVs of the same primers,
-2.3 to -3.7 for their reverse complements, -2.2 to -3.2 for ASVs cut five bases later; -ln 4 = -1.39 by chance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from aam import vocab
from aam.atomic import replace_file
from aam.checkpoint import check_further_file, further_file
from aam.errors import CheckpointError
from aam.gene.reads import some_of
from aam.io.output import write_through_memory
from aam.io.sequences import hash_sequences, tokenize, unpadded_rows
from aam.models.chunked_encoder import ChunkedEncoder

KNOWN = "known_asvs.npy"
"""File of a checkpoint folder: the rows of a sketch."""
ROW = np.dtype([("hash", "<u8"), ("study", "<u4"), ("prevalence", "<f4")])
MAX_HASHES = 1 << 16
"""Most hashes that are kept, a megabyte. Of 1,000,000 ASVs that is every 15th: of a table's 4,000 about 260 are looked
up, and the part that is known is found to within 0.03 (its standard error)."""
SAME_STUDY = 0.75
"""Likeness from which on a table counts as one of a study of training.

Measured on four studies: held-out samples have 0.96 to 1, those of held-out subjects 0.83 to 1, others 0 to 0.69.
"""
LABELLED = 0
"""Number of the study of the labels in the sketch of a model of `aam train`; those behind it are of its encoder."""
CHANCE = -math.log(4)
MARGIN = 0.2
"""Nats below chance that are no sign of another region: a model that has learned little is near chance with all."""
CHECKED_ASVS = 1000
"""ASVs of a table whose region is checked; only for a model that does not know how its reads lie."""
COMPLEMENT = str.maketrans("ACGTRYSWKMBDHVN", "TGCAYRSWMKVHDBN")


@dataclass(frozen=True)
class KnownASVs:
    """A sketch of the ASVs of training: `rows` of type `ROW`, ascending, one for each ASV and study that has it.

    `prevalence` is the part of the study's training samples that carries the ASV. Of more than `MAX_HASHES` ASVs the
    sketch has those of the smallest hashes.
    """

    rows: NDArray[np.void]

    def covers(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which hashes [A] are in the range of the sketch, so that it shows whether their ASVs were in training."""
        own = np.unique(self.rows["hash"])
        return hashes <= own[-1] if len(own) == MAX_HASHES else np.ones(len(hashes), dtype=bool)

    def share(self, hashes: NDArray[np.uint64], study: int | None = None) -> float | None:
        """The part of these ASVs, hashes [A], that was in training, with `study` in that of this number.

        None if none is in the range of the sketch.
        """
        within, rows = hashes[self.covers(hashes)], self.rows
        rows = rows if study is None else rows[rows["study"] == study]
        return float(np.isin(within, rows["hash"]).mean()) if len(within) else None

    def share_text(self, hashes: NDArray[np.uint64]) -> str:
        """Text with the share of these ASVs, hashes [A]; empty if it is unknown."""
        share = self.share(hashes)
        return "" if share is None else f"{KnownShare(share).text(len(hashes))} training"

    def likeness(self, hashes: NDArray[np.uint64], counts: csr_array, study: int | None = None) -> float | None:
        """Similarity of a table to the nearest study of training: cosine, 0 to 1, of the prevalences of their ASVs.

        With `study`, to that of this number alone.

        The table is given by hashes [A] and counts [n, A]. Squared prevalences are estimated from pairs of samples, so
        that the number of samples causes no bias. None if no two samples share an ASV that the sketch covers.
        """
        n = counts.shape[0]
        carriers = np.bincount(counts.indices, minlength=len(hashes)) * self.covers(hashes)
        squares = float((carriers * (carriers - 1)).sum()) / max(n * (n - 1), 1)
        if squares == 0:
            return None
        order = np.argsort(hashes)
        place = np.searchsorted(hashes, self.rows["hash"], sorter=order).clip(max=len(hashes) - 1)
        here = np.where(hashes[order[place]] == self.rows["hash"], carriers[order[place]] / n, 0.0)
        learned, studies = self.rows["prevalence"].astype(np.float64), self.rows["study"]
        both, own = np.bincount(studies, here * learned), np.bincount(studies, learned**2)
        if study is not None:
            both, own = both[study : study + 1], own[study : study + 1]
        found = both[own > 0] / np.sqrt(own[own > 0] * squares)
        return min(1.0, float(found.max(initial=0.0)))

    def merge(self, other: KnownASVs) -> KnownASVs:
        """Merge two sketches; their studies stay separate."""
        theirs = other.rows.copy()
        theirs["study"] += self.rows["study"].max(initial=0) + 1
        return unite([self, KnownASVs(theirs)])


def unite(sketches: Sequence[KnownASVs]) -> KnownASVs:
    """One sketch of the folds of a model, whose studies have the same numbers."""
    rows = np.unique(np.concatenate([one.rows for one in sketches]))
    return smallest_hashes(rows[np.all([one.covers(rows["hash"]) for one in sketches], axis=0)])


class KnownShare(NamedTuple):
    """The part of ASVs that was in training; `bases`: compared on so many bases, None: on all."""

    value: float
    bases: int | None = None

    def text(self, count: int) -> str:
        """Of `count` ASVs, in words."""
        cut = "" if self.bases is None else f", by their first {self.bases} bases,"
        return f"{share_words(self.value)} of the {count:,} ASVs{cut} were in"


def share_words(share: float) -> str:
    """A share in percent, which is 0 or 100 % only if it is exactly that."""
    if 0 < share < 0.005:
        return "less than 1%"
    return "more than 99%" if 0.995 <= share < 1 else f"{share:.0%}"


def smallest_hashes(rows: NDArray[np.void]) -> KnownASVs:
    """The sketch of at most `MAX_HASHES` ASVs from rows of any number."""
    own = np.unique(rows["hash"])
    some = rows if len(own) <= MAX_HASHES else rows[rows["hash"] <= own[MAX_HASHES - 1]]
    return KnownASVs(np.sort(some, order=("hash", "study")))


def hashes_of(tokens: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Hashes [A] of ASVs, tokens [A, L]; they do not depend on the padding."""
    hashes = hash_sequences(unpadded_rows(tokens), ROW["hash"].itemsize)
    return hashes.view(ROW["hash"]).ravel().astype(np.uint64, copy=False)


def sketch_asvs(
    tokens: NDArray[np.uint8],
    counts: csr_array,
    samples: NDArray[np.int64],
    studies: NDArray[np.integer] | None = None,
) -> KnownASVs:
    """A sketch of the ASVs, tokens [A, L], of some samples, rows of counts [n, A]; `studies` (None: one) are theirs."""
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
    return smallest_hashes(np.concatenate(parts))


def write_known(checkpoint: Path, known: KnownASVs) -> None:
    """Write the sketch into the folder of a checkpoint."""
    with (
        further_file(checkpoint, KNOWN),
        replace_file(checkpoint / KNOWN) as partial,
        write_through_memory(partial) as handle,
    ):
        np.save(handle, known.rows, allow_pickle=False)


def read_known(checkpoint: Path) -> KnownASVs | None:
    """Read the sketch of a checkpoint; None if its run is not finished. Raises CheckpointError for a damaged file."""
    file = checkpoint / KNOWN
    check_further_file(checkpoint, KNOWN)
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


def region_mismatch(encoder: ChunkedEncoder, sequences: Sequence[str]) -> str:
    """Reason why ASVs (DNA in upper case) seem to be of another region or strand than in training; else empty."""
    if encoder.by_column:  # its ASVs are put on the gene, whatever their region and strand
        return ""
    some = some_of(sequences, CHECKED_ASVS)
    given = mean_log_probability(encoder, some)
    turned = mean_log_probability(encoder, [reverse_complement(sequence) for sequence in some])
    if not given < CHANCE - MARGIN:  # also where no letter is a base
        return ""
    scores = f"{given:.2f} nats a base by what is usual at each position, {CHANCE:.2f} by chance"
    if turned > CHANCE:
        return (
            f"these ASVs are reverse complements of what the model has learned from ({scores}, {turned:.2f} reverse "
            "complemented); reverse complement them, otherwise the results are meaningless"
        )
    return (
        f"these ASVs are not what the model has learned from ({scores}): another region or strand, or primers "
        "not cut off; do not trust the results"
    )


def reverse_complement(sequence: str) -> str:
    """The reverse complement of DNA in upper case, IUPAC codes included."""
    return sequence.translate(COMPLEMENT)[::-1]


@torch.no_grad()
def mean_log_probability(encoder: ChunkedEncoder, sequences: Sequence[str]) -> float:
    """Mean log-probability of a base, in nats, given its position alone."""
    tokens = torch.from_numpy(tokenize(sequences, encoder.max_bp, sequences)).long()[:, 1:]
    bases = slice(vocab.A, vocab.T + 1)
    usual = encoder.consensus_logits()[: tokens.shape[1], bases].float().cpu().log_softmax(dim=1)
    known = (tokens >= vocab.A) & (tokens <= vocab.T)
    row, place = known.nonzero(as_tuple=True)
    return float(usual[place, tokens[row, place] - vocab.A].mean())
