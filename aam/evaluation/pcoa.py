"""Principal coordinates of a distance matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

EXACT_SAMPLES = 1000
"""Above this many samples a randomised decomposition finds the leading axes; the exact one takes O(N^3)."""


class Ordination(NamedTuple):
    """`coordinates` float64 [N, d] by sample of `ids`; `explained` [d], the fraction of variation on each axis."""

    ids: list[str]
    coordinates: NDArray[np.float64]
    explained: NDArray[np.float64]


def pcoa(distances: ArrayLike, ids: Sequence[str], dimensions: int = 10, seed: int = 0) -> Ordination:
    """Principal coordinate analysis (Gower 1966), by scikit-bio, of distances [N, N]; at most N - 1 axes.

    An axis has no sign of its own; here the entry of largest magnitude is positive, so that figures of two runs agree.
    UniFrac is not Euclidean, so late eigenvalues may be negative; scikit-bio sets them to 0. Samples that are all alike
    lie in one point that explains nothing. scikit-bio refuses what is no distance matrix (`DistanceMatrixError`).
    """
    from skbio.stats.distance import DistanceMatrix
    from skbio.stats.ordination import pcoa as skbio_pcoa

    matrix = DistanceMatrix(np.array(distances, dtype=np.float64), [str(sample) for sample in ids])
    samples = len(matrix.ids)
    axes = max(min(dimensions, samples - 1), 1)
    if not matrix.data.any():
        return Ordination(list(matrix.ids), np.zeros((samples, axes)), np.zeros(axes))
    method = "eigh" if samples <= EXACT_SAMPLES else "fsvd"
    result = skbio_pcoa(matrix, method=method, dimensions=axes, seed=seed, warn_neg_eigval=False)
    coordinates = result.samples.to_numpy(dtype=np.float64)
    peak = coordinates[np.abs(coordinates).argmax(axis=0), np.arange(coordinates.shape[1])]
    return Ordination(
        list(matrix.ids),
        coordinates * np.where(peak < 0, -1.0, 1.0),
        np.asarray(result.proportion_explained, dtype=np.float64),
    )
