"""The reference tips nearest to reads by differing columns: exact, in one matrix product per block."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from aam.gene.profile import NO_BASE

READS_AT_ONCE, ROWS_AT_ONCE = 1 << 12, 1 << 12
"""Reads and rows of one block of the product: 64 MiB."""


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
        for start in range(0, len(codes), READS_AT_ONCE):
            some = slice(start, start + READS_AT_ONCE)
            keys = self._best_keys(codes[some], count, None if leave_out is None else leave_out[some])
            alike[some] = -(-keys // self.rows)
            rows[some] = alike[some] * self.rows - keys
        return Neighbours(rows, covered[:, None] - alike)

    def _best_keys(
        self, codes: NDArray[np.uint8], count: int, leave_out: NDArray[np.int64] | None
    ) -> NDArray[np.int32]:
        """The largest `count` keys of reads with codes [A, W], largest first, int32 [A, count].

        A key is equal columns times R less the number of the row: one whole number, so ties are in the order of rows.
        """
        asked, best = one_hot(codes), torch.empty(len(codes), 0, dtype=torch.int32)
        for start in range(0, self.rows, ROWS_AT_ONCE):
            known = one_hot(self.codes[start : start + ROWS_AT_ONCE])
            same = asked @ known.T
            if leave_out is not None:
                inside = np.flatnonzero((leave_out >= start) & (leave_out < start + len(known)))
                same[torch.from_numpy(inside), torch.from_numpy(leave_out[inside] - start)] = -1
            keys = same.int().mul_(self.rows).sub_(torch.arange(start, start + len(known), dtype=torch.int32))
            best = torch.cat([best, keys.topk(min(count, len(known)), 1).values], 1)
            best = best.topk(min(count, best.shape[1]), 1).values
        return best.numpy()


def one_hot(codes: NDArray[np.uint8]) -> torch.Tensor:
    """Codes [A, W] as zeros and ones, float32 [A, 4 W]; all zeros where there is no base."""
    flags = torch.from_numpy(codes)[..., None] == torch.arange(4, dtype=torch.uint8)
    return flags.flatten(-2).float()
