"""Principal coordinates and the agreement of matrices: by hand, against scikit-bio, and by what must change nothing."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist, squareform
from skbio.stats.distance import DistanceMatrix, mantel
from skbio.stats.ordination import pcoa as skbio_pcoa

from aam.evaluation.ordination import (
    EXACT_SAMPLES,
    Agreement,
    agreement,
    mantel_r,
    neighbour_recall,
    pcoa,
    procrustes,
    stress,
)


def points(samples: int, seed: int, axes: int = 3) -> np.ndarray:
    """Positions [N, axes] whose spread halves with each axis, so that axes have an order."""
    return np.random.default_rng(seed).normal(size=(samples, axes)) * 0.5 ** np.arange(axes)


def distances(positions: np.ndarray) -> np.ndarray:
    return squareform(pdist(positions))


def test_pcoa_by_hand() -> None:
    # three samples on a line at 0, 1 and 3: centred -4/3, -1/3, 5/3; the sign is that of the largest, here positive
    ordination = pcoa([[0, 1, 3], [1, 0, 2], [3, 2, 0]], ["a", "b", "c"])
    np.testing.assert_allclose(ordination.coordinates[:, 0], [-4 / 3, -1 / 3, 5 / 3])
    assert ordination.ids == ["a", "b", "c"] and ordination.explained[0] == pytest.approx(1.0)


@settings(max_examples=25)
@given(st.integers(3, 30), st.integers(0, 1000))
def test_coordinates_are_scikit_bios_up_to_sign_and_give_the_distances_back(samples: int, seed: int) -> None:
    matrix = distances(points(samples, seed))
    ordination = pcoa(matrix, [str(row) for row in range(samples)], dimensions=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = skbio_pcoa(DistanceMatrix(matrix), dimensions=2)
    np.testing.assert_allclose(np.abs(ordination.coordinates), np.abs(theirs.samples.to_numpy()), atol=1e-7)
    np.testing.assert_allclose(ordination.explained, theirs.proportion_explained.to_numpy(), atol=1e-9)
    whole = pcoa(matrix, range(samples), dimensions=3)
    np.testing.assert_allclose(distances(whole.coordinates), matrix, atol=1e-6)


def test_signs_do_not_depend_on_the_order_of_samples() -> None:
    positions, order = points(20, 0), np.random.default_rng(1).permutation(20)
    ours, theirs = pcoa(distances(positions), range(20)), pcoa(distances(positions[order]), order)
    np.testing.assert_allclose(ours.coordinates[order][:, :3], theirs.coordinates[:, :3], atol=1e-9)


def test_many_samples_are_decomposed_approximately_and_agree_with_the_exact_axes() -> None:
    samples = EXACT_SAMPLES + 1
    positions = points(samples, 0)
    ordination = pcoa(distances(positions), range(samples), dimensions=3)
    np.testing.assert_allclose(distances(ordination.coordinates), distances(positions), atol=1e-6)


def test_samples_that_are_all_alike_lie_in_one_point() -> None:
    ordination = pcoa(np.zeros((4, 4)), "abcd")
    assert not ordination.coordinates.any() and not ordination.explained.any()
    assert pcoa([[0.0]], "a").coordinates.shape == (1, 1)


def test_samples_that_are_all_as_far_apart_have_axes_of_equal_weight() -> None:
    ordination = pcoa(np.ones((4, 4)) - np.eye(4), "abcd")  # a regular simplex: one triple eigenvalue
    np.testing.assert_allclose(ordination.explained, 1 / 3)
    np.testing.assert_allclose(distances(ordination.coordinates), np.ones((4, 4)) - np.eye(4))


def test_stress_by_hand() -> None:
    # pairs 3 and 4 against 3 and 0: error 4, size 5
    true = squareform([3.0, 4.0, 0.0])
    assert stress(squareform([3.0, 0.0, 0.0]), true) == pytest.approx(4 / 5)
    assert stress(2 * true, true) == pytest.approx(1.0), "a biased scale is not forgiven"
    assert (stress(0 * true, 0 * true), stress(true, 0 * true)) == (0.0, 1.0)


def test_neighbour_recall_by_hand() -> None:
    # Twelve samples on a line at 0 to 11; by the prediction the last one lies at -1. Of the eleven others ten are near.
    # The one that is not: by the truth the last for samples 0 to 5, else the first; by the prediction sample 10 for 0
    # to 4 and for the last, else the last. So only sample 5 has the same ten neighbours twice, the others nine of them.
    line = np.arange(12.0)[:, None]
    true, predicted = distances(line), distances(np.where(line == 11, -1, line))
    assert neighbour_recall(predicted, true) == pytest.approx((1 + 11 * 9 / 10) / 12)
    few = np.ix_(range(11), range(11))
    assert neighbour_recall(predicted[few][::-1, ::-1], true[few]) == 1.0, "everyone is a neighbour"
    with pytest.raises(ValueError, match="at least 2"):
        neighbour_recall([[0.0]], [[0.0]])


def test_mantel_is_scikit_bios() -> None:
    left, right = distances(points(12, 0)), distances(points(12, 1))
    expected = mantel(DistanceMatrix(left), DistanceMatrix(right), permutations=0)[0]
    assert mantel_r(left, right) == pytest.approx(expected)
    assert mantel_r(np.ones((4, 4)) - np.eye(4), distances(points(4, 0))) == 0.0


@settings(max_examples=25)
@given(st.integers(4, 25), st.integers(0, 1000), st.floats(0.1, 10))
def test_scale_matters_to_stress_alone(samples: int, seed: int, scale: float) -> None:
    true = distances(points(samples, seed))
    found = agreement(scale * true, true)
    assert found == pytest.approx(Agreement(1.0, abs(scale - 1), 0.0, 1.0), abs=1e-6)


def test_unrelated_matrices_do_not_agree() -> None:
    found = agreement(distances(points(200, 0)), distances(points(200, 1)))
    assert abs(found.mantel) < 0.1 and found.procrustes > 0.9 and found.neighbour_recall < 0.15 and found.stress > 0.4


@settings(max_examples=25)
@given(st.integers(0, 1000))
def test_the_order_of_samples_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = distances(points(15, seed))
    noise = squareform(rng.uniform(0, 0.3, 105))
    order = np.ix_(*[rng.permutation(15)] * 2)
    assert agreement(true + noise, true) == pytest.approx(agreement((true + noise)[order], true[order]), abs=1e-6)


def test_procrustes_of_points_that_coincide() -> None:
    true = distances(points(6, 0))
    assert procrustes(np.zeros((6, 6)), true) == 1.0 and procrustes(np.zeros((6, 6)), np.zeros((6, 6))) == 0.0
