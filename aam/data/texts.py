"""Many strings as one array of bytes: opened from a file at no cost, decoded one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

PIECE = 1 << 16
"""Strings decoded together when all are asked for."""


class Texts(Sequence[str]):
    """Strings [n] in UTF-8: that of row r is `data[bounds[r]:bounds[r + 1]]`; `data` uint8, `bounds` int64.

    `rows` int [n] says which rows they are, None: all, in order.
    """

    def __init__(self, data: NDArray[np.uint8], bounds: NDArray[np.int64], rows: NDArray[np.integer] | None = None):
        self.data, self.bounds, self.rows = data, bounds, rows

    def __len__(self) -> int:
        return len(self.bounds) - 1 if self.rows is None else len(self.rows)

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> Texts: ...
    def __getitem__(self, key: int | slice) -> str | Texts:
        if isinstance(key, slice):
            return self.take(np.arange(*key.indices(len(self))))
        if not -len(self) <= key < len(self):
            raise IndexError(f"string {key} of {len(self)}")
        place = int(key) % len(self)
        row = place if self.rows is None else self.rows[place]
        return self.data[self.bounds[row] : self.bounds[row + 1]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        if self.rows is not None:
            yield from (self[place] for place in range(len(self)))
            return
        for start in range(0, len(self), PIECE):
            bounds = self.bounds[start : start + PIECE + 1].tolist()
            text = self.data[bounds[0] : bounds[-1]].tobytes()
            for first, last in zip(bounds, bounds[1:], strict=False):
                yield text[first - bounds[0] : last - bounds[0]].decode()

    def take(self, places: NDArray[np.integer]) -> Texts:
        """Some of them, in this order, without decoding any."""
        return Texts(self.data, self.bounds, places if self.rows is None else self.rows[places])


def pick(strings: Sequence[str], places: NDArray[np.integer]) -> Sequence[str]:
    """Some strings in this order: a list, or, of `Texts`, which may be millions, a part that stays undecoded."""
    return strings.take(places) if isinstance(strings, Texts) else [strings[place] for place in places]


def encode_texts(strings: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes of strings in one array and the length of each in bytes, int64 [n]."""
    encoded = [text.encode() for text in strings]
    return np.frombuffer(b"".join(encoded), np.uint8), np.fromiter(map(len, encoded), np.int64, len(encoded))
