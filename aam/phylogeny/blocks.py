"""Whole matrices by the batch kernel, block by block: beside the matrix itself memory holds little.

Unweighted: the presence of all samples under all branches is packed into bits and multiplied with itself, some branches
at a time. Abundance-weighted: samples are kept without their zeros and meet one block of columns after another.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aam.phylogeny import unifrac
from aam.phylogeny.community import Community, Progress
from aam.phylogeny.unifrac import Branches, Measure, SparseSample

BLOCK = 128
"""Samples whose branches are held as plain numbers at a time; a multiple of 8, as presence is packed into bits."""
STRIP = 512
"""Rows of the matrix that are worked on at a time."""
MEMORY = 2**29
"""Bytes that the branches of one matrix product may take, with a copy times their lengths."""


def matrix(samples: Community, measure: Measure, progress: Progress) -> np.ndarray:
    """UniFrac of all pairs, float64 [n, n], exactly symmetric with an exactly zero diagonal."""
    if measure.metric == "unweighted":
        return _unweighted(samples, progress)
    return _weighted(samples, measure, progress)


def faith_pd(samples: Community, progress: Progress) -> np.ndarray:
    """Faith PD of all samples, float64 [n]."""
    values = np.empty(samples.counts.shape[0])
    for start, branches in _blocks(samples):
        stop = start + branches.share.shape[1]
        values[start:stop] = unifrac.faith_pd(branches)
        progress(stop, len(values))
    return values


def _blocks(samples: Community) -> Iterator[tuple[int, Branches]]:
    """`BLOCK` samples at a time, with the number of the first; all blocks have the same branches in the same order."""
    counts, total = samples.counts, samples.counts.shape[0]
    ranges = unifrac.ranges(samples.tree, np.arange(counts.shape[1]))
    for start in range(0, total, BLOCK):
        rows = [slice(*counts.indptr[row : row + 2]) for row in range(start, min(start + BLOCK, total))]
        leaves = [counts.indices[row] for row in rows]
        yield start, Branches(unifrac.shares(ranges, leaves, [counts.data[row] for row in rows]), ranges.length)


def _unweighted(samples: Community, progress: Progress) -> np.ndarray:
    import torch

    total = samples.counts.shape[0]
    packed, length = [], np.zeros(0)
    for _, branches in _blocks(samples):
        packed.append(np.packbits(branches.share > 0, axis=1))
        length = branches.length
    bits = np.concatenate(packed, axis=1)
    shared = torch.zeros((total, total), dtype=torch.float64)
    step = max(1, MEMORY // (16 * total))
    for start in range(0, len(bits), step):
        present = torch.from_numpy(np.unpackbits(bits[start : start + step], axis=1, count=total)).to(torch.float64)
        weighed = present * torch.from_numpy(length[start : start + step, None])
        for row in range(0, total, STRIP):  # the upper triangle alone: half the work
            shared[row : row + STRIP, row:].addmm_(weighed[:, row : row + STRIP].T, present[:, row:])
        progress(min(start + step, len(bits)), len(bits))
    return _finish_unweighted(shared.numpy())


def _finish_unweighted(shared: np.ndarray) -> np.ndarray:
    """Shared lengths, of which the upper triangle is right, to distances, in place."""
    own = np.diagonal(shared).copy()
    for row in range(0, len(shared), STRIP):
        strip = slice(row, row + STRIP)
        corner = np.triu(shared[strip, strip])
        shared[strip, strip] = corner + np.triu(corner, 1).T
        shared[strip, row:] = unifrac.unweighted_from_shared(shared[strip, row:], own[strip], own[row:])
    _mirror(shared)
    return shared


def _weighted(samples: Community, measure: Measure, progress: Progress) -> np.ndarray:
    total = samples.counts.shape[0]
    result = np.zeros((total, total))
    rows: list[SparseSample] = []
    for start, branches in _blocks(samples):
        count = branches.share.shape[1]
        columns = unifrac.columns_of(branches, measure)
        for row, other in enumerate(rows):
            result[row, start : start + count] = columns.to(other)
        for sample in range(count):
            rows.append(unifrac.sparse_sample(branches, sample))
            result[start + sample, start + sample + 1 : start + count] = columns.to(rows[-1], sample + 1)
        progress(len(rows) ** 2, total**2)
    _mirror(result)
    return result


def _mirror(matrix: np.ndarray) -> None:
    """Copy the upper triangle onto the lower one, in place."""
    for row in range(0, len(matrix), STRIP):
        strip = slice(row, row + STRIP)
        corner = np.triu(matrix[strip, strip], 1)
        matrix[strip, strip] = corner + corner.T
        matrix[row + STRIP :, strip] = matrix[strip, row + STRIP :].T
