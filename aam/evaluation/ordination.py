"""Principal coordinates of a distance matrix, and how well two matrices of the same samples agree. N samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from aam.evaluation.metrics import upper_triangle

EXACT_SAMPLES = 1000
"""Above this many samples a randomised decomposition finds the leading axes; the exact one takes O(N^3)."""
COMPONENTS = 32
"""Principal components that stand for many features of a sample."""
RECALL_NEIGHBOURS = 10
PROCRUSTES_AXES = 10


class Ordination(NamedTuple):
    """`coordinates` float64 [N, d] by sample of `ids`; `explained` [d], the fraction of variation on each axis."""

    ids: list[str]
    coordinates: NDArray[np.float64]
    explained: NDArray[np.float64]


def pcoa(distances: ArrayLike, ids: Sequence[str], dimensions: int = 10) -> Ordination:
    """Principal coordinate analysis (Gower 1966) of distances [N, N] by scikit-bio; at most N - 1 axes.

    The sign of an axis is arbitrary; here its entry of largest magnitude is positive, so that plots of two runs agree.
    UniFrac is not Euclidean, so late eigenvalues may be negative; their axes are 0. If all distances are 0, all
    coordinates are 0. Raises `DistanceMatrixError` of scikit-bio for an invalid distance matrix.
    """
    from skbio.stats.distance import DistanceMatrix
    from skbio.stats.ordination import pcoa as skbio_pcoa

    values, names = np.array(distances, dtype=np.float64), [str(sample) for sample in ids]
    unit = float(values.max(initial=0.0)) or 1.0  # scikit-bio takes eigenvalues below 1e-8 for 0, whatever the unit
    matrix = DistanceMatrix(values / unit, names)
    axes = max(min(dimensions, len(names) - 1), 1)
    if not matrix.data.any():
        return Ordination(names, np.zeros((len(names), axes)), np.zeros(axes))
    # All eigenvalues where they are exact: the shares are then of the sum of the positive ones, not of the trace.
    method, found = ("eigh", len(names)) if len(names) <= EXACT_SAMPLES else ("fsvd", axes)
    result = skbio_pcoa(matrix, method=method, dimensions=found, seed=0, warn_neg_eigval=False)
    coordinates = result.samples.to_numpy(dtype=np.float64)[:, :axes] * unit
    peak = coordinates[np.abs(coordinates).argmax(axis=0), np.arange(axes)]
    explained = result.proportion_explained.to_numpy(dtype=np.float64)[:axes]
    return Ordination(names, coordinates * np.where(peak < 0, -1.0, 1.0), explained)


class Agreement(NamedTuple):
    """`mantel` and `neighbour_recall`: 1 is perfect; `stress` and `procrustes`: 0 is perfect."""

    mantel: float
    stress: float
    procrustes: float
    neighbour_recall: float


def agreement(predicted: ArrayLike, true: ArrayLike) -> Agreement:
    """All four figures of two matrices [N, N], N >= 3, rows and columns in the same order of samples."""
    return Agreement(
        mantel=mantel_r(predicted, true),
        stress=stress(predicted, true),
        procrustes=procrustes(predicted, true),
        neighbour_recall=neighbour_recall(predicted, true),
    )


def mantel_r(predicted: ArrayLike, true: ArrayLike) -> float:
    """Pearson r over pairs (Mantel 1967), by scikit-bio without its permutations; 0 if either matrix is constant."""
    from skbio.stats.distance import DistanceMatrix, mantel

    pair = [DistanceMatrix(np.array(matrix, dtype=np.float64)) for matrix in (predicted, true)]
    if any(np.ptp(matrix.condensed_form()) == 0 for matrix in pair):
        return 0.0
    return float(mantel(*pair, permutations=0)[0])


def stress(predicted: ArrayLike, true: ArrayLike) -> float:
    """sqrt(sum (predicted - true)^2 / sum true^2) over pairs: Kruskal's stress-1, in the target's own scale.

    Distances are not rescaled or made monotone first, so bias counts. If the truth is all zero: 0 if the prediction
    is too, else 1.
    """
    pairs, truth = upper_triangle(predicted).astype(np.float64), upper_triangle(true).astype(np.float64)
    error, size = np.linalg.norm(pairs - truth), np.linalg.norm(truth)
    if size == 0:
        return 0.0 if error == 0 else 1.0
    return float(error / size)


def procrustes(predicted: ArrayLike, true: ArrayLike) -> float:
    """Disparity m^2 (Gower 1975), by scipy, between the leading principal coordinates: 0 alike, 1 unrelated.

    Shift, scale and rotation are removed. If one matrix is all zero the disparity is 1, if both are, 0.
    """
    from scipy.spatial import procrustes as scipy_procrustes

    ids = [str(row) for row in range(len(np.asarray(true)))]
    left, right = (pcoa(matrix, ids, PROCRUSTES_AXES).coordinates for matrix in (predicted, true))
    if not left.any() or not right.any():
        return float(left.any() != right.any())
    return float(scipy_procrustes(right, left)[2])


def neighbour_recall(predicted: ArrayLike, true: ArrayLike) -> float:
    """Mean fraction of a sample's `RECALL_NEIGHBOURS` true nearest (at most N - 1) that are also its predicted ones.

    Ties count for the earlier sample, in both matrices.
    """
    count = min(RECALL_NEIGHBOURS, len(np.asarray(true)) - 1)
    if count < 1:
        raise ValueError("a single sample has no neighbours: at least 2 samples are needed")
    found, wanted = _nearest(predicted, count), _nearest(true, count)
    shared = [len(np.intersect1d(ours, theirs)) for ours, theirs in zip(found, wanted, strict=True)]
    return float(np.mean(shared)) / count


def _nearest(matrix: ArrayLike, count: int) -> NDArray[np.int64]:
    """Rows of the `count` nearest others of each sample [N, count]."""
    others = np.array(matrix, dtype=np.float64)
    np.fill_diagonal(others, np.inf)
    return np.argsort(others, axis=1, kind="stable")[:, :count]


def principal_components(features: NDArray[np.floating]) -> NDArray[np.float64]:
    """The first `COMPONENTS` principal components [N, C] of features [N, F]; fewer of fewer samples or features."""
    from sklearn.decomposition import PCA

    count = min(COMPONENTS, *features.shape)
    return PCA(count, svd_solver="randomized", random_state=0).fit_transform(features).astype(np.float64)
