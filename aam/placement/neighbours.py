"""The reference tips nearest to reads by differing columns: exact, in one matrix product per block."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from aam.gene.profile import NO_BASE

BYTES_AT_ONCE = 1 << 26
"""Memory of one block of the product."""
ROWS_AT_ONCE = 1 << 12
"""Rows that are written as zeros and ones together."""


class Neighbours(NamedTuple):
    """Numbers of the nearest rows int64 [A, K], nearest first, and in how many columns they differ int64 [A, K]."""

    rows: NDArray[np.int64]
    differing: NDArray[np.int64]


class Neighbourhood:
    """Codes of R rows on W columns, ready to be searched."""

    def __init__(self, codes: NDArray[np.uint8]) -> None:
        """Take the codes [R, W] of the rows, which are not copied: 0 to 3, and `NO_BASE`, which equals nothing."""
        self.codes, self.rows = codes, len(codes)

    def nearest(self, codes: NDArray[np.uint8], count: int, leave_out: NDArray[np.int64] | None = None) -> Neighbours:
        """The `count` rows with the fewest differing columns for reads with codes [A, W], over columns a read covers.

        A row without a base where the read has one differs there. Ties come in the order of the rows. `leave_out` int64
        [A]: a row that is not to be found for each read, such as the read itself, or -1.
        """
        count = min(count, self.rows)
        covered = (codes != NO_BASE).sum(axis=1)
        rows, alike = np.empty((len(codes), count), np.int64), np.empty((len(codes), count), np.int64)
        step = max(1, BYTES_AT_ONCE // (4 * self.rows))
        for start in range(0, len(codes), step):
            some = slice(start, start + step)
            same = self.equal_columns(codes[some])
            if leave_out is not None:
                reads = torch.from_numpy(np.flatnonzero(leave_out[some] >= 0))
                same[reads, torch.from_numpy(leave_out[some])[reads]] = -1
            # One whole number for both, so that ties are in the order of the rows.
            keys = same.int().mul_(self.rows).sub_(torch.arange(self.rows, dtype=torch.int32))
            top = keys.topk(count, 1).values.numpy()
            alike[some] = -(-top // self.rows)
            rows[some] = alike[some] * self.rows - top
        return Neighbours(rows, covered[:, None] - alike)

    def equal_columns(self, codes: NDArray[np.uint8]) -> torch.Tensor:
        """In how many columns reads with codes [A, W] have the base of each row, float32 [A, R]."""
        asked, same = one_hot(codes).T.contiguous(), torch.empty(len(codes), self.rows)
        for start in range(0, self.rows, ROWS_AT_ONCE):
            known = one_hot(self.codes[start : start + ROWS_AT_ONCE])
            torch.mm(known, asked, out=(part := torch.empty(len(known), len(codes))))
            same[:, start : start + ROWS_AT_ONCE] = part.T
        return same


def one_hot(codes: NDArray[np.uint8]) -> torch.Tensor:
    """Codes [A, W] as zeros and ones, float32 [A, 4 W]; all zeros where there is no base."""
    flags = torch.from_numpy(codes)[..., None] == torch.arange(4, dtype=torch.uint8)
    return flags.flatten(-2).float()
