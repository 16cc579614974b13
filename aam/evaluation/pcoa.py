"""Principal coordinates of a distance matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from aam.health.guards import Interventions
from aam.health.linalg import robust_eigh

if TYPE_CHECKING:
    from skbio.stats.distance import DistanceMatrix

EXACT_SAMPLES = 1000
"""Above this many samples a randomised decomposition finds the leading axes; the exact one takes O(N^3)."""


class Ordination(NamedTuple):
    """`coordinates` float64 [N, d] by sample of `ids`; `explained` [d], the fraction of variation on each axis.

    `fallbacks` counts the retries that the decomposition needed: 0 where all is well.
    """

    ids: list[str]
    coordinates: NDArray[np.float64]
    explained: NDArray[np.float64]
    fallbacks: int = 0


def pcoa(distances: ArrayLike, ids: Sequence[str], dimensions: int = 10) -> Ordination:
    """Principal coordinate analysis (Gower 1966) of distances [N, N]; at most N - 1 axes.

    An axis has no sign of its own; here the entry of largest magnitude is positive, so that figures of two runs agree.
    UniFrac is not Euclidean, so late eigenvalues may be negative; their axes are 0. Samples that are all alike lie in
    one point that explains nothing. What is no distance matrix is refused by scikit-bio (`DistanceMatrixError`).
    """
    from skbio.stats.distance import DistanceMatrix

    matrix = DistanceMatrix(np.array(distances, dtype=np.float64), [str(sample) for sample in ids])
    axes = max(min(dimensions, len(matrix.ids) - 1), 1)
    return _exact(matrix, axes) if len(matrix.ids) <= EXACT_SAMPLES else _leading(matrix, axes)


def _exact(matrix: DistanceMatrix, axes: int) -> Ordination:
    """Classical scaling: the eigenvectors of the centred squares of the distances, in float64."""
    gram = -0.5 * torch.from_numpy(np.array(matrix.data)).square()
    gram = gram - gram.mean(0, keepdim=True) - gram.mean(1, keepdim=True) + gram.mean()
    retries = Interventions(budget=1.0)
    eigen = robust_eigh(gram, interventions=retries)
    values, vectors = eigen.values.flip(0), eigen.vectors.flip(1)  # the largest first
    noise = values.abs().max() * len(values) * torch.finfo(torch.float64).eps
    positive = torch.where(values > noise, values, 0.0)
    explained = positive / positive.sum().clamp(min=torch.finfo(torch.float64).tiny)
    coordinates = (vectors * positive.sqrt())[:, :axes].numpy()
    return Ordination(list(matrix.ids), _signed(coordinates), explained[:axes].numpy(), retries.total)


def _leading(matrix: DistanceMatrix, axes: int) -> Ordination:
    """The leading axes alone, by scikit-bio's randomised decomposition."""
    from skbio.stats.ordination import pcoa as skbio_pcoa

    result = skbio_pcoa(matrix, method="fsvd", dimensions=axes, seed=0, warn_neg_eigval=False)
    coordinates = result.samples.to_numpy(dtype=np.float64)
    return Ordination(list(matrix.ids), _signed(coordinates), np.asarray(result.proportion_explained, dtype=np.float64))


def _signed(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same axes [N, d], of each the entry of largest magnitude positive."""
    peak = coordinates[np.abs(coordinates).argmax(axis=0), np.arange(coordinates.shape[1])]
    return coordinates * np.where(peak < 0, -1.0, 1.0)
