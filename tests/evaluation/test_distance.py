"""Predicted against true distances of a table: perfect, blind and missing predictions."""

from __future__ import annotations

import numpy as np
import pytest
from skbio import DistanceMatrix
from skbio.diversity import alpha_diversity, beta_diversity
from skbio.tree import TreeNode

from aam import datasets
from aam.config import DataConfig
from aam.corpus.samples import TableSamples, open_samples
from aam.evaluation.baselines import Line
from aam.evaluation.distance import compute_truth, score_distances, score_faith_pd
from aam.phylogeny.unifrac import Measure

UNWEIGHTED = Measure("unweighted", 0.5)


def silent(done: int, total: int) -> None:
    """Nobody watches."""


@pytest.fixture(scope="module")
def example() -> TableSamples:
    whole = open_samples(DataConfig(example=True), "none", 0, 150, with_tree=True)
    few = whole.table.select(samples=np.arange(30))
    return TableSamples(few, whole.tokens, whole.tree, whole.tips)


def test_the_truth_is_that_of_scikit_bio(example: TableSamples):
    found = compute_truth(example, UNWEIGHTED, silent)
    tree = TreeNode.read(str(datasets.example().tree)).shear(example.tips)
    counts = example.table.counts.toarray()
    options = {"taxa": example.tips, "tree": tree}
    theirs = beta_diversity("unweighted_unifrac", counts, example.table.sample_ids, **options)
    assert isinstance(theirs, DistanceMatrix)
    assert found.unifrac == pytest.approx(theirs.data, abs=1e-12)
    assert found.faith_pd == pytest.approx(alpha_diversity("faith_pd", counts, **options).to_numpy(), abs=1e-9)


def test_a_perfect_prediction(example: TableSamples):
    true = compute_truth(example, UNWEIGHTED, silent)
    found = score_distances(true.unifrac, true, example, UNWEIGHTED, 0)
    assert (found["samples"], found["scored_samples"], found["pairs"]) == (30, 30, 30 * 29 // 2)
    wanted = {"r2": 1, "r2_calibrated": 1, "mae": 0, "pearson": 1, "mantel": 1, "stress": 0, "procrustes": 0}
    assert {k: found[f"unifrac_{k}"] for k in wanted} == pytest.approx(wanted, abs=1e-9)
    assert found["unifrac_neighbour_recall"] == 1
    assert 0 < found["baseline_jaccard_r2"] < 1 and 0 < found["baseline_upgma_r2"] < 1


def test_a_line_of_its_own_forgives_scale_and_nothing_else(example: TableSamples):
    true = compute_truth(example, UNWEIGHTED, silent)
    half = score_distances(true.unifrac / 2, true, example, UNWEIGHTED, 0)
    assert half["unifrac_r2"] < 0 and half["unifrac_stress"] == pytest.approx(0.5)
    assert half["unifrac_r2_calibrated"] == pytest.approx(1)


def test_a_baseline_may_bring_its_line_along(example: TableSamples):
    """A flat line through 0.5 predicts 0.5 of all pairs; the line that is fitted here stands beside it."""
    true = compute_truth(example, UNWEIGHTED, silent)
    pairs = true.unifrac[np.triu_indices(30, 1)]
    found = score_distances(true.unifrac, true, example, UNWEIGHTED, 0, {"jaccard": Line(0.0, 0.5)})
    assert found["baseline_jaccard_carried_mae"] == pytest.approx(np.abs(pairs - 0.5).mean())
    assert found["baseline_jaccard_slope"] > 0 and "baseline_upgma_carried_mae" not in found
    own = Line(found["baseline_jaccard_slope"], found["baseline_jaccard_intercept"])
    again = score_distances(true.unifrac, true, example, UNWEIGHTED, 0, {"jaccard": own})
    assert again["baseline_jaccard_carried_r2"] == pytest.approx(again["baseline_jaccard_r2"])


def test_two_samples_are_not_scored(example: TableSamples):
    two = TableSamples(example.table.select(samples=np.arange(2)), example.tokens, example.tree, example.tips)
    found = score_distances(np.zeros((2, 2)), compute_truth(two, UNWEIGHTED, silent), two, UNWEIGHTED, 0)
    assert found == {"samples": 2, "skipped": "2 samples: at least 3 are needed to score pairs"}


def test_diversity_by_hand():
    found = score_faith_pd(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 6.0]))
    assert found["faith_pd_mae"] == 1.0
    assert found["faith_pd_r2"] == pytest.approx(1 - 9 / 14)  # mean 3: 4 + 1 + 9
