"""Which column of a joined table a sequence has: 24 bytes an ASV, whatever its length."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DIGEST = 16
"""Bytes of a digest: two of 10^10 sequences share one with a chance below 10^-18."""


class Placed(NamedTuple):
    """`columns` int64 [n] of n sequences; `new` int64, those of them, in order, that brought a column of their own."""

    columns: NDArray[np.int64]
    new: NDArray[np.int64]


def digests(sequences: Iterable[str]) -> NDArray[np.bytes_]:
    """Digests [n] of sequences, equal where they are."""
    found = [hashlib.blake2b(text.encode(), digest_size=DIGEST).digest() for text in sequences]
    return np.array(found, dtype=f"S{DIGEST}")


class AsvIndex:
    """Columns by sequence, numbered as they come: the digests in ascending order and the column of each."""

    def __init__(self) -> None:
        self._keys = np.empty(0, dtype=f"S{DIGEST}")
        self._columns = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._keys)

    def holds(self, sequences: Iterable[str]) -> NDArray[np.bool_]:
        """Which sequences [n] have a column."""
        keys = digests(sequences)
        return self._known(keys, np.searchsorted(self._keys, keys))

    def _known(self, keys: NDArray[np.bytes_], at: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the digest at these places is the one looked for."""
        known = np.zeros(len(keys), dtype=bool)
        inside = np.flatnonzero(at < len(self._keys))
        known[inside] = self._keys[at[inside]] == keys[inside]
        return known

    def place(self, sequences: Iterable[str]) -> Placed:
        """The column of each sequence; those not seen before get the next columns, in their order."""
        keys = digests(sequences)
        at = np.searchsorted(self._keys, keys)
        known = self._known(keys, at)
        columns = np.empty(len(keys), dtype=np.int64)
        columns[known] = self._columns[at[known]]
        fresh = np.flatnonzero(~known)
        own, first, inverse = np.unique(keys[fresh], return_index=True, return_inverse=True)
        number = np.empty(len(own), dtype=np.int64)
        number[np.argsort(first)] = len(self) + np.arange(len(own))
        columns[fresh] = number[inverse]
        self._keys, self._columns = np.concatenate([self._keys, own]), np.concatenate([self._columns, number])
        order = np.argsort(self._keys, kind="stable")
        self._keys, self._columns = self._keys[order], self._columns[order]
        return Placed(columns, fresh[np.sort(first)])
