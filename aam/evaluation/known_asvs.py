"""Which ASVs a model has learned from: a sketch of them, kept with the checkpoint, that tells how new a table is.

An ASV is a 64-bit hash of the tokens that the model sees. Of all hashes the smallest are kept, which are as good as
drawn by chance, and the same in every table: the part of a table's hashes below the last one kept that were kept too
is an estimate of the part of its ASVs that are known (bottom sketches, Broder 1997; containment by a threshold, Irber
et al. 2022, https://doi.org/10.1101/2022.01.11.475838). With fewer ASVs than are kept it is no estimate but exact.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from aam import vocab
from aam.errors import CheckpointError

KNOWN = "known_asvs.npy"
"""File of a checkpoint folder: the hashes, uint64 [k], ascending."""
MOST = 1 << 16
"""Most hashes that are kept, half a megabyte. Of 1,000,000 ASVs that is every 15th: of a table's 4,000 about 260 are
looked up, and the part that is known is found to within 0.03 (its standard error)."""
FAMILIAR = 0.85
"""Part of a table's ASVs from which on its study counts as one that the model has learned from.

Measured on three studies: tables of a study that was learned have 0.87 to 0.96, those of others 0 to 0.72. In between,
to take a known study for another costs an R2 of UniFrac of 0.02 to 0.04, the reverse 1 and more.
"""
ROWS = 1 << 16
"""ASVs whose tokens are copied at a time."""


@dataclass(frozen=True)
class KnownASVs:
    """The smallest `hashes` uint64 [k], ascending, of the ASVs that were learned from: all, where k < `MOST`."""

    hashes: NDArray[np.uint64]

    @property
    def reach(self) -> int:
        """The largest hash of which it is known whether its ASV was learned from."""
        return int(self.hashes[-1]) if len(self.hashes) == MOST else 2**64 - 1

    def share(self, tokens: NDArray[np.uint8]) -> float | None:
        """Part of these ASVs, tokens [A, L], that are known; None where the sketch reaches none of them."""
        asked = hashes_of(tokens)
        within = asked[asked <= np.uint64(self.reach)]
        return float(np.isin(within, self.hashes).mean()) if len(within) else None

    def joined(self, other: KnownASVs) -> KnownASVs:
        """The ASVs of both; what the sketch of all of them would be."""
        both = np.union1d(self.hashes, other.hashes)
        return KnownASVs(both[both <= np.uint64(min(self.reach, other.reach))][:MOST])


def hashes_of(tokens: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Hashes [A] of ASVs, tokens [A, L]; the padding of the table plays no part."""
    digests = list[bytes]()
    width, pad = tokens.shape[1], bytes([vocab.PAD])
    for start in range(0, len(tokens), ROWS):
        text = tokens[start : start + ROWS].tobytes()
        digests += (
            hashlib.blake2b(text[row : row + width].rstrip(pad), digest_size=8).digest()
            for row in range(0, len(text), width)
        )
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def sketch(tokens: NDArray[np.uint8], counts: csr_array, rows: NDArray[np.int64]) -> KnownASVs:
    """The ASVs, tokens [A, L], that some samples carry: the given rows of counts [samples, A]."""
    carried = np.zeros(len(tokens), dtype=bool)
    for row in rows:
        carried[counts.indices[counts.indptr[row] : counts.indptr[row + 1]]] = True
    return KnownASVs(np.unique(hashes_of(tokens)[carried])[:MOST])


def write_known(checkpoint: Path, known: KnownASVs) -> None:
    """Put the sketch into the folder of a checkpoint."""
    partial = checkpoint / f"{KNOWN}.partial"
    with partial.open("wb") as handle:
        np.save(handle, known.hashes, allow_pickle=False)
    partial.replace(checkpoint / KNOWN)


def read_known(checkpoint: Path) -> KnownASVs | None:
    """What stands with a checkpoint; those of runs that never came to their end have none."""
    file = checkpoint / KNOWN
    if not file.exists():
        return None
    try:
        hashes = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CheckpointError(f"{file}: not readable ({error}); remove it, or restore the checkpoint") from error
    if hashes.dtype != np.uint64 or hashes.ndim != 1 or len(hashes) > MOST or (hashes[1:] <= hashes[:-1]).any():
        raise CheckpointError(
            f"{file}: {hashes.dtype} {hashes.shape}, expected at most {MOST:,} ascending numbers of type uint64; "
            "remove it, or restore the checkpoint"
        )
    return KnownASVs(hashes)
