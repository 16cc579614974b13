"""The reference tips nearest to reads by differing columns: exact, in one matrix product per block."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from aam.gene.profile import NO_BASE

BYTES_AT_ONCE = 1 << 27
"""Memory of one block of the product."""


class Neighbours(NamedTuple):
    """Numbers of the nearest rows int64 [A, K], nearest first, and in how many columns they differ int64 [A, K]."""

    rows: NDArray[np.int64]
    differing: NDArray[np.int64]


class Neighbourhood:
    """Codes of R rows on W columns, ready to be searched; equal rows are searched once."""

    def __init__(self, codes: NDArray[np.uint8]) -> None:
        """Take the codes [W, R] of the rows: 0 to 3, and `NO_BASE`, which equals nothing."""
        self.columns, self.rows = codes.shape
        self._hot = one_hot(np.ascontiguousarray(codes.T))  # [R, 4 W]

    def nearest(self, codes: NDArray[np.uint8], count: int, leave_out: NDArray[np.int64] | None = None) -> Neighbours:
        """The `count` rows with the fewest differing columns for reads with codes [A, W], over columns a read covers.

        A row without a base where the read has one differs there. Ties come in the order of the rows. `leave_out` int64
        [A]: a row that is not to be found for each read, such as the read itself.
        """
        covered = (codes != NO_BASE).sum(axis=1)
        found, equal = [], []
        step = max(1, BYTES_AT_ONCE // (4 * self.rows))
        for start in range(0, len(codes), step):
            same = one_hot(codes[start : start + step]) @ self._hot.T
            if leave_out is not None:
                same[torch.arange(len(same)), torch.from_numpy(leave_out[start : start + step])] = -1
            top = same.topk(count, 1)
            found.append(top.indices.numpy())
            equal.append(top.values.numpy())
        rows, alike = np.concatenate(found), np.concatenate(equal).astype(np.int64)
        order = np.lexsort((rows, -alike))
        return Neighbours(np.take_along_axis(rows, order, 1), covered[:, None] - np.take_along_axis(alike, order, 1))


def one_hot(codes: NDArray[np.uint8]) -> torch.Tensor:
    """Codes [A, W] as zeros and ones, float32 [A, 4 W]; all zeros where there is no base."""
    flags = torch.from_numpy(codes)[..., None] == torch.arange(4, dtype=torch.uint8)
    return flags.flatten(-2).float()
