"""UniFrac without learning: by hand, what may and may not enter the fit, and the figures on real studies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import pdist

from aam.config import Metric
from aam.corpus.rarefy import rarefy, sample_rng
from aam.evaluation import baselines
from aam.evaluation.baselines import (
    FIT_SAMPLES,
    DrawnSamples,
    Skipped,
    UnifracBaseline,
    choose_fit_samples,
    fit_line,
    jaccard_baseline,
    jaccard_distances,
    upgma_baseline,
)
from aam.evaluation.metrics import upper_triangle
from aam.io.sequences import tokenize
from aam.io.table import read_table
from aam.phylogeny.targets import TreeTargets
from aam.phylogeny.tree import Tree, read_tree
from aam.phylogeny.upgma import hamming_tree

METRICS: list[Metric] = ["unweighted", "weighted", "weighted_normalized", "generalized"]


def sets(*asvs: list[int]) -> list[np.ndarray]:
    return [np.array(columns, dtype=np.int64) for columns in asvs]


def drawn_from(tree: Tree, names: list[str], counts: np.ndarray, metric: Metric = "unweighted") -> DrawnSamples:
    """All samples of counts [B, A] with their UniFrac on a tree."""
    asvs = [np.flatnonzero(row) for row in counts]
    reads = [row[columns] for row, columns in zip(counts, asvs, strict=True)]
    targets = TreeTargets(tree, tree.leaves_of(names), metric, 0.5)
    return DrawnSamples(asvs, reads, targets([str(row) for row in range(len(asvs))], asvs, reads).unifrac)


@pytest.fixture(scope="module")
def tokens() -> np.ndarray:
    rng = np.random.default_rng(0)
    return tokenize(["".join(rng.choice(list("ACGT"), 20)) for _ in range(30)], 20)


def random_counts(samples: int, seed: int) -> np.ndarray:
    counts = np.random.default_rng(seed).negative_binomial(0.3, 0.02, size=(samples, 30)).astype(np.int64)
    counts[:, 0] += 1
    return counts


def test_jaccard_by_hand() -> None:
    # {0 1 2} and {1 2 3}: 2 of 4 shared; {0 1 2} and {4}: none of 4; an empty set against {4}: 1; two empty ones: 0
    distances = jaccard_distances(sets([0, 1, 2], [1, 2, 3], [4], [], []))
    assert distances[0].tolist() == [0.0, 0.5, 1.0, 1.0, 1.0]
    assert distances[3, 4] == 0.0
    assert (distances == distances.T).all() and (np.diag(distances) == 0).all()


@given(st.lists(st.sets(st.integers(0, 12), min_size=1), min_size=2, max_size=8))
def test_jaccard_equals_scipys(members: list[set[int]]) -> None:
    table = np.zeros((len(members), 13), bool)
    for row, columns in enumerate(members):
        table[row, list(columns)] = True
    ours = jaccard_distances(sets(*[sorted(columns) for columns in members]))
    np.testing.assert_allclose(upper_triangle(ours), pdist(table, "jaccard"), atol=1e-15)


def test_line_by_hand_and_on_a_constant() -> None:
    assert fit_line(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0])) == pytest.approx((2.0, 1.0))
    assert fit_line(np.array([1.0, 1.0]), np.array([0.2, 0.4])) == pytest.approx((0.0, 0.3))
    raw, true = np.random.default_rng(0).random((2, 50))
    assert fit_line(raw, true) == pytest.approx(np.polyfit(raw, true, 1))


def test_calibrated_jaccard_by_hand() -> None:
    # training sets: Jaccard 1/2 (0-1), 1 (0-2), 1 (1-2), truths 0.3, 0.7, 0.7: the line is 0.8 x - 0.1.
    # held out: sets that share 1 of 4, Jaccard 3/4: predicted 0.5; the truth is 0.4.
    fit = DrawnSamples(sets([0, 1], [0], [2]), [], np.array([[0, 0.3, 0.7], [0.3, 0, 0.7], [0.7, 0.7, 0]]))
    held_out = DrawnSamples(sets([0, 1], [1, 2, 3]), [], np.array([[0, 0.4], [0.4, 0]]))
    found = jaccard_baseline(fit, held_out)
    assert isinstance(found, UnifracBaseline)
    assert found.line == pytest.approx((0.8, -0.1))
    assert found.predicted == pytest.approx([0.5]) and found.scores.mae == pytest.approx(0.1)


@pytest.mark.parametrize("metric", METRICS)
def test_upgma_is_exact_where_the_tree_is_upgma_up_to_scale(tokens: np.ndarray, metric: Metric) -> None:
    """A true tree that is the UPGMA tree with all branches seven times as long leaves nothing to be wrong about."""
    names = [str(column) for column in range(30)]
    tree = hamming_tree(tokens, names)
    tree = Tree(tree.tip_names, tree.first, tree.last, tree.length * 7, tree.parent)
    fit, held_out = (drawn_from(tree, names, random_counts(12, seed), metric) for seed in (1, 2))
    found = upgma_baseline(fit, held_out, tokens, metric, 0.5)
    assert found.scores == pytest.approx((1.0, 0.0, 1.0), abs=1e-9)
    # only weighted UniFrac is a length; the others are ratios, in which the scale cancels
    assert found.line.slope == pytest.approx(7.0 if metric == "weighted" else 1.0)


def test_absent_asvs_and_the_order_of_samples_change_nothing(tokens: np.ndarray) -> None:
    names = [str(column) for column in range(30)]
    counts = random_counts(10, 3)
    counts[:, 20:] = 0
    everything = hamming_tree(tokens[np.random.default_rng(0).permutation(30)], names)  # some other tree
    fit, held_out = drawn_from(everything, names, counts[:6]), drawn_from(everything, names, counts[6:])
    found = upgma_baseline(fit, held_out, tokens, "unweighted", 0.5)
    trimmed = upgma_baseline(fit, held_out, tokens[:20], "unweighted", 0.5)
    turned = upgma_baseline(drawn_from(everything, names, counts[5::-1]), held_out, tokens, "unweighted", 0.5)
    for other in (trimmed, turned):
        np.testing.assert_allclose(found.predicted, other.predicted, atol=1e-12)


def test_truth_of_the_held_out_samples_does_not_move_the_line(tokens: np.ndarray) -> None:
    names = [str(column) for column in range(30)]
    tree = hamming_tree(tokens, names)
    fit, held_out = drawn_from(tree, names, random_counts(8, 4)), drawn_from(tree, names, random_counts(8, 5))
    shuffled = DrawnSamples(held_out.asvs, held_out.counts, held_out.unifrac[::-1, ::-1] * 0.5)
    for baseline in (jaccard_baseline, lambda a, b: upgma_baseline(a, b, tokens, "unweighted", 0.5)):
        np.testing.assert_array_equal(baseline(fit, held_out).predicted, baseline(fit, shuffled).predicted)


def test_too_few_training_samples_are_no_line(tokens: np.ndarray) -> None:
    tree = hamming_tree(tokens, [str(column) for column in range(30)])
    fit, held_out = (drawn_from(tree, tree.tip_names, random_counts(n, n)) for n in (2, 4))
    for found in (jaccard_baseline(fit, held_out), upgma_baseline(fit, held_out, tokens, "unweighted", 0.5)):
        assert isinstance(found, Skipped) and "2 training samples" in found.reason


def test_the_tree_is_bounded_by_using_fewer_training_samples(
    tokens: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = [np.ones(3, np.int64)] * 6
    fit = DrawnSamples(sets([0, 1, 2], [1, 2, 3], [3, 4, 5], [6, 7, 8], [0, 1, 9], [2, 3, 4]), reads, np.eye(6))
    held_out = DrawnSamples(sets([0, 1, 2], [1, 2, 3]), reads[:2], np.zeros((2, 2)))
    # held out: 4 ASVs; with the third sample 6; the fourth would make 9
    three = upgma_baseline(fit.take(np.arange(3)), held_out, tokens, "unweighted", 0.5)
    everyone = upgma_baseline(fit, held_out, tokens, "unweighted", 0.5)
    monkeypatch.setattr(baselines, "MAX_ASVS", 8)
    bounded = upgma_baseline(fit, held_out, tokens, "unweighted", 0.5)
    assert bounded.raw == three.raw != everyone.raw, "on the tree of its ASVs"
    monkeypatch.setattr(baselines, "MAX_ASVS", 5)
    skipped = upgma_baseline(fit, held_out, tokens, "unweighted", 0.5)
    assert isinstance(skipped, Skipped) and "carry 4 ASVs" in skipped.reason and "at most 5" in skipped.reason


def test_samples_to_fit_on_are_seeded_and_bounded() -> None:
    few, many = choose_fit_samples(10, 0), choose_fit_samples(5000, 0)
    assert sorted(few) == list(range(10))
    assert len(set(many)) == FIT_SAMPLES and (many == choose_fit_samples(5000, 0)).all()
    assert (many != choose_fit_samples(5000, 1)).any()


@pytest.mark.parametrize(
    ("name", "depth", "jaccard_r2", "upgma_r2"),
    [("ibd-2538", 5000, (0.77, 0.82), (0.91, 0.94)), ("ecam-infants", 2000, (0.53, 0.63), (0.85, 0.90))],
)
def test_figures_on_real_studies(
    study: Callable[[str], Path], name: str, depth: int, jaccard_r2: tuple[float, float], upgma_r2: tuple[float, float]
) -> None:
    """A fifth of the samples held out; the ranges hold several seeds of split and rarefaction."""
    table = read_table(study(name) / "table.biom")
    dense = table.counts.toarray()
    dense = np.stack(
        [rarefy(row, depth, sample_rng(0, 0, str(k))) for k, row in enumerate(dense) if row.sum() >= depth]
    )
    present = np.flatnonzero(dense.any(axis=0))
    counts, names = dense[:, present], [table.asv_ids[column] for column in present]
    tokens = tokenize([table.sequences[column] for column in present], 150)
    tree = read_tree(study(name) / "tree.nwk")
    order = np.random.default_rng(0).permutation(len(counts))
    fold = len(counts) // 5
    held_out, fit = drawn_from(tree, names, counts[order[:fold]]), drawn_from(tree, names, counts[order[fold:][:200]])
    found = jaccard_baseline(fit, held_out), upgma_baseline(fit, held_out, tokens, "unweighted", 0.5)
    for baseline, (low, high) in zip(found, (jaccard_r2, upgma_r2), strict=True):
        assert low < baseline.scores.r2 < high
        assert baseline.scores.pearson**2 >= baseline.scores.r2 - 1e-9
