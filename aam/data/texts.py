"""Many strings as one array of bytes: opened from a file at no cost, decoded one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

PIECE = 1 << 16
"""Strings decoded together when all are asked for."""


class Texts(Sequence[str]):
    """Strings [n] in UTF-8: number i is `data[bounds[i]:bounds[i + 1]]`; `data` uint8, `bounds` int64 [n + 1]."""

    def __init__(self, data: NDArray[np.uint8], bounds: NDArray[np.int64]):
        self.data, self.bounds = data, bounds

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @overload
    def __getitem__(self, key: int) -> str: ...
    @overload
    def __getitem__(self, key: slice) -> list[str]: ...
    def __getitem__(self, key: int | slice) -> str | list[str]:
        if isinstance(key, slice):
            return [self[place] for place in range(*key.indices(len(self)))]
        if not -len(self) <= key < len(self):
            raise IndexError(f"string {key} of {len(self)}")
        place = int(key) % len(self)
        return self.data[self.bounds[place] : self.bounds[place + 1]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), PIECE):
            bounds = self.bounds[start : start + PIECE + 1].tolist()
            text = self.data[bounds[0] : bounds[-1]].tobytes()
            for first, last in zip(bounds, bounds[1:], strict=False):
                yield text[first - bounds[0] : last - bounds[0]].decode()


def encode_texts(strings: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes of strings in one array and the length of each in bytes, int64 [n]."""
    encoded = [text.encode() for text in strings]
    return np.frombuffer(b"".join(encoded), np.uint8), np.fromiter(map(len, encoded), np.int64, len(encoded))
