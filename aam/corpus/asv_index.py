"""Columns of sequences in a corpus: one for each distinct sequence, over all tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.io.sequences import hash_sequences

KEY_BYTES = 16
"""Bytes of a hash: two of 10^10 sequences share one with a chance below 10^-18."""
KEY = np.dtype(f"S{KEY_BYTES}")


class AsvColumns(NamedTuple):
    """The `columns` int64 [n] of n sequences; `new` int64: numbers, ascending, of the sequences that got a new one."""

    columns: NDArray[np.int64]
    new: NDArray[np.int64]


def hash_texts(sequences: Iterable[str]) -> NDArray[np.bytes_]:
    """Hashes [n] of sequences."""
    return hash_sequences(map(str.encode, sequences), KEY_BYTES).view(KEY).ravel()


class AsvIndex:
    """Column number of each sequence, in order of first occurrence; looked up by sorted hashes of the sequences."""

    def __init__(self) -> None:
        self._keys = np.empty(0, dtype=KEY)
        self._columns = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def by_hash(self) -> NDArray[np.int64]:
        """The columns in the order of the hashes of their sequences, int64 [A]; see `aam.corpus.equal_asvs`."""
        return self._columns

    def holds(self, sequences: Iterable[str]) -> NDArray[np.bool_]:
        """Which sequences [n] have a column, bool [n]."""
        keys = hash_texts(sequences)
        return self._match(keys, np.searchsorted(self._keys, keys))

    def _match(self, keys: NDArray[np.bytes_], at: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether `keys` [n] equal the stored hashes at the positions `at` [n]; positions past the end do not match."""
        known = np.zeros(len(keys), dtype=bool)
        inside = np.flatnonzero(at < len(self._keys))
        known[inside] = self._keys[at[inside]] == keys[inside]
        return known

    def assign(self, sequences: Iterable[str]) -> AsvColumns:
        """The column of each sequence; new sequences get the next columns, in their order."""
        keys = hash_texts(sequences)
        at = np.searchsorted(self._keys, keys)
        known = self._match(keys, at)
        columns = np.empty(len(keys), dtype=np.int64)
        columns[known] = self._columns[at[known]]
        new = np.flatnonzero(~known)
        own, first, inverse = np.unique(keys[new], return_index=True, return_inverse=True)
        number = np.empty(len(own), dtype=np.int64)
        number[np.argsort(first)] = len(self) + np.arange(len(own))
        columns[new] = number[inverse]
        self._keys, self._columns = np.concatenate([self._keys, own]), np.concatenate([self._columns, number])
        order = np.argsort(self._keys, kind="stable")
        self._keys, self._columns = self._keys[order], self._columns[order]
        return AsvColumns(columns, new[np.sort(first)])
