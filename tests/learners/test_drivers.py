"""Drivers of an ensemble: contributions by hand, nested clades in one line, deletion against samples without reads."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from aam.learners.clades import CladeTable
from aam.learners.drivers import asvs_of, contributing, deletion, without
from aam.learners.ensemble import Ensemble, fit_ensemble
from aam.learners.features import FeatureSet, expected_presence
from aam.learners.ridge import Ridge
from aam.learners.weights import Labelled
from aam.phylogeny.tree import parse_tree

TREE = parse_tree(b"((a:1,b:1):2,(c:2,d:2):1);", "by hand")
"""Nodes in postorder: a 0, b 1, ab 2, c 3, d 4, cd 5, root 6."""
MEMBERS = np.array([[1, 0, 1, 0, 0, 0, 1], [0, 1, 1, 0, 0, 0, 1], [0, 0, 0, 1, 0, 1, 1], [0, 0, 0, 0, 1, 1, 1]])
"""ASVs that equal the tips."""


def table_of(shares: list[list[float]]) -> CladeTable:
    return CladeTable(csr_array(np.array(shares, np.float32)), csr_array(MEMBERS.astype(np.float32)), list("ACGT"))


def fitted(table: CladeTable, classes: list[int]) -> Ensemble:
    rows = np.arange(len(classes))
    return fit_ensemble(table, Labelled(np.eye(2)[classes], rows * 0, rows, True), 0)


def with_ridge(features: FeatureSet, coefficients: list[float], centre: list[float]) -> Ensemble:
    """An ensemble whose ridge predicts a number by these coefficients; its forests are of no matter."""
    shares = np.random.default_rng(0).dirichlet(np.ones(4), 12).tolist()
    ridge = Ridge(np.array(coefficients)[:, None], np.array(centre), np.zeros(1), 1.0, 1.0)
    return Ensemble(features, ridge, fitted(table_of(shares), [0, 1] * 6).pooled, (), False)


def test_contributions_are_coefficients_times_what_a_sample_has_more_than_training():
    # clades ab and cd and the ASV of tip d; the two samples have 1 and 0, then 0.5 and 0.5 of ab and cd
    table = table_of([[0.5, 0.5, 0.0, 0.0], [0.2, 0.3, 0.3, 0.2]])
    ensemble = with_ridge(FeatureSet(np.array([2, 5]), ("T",)), [2.0, -1.0, 4.0], [0.5, 0.25, 0.0])
    x = expected_presence(np.array([[1, 0, 0], [0.5, 0.5, 0.2]], np.float32))
    by_hand = np.array(
        [[2 * (x[0, 0] - 0.5), -1 * (0 - 0.25), 0], [2 * (x[1, 0] - 0.5), -(x[1, 1] - 0.25), 4 * x[1, 2]]]
    )
    lines = contributing(ensemble, table, np.ones(1), TREE)
    # in these samples the ASV d and its clade cd are seen alike, so they stand in one line, named by the clade
    assert lines.feature.tolist() == [0, 1] and lines.alike.tolist() == [1, 2]
    of_cd = by_hand[:, 1] + by_hand[:, 2]
    assert lines.samples.tolist() == [2, 1]
    assert lines.abundance == pytest.approx([0.75, 0.5])
    assert lines.attribution == pytest.approx([by_hand[:, 0].mean(), of_cd[1]])
    assert lines.influence == pytest.approx([np.abs(by_hand[:, 0]).mean(), abs(of_cd[1])])
    sizes = np.array([np.abs(by_hand[:, 0]).sum(), np.abs(of_cd).sum()])
    assert lines.share == pytest.approx(sizes / sizes.sum())
    assert lines.order().tolist() == np.argsort(-sizes).tolist()


def test_nested_clades_that_differ_stay_apart_and_absent_ones_are_no_line():
    # ab is in both samples, a in one; c and its clade are in none
    table = table_of([[0.01, 0.99, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    ensemble = with_ridge(FeatureSet(np.array([0, 2, 3, 5]), ()), [1.0] * 4, [0.0] * 4)
    lines = contributing(ensemble, table, np.ones(1), TREE)
    assert lines.feature.tolist() == [0, 1]


def test_deletion_is_the_output_of_samples_that_never_had_the_reads():
    rng = np.random.default_rng(1)
    shares = rng.dirichlet(np.ones(4) / 2, 40)
    ill = (shares[:, 0] > np.median(shares[:, 0])).astype(int).tolist()
    table = table_of(shares.tolist())
    ensemble = fitted(table, ill)
    nodes = ensemble.features.nodes.tolist()
    feature = nodes.index(0)

    def output(own: CladeTable) -> np.ndarray:
        said = ensemble(own, np.arange(own.asvs.shape[0]))
        return said[:, 1] - said[:, 0]

    found = deletion(ensemble, table, np.array([feature]), output)
    rest = shares.copy()
    rest[:, 0] = 0
    rest /= rest.sum(axis=1, keepdims=True)
    assert found[0] == pytest.approx((output(table_of(rest.tolist())) - output(table)).mean(), abs=1e-4)
    assert found[0] < -0.1  # tip a makes ill


def test_what_is_left_of_a_sample_is_the_whole():
    table = table_of([[0.5, 0.25, 0.25, 0.0]])
    ensemble = with_ridge(FeatureSet(np.array([2]), ("G",)), [0.0, 0.0], [0.0, 0.0])
    assert asvs_of(ensemble, table, 0).tolist() == [True, True, False, False]
    assert asvs_of(ensemble, table, 1).tolist() == [False, False, True, False]
    assert without(table, asvs_of(ensemble, table, 1)).asvs.toarray()[0] == pytest.approx([2 / 3, 1 / 3, 0, 0])


def test_a_sample_that_has_nothing_else_is_left_out():
    table = table_of([[1.0, 0.0, 0.0, 0.0]])
    ensemble = with_ridge(FeatureSet(np.array([0]), ()), [1.0], [0.0])
    assert np.isnan(deletion(ensemble, table, np.array([0]), lambda own: np.zeros(own.asvs.shape[0]))).all()
