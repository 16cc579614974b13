"""The features of the learners: how likely a clade, or an ASV, is seen in 300 reads of a sample.

    f = 1 - (1 - p)^d        p: share of the sample, d: reads that are drawn with replacement

The presence that a rarefaction draws at random, without its noise; it does not depend on how deeply a sample was
sequenced. N samples, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from aam.learners.clades import CladeTable

DEPTH = 300
"""Reads that are drawn. Between 100 and 1,000, or the mean of several, AUC between studies differs by less than 0.01."""
MIN_PREVALENCE = 0.05
"""Features in a smaller part of the training samples stay out."""
MOST = 8_000
"""Most clades, and most ASVs: the most prevalent."""


@dataclass(frozen=True)
class FeatureSet:
    """The features of a model: `nodes` int64 [F1] of the reference, then ASVs by `sequences` [F2], F = F1 + F2."""

    nodes: NDArray[np.int64]
    sequences: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.nodes) + len(self.sequences)

    def shares(self, table: CladeTable) -> NDArray[np.float32]:
        """The share of each sample in each feature, dense float32 [N, F]; 0 for ASVs that the table does not have."""
        clades = (table.asvs @ table.members[:, self.nodes]).toarray()
        column = {sequence: place for place, sequence in enumerate(table.sequences)}
        found = np.array([column.get(sequence, -1) for sequence in self.sequences], np.int64)
        own = np.zeros((len(clades), len(found)), np.float32)
        own[:, found >= 0] = table.asvs[:, found[found >= 0]].toarray()
        return np.concatenate([clades, own], axis=1).astype(np.float32)

    def of(self, table: CladeTable) -> NDArray[np.float32]:
        """The features of samples, float32 [N, F], 0 to 1."""
        return expected_presence(self.shares(table))


def expected_presence(shares: NDArray[np.float32], depth: int = DEPTH) -> NDArray[np.float32]:
    """How likely each share is seen in `depth` reads, the shape of `shares`."""
    return -np.expm1(depth * np.log1p(-np.clip(shares, 0.0, 1.0 - 1e-6))).astype(np.float32)


def choose_features(table: CladeTable) -> FeatureSet:
    """The clades and ASVs that enough of the training samples have.

    Of clades that are equal in all of the samples, nested ones mostly, the smallest is kept; of ASVs too.
    """
    clades, asvs = _choose(table.clades), _choose(table.asvs)
    return FeatureSet(clades, tuple(table.sequences[column] for column in asvs.tolist()))


def _choose(shares: csr_array) -> NDArray[np.int64]:
    """The columns of shares [N, C] that are prevalent, without repeated ones."""
    count = shares.shape[0]
    carriers = np.bincount(shares.indices[shares.data > 0], minlength=shares.shape[1])
    least = min(max(MIN_PREVALENCE * count, 2), carriers.max(initial=0))
    kept = np.flatnonzero(carriers >= max(least, 1))
    kept = np.sort(kept[np.argsort(-carriers[kept], kind="stable")[:MOST]])
    # Equal columns have equal random sums. Nodes are in postorder, so the first of them is the smallest clade.
    sums = np.random.default_rng(0).random(count) @ shares[:, kept]
    _, first = np.unique(np.round(sums, 9), return_index=True)
    return kept[np.sort(first)]
