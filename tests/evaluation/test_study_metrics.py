"""Metrics within studies: by hand, against scikit-learn and scipy on resamples written out, and by invariance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from aam.evaluation.study_metrics import (
    Units,
    draw_weights,
    exact_auc,
    list_units,
    resampled_auc,
    resampled_mae,
    resampled_spearman,
    score_samples,
    score_studies,
    weighted_midranks,
)

RNG = np.random.default_rng(0)


def test_a_subject_counts_once_for_each_true_value_with_the_mean_of_its_samples():
    scores = {"model": [1.0, 3.0, 10.0, 5.0, 7.0]}
    groups, studies = ["a P1", "a P1", "a P1", "a P2", "b P1"], ["a", "a", "a", "a", "b"]
    units = list_units(scores, [0, 0, 1, 1, 0], studies, groups)
    own = units["a"]
    assert own.scores[:, 0].tolist() == [2.0, 10.0, 5.0]  # (1 + 3) / 2 of P1 as 0; 10 of P1 as 1; 5 of P2
    assert own.true.tolist() == [0, 1, 1]
    assert own.subject[0] == own.subject[1] != own.subject[2]
    assert units["b"].scores.tolist() == [[7.0]]


def test_auc_by_hand():
    """Cases 3 and 1, controls 2 and 0: of four pairs three are in order. Study b: all pairs of one tie, 1/2."""
    scores = {"model": [3.0, 1.0, 2.0, 0.0, 1.0, 1.0]}
    found = score_studies(scores, [1, 1, 0, 0, 1, 0], list("aaaabb"), None, False, 0).estimates("model")
    assert found["auc_a"].value == 3 / 4 and found["auc_b"].value == 1 / 2
    assert found["auc_mean_over_studies"].value == (3 / 4 + 1 / 2) / 2
    assert found["auc_b"].interval == (0.5, 0.5)


@pytest.mark.parametrize("ties", [False, True])
def test_resamples_by_weights_are_those_written_out(ties: bool):
    scores = RNG.normal(size=30)
    scores = scores.round() if ties else scores
    true, numbers = np.repeat([0.0, 1.0], [18, 12]), RNG.normal(size=30).round(1)
    weights = draw_weights(Units(scores[:, None], true, np.arange(30)), 20, False, np.random.default_rng(1))
    assert (weights[:, true == 0].sum(axis=1) == 18).all() and (weights[:, true == 1].sum(axis=1) == 12).all()
    auc, rho, mae = (
        metric(values, scores, weights)
        for metric, values in ((resampled_auc, true), (resampled_spearman, numbers), (resampled_mae, numbers))
    )
    for row, times in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(30), times)
        assert auc[row] == pytest.approx(roc_auc_score(true[rows], scores[rows]))
        assert rho[row] == pytest.approx(spearmanr(numbers[rows], scores[rows]).statistic)
        assert mae[row] == pytest.approx(np.abs(numbers[rows] - scores[rows]).mean())


def test_midranks_by_hand():
    """5, 5, 9 twice and 7 not at all: the fives share ranks 1 and 2, the nines 3 and 4."""
    ranks = weighted_midranks(np.array([5.0, 9.0, 7.0, 5.0]), np.array([[1.0, 2.0, 0.0, 1.0]]))
    assert ranks[0, [0, 1, 3]].tolist() == [1.5, 3.5, 1.5]


def test_a_level_of_each_study_changes_nothing():
    true, studies = np.tile([0, 1], 40), ["a"] * 40 + ["b"] * 40
    scores = RNG.normal(size=80) + true
    moved = scores + np.where(np.array(studies) == "a", 100.0, -3.0)
    found = [score_studies({"m": one}, true, studies, None, False, 5).estimates("m") for one in (scores, moved)]
    assert found[0] == found[1]
    assert found[0]["auc_a"].value == exact_auc(true[:40], scores[:40])


def test_studies_that_differ_widen_the_interval_of_the_mean():
    """One study is perfectly predicted, the other perfectly wrong: the mean is 0.5, that of two draws 0, 0.5 or 1."""
    true, studies = np.tile([0, 1], 20), ["a"] * 20 + ["b"] * 20
    scores = np.where(np.array(studies) == "a", true, -true)
    found = score_studies({"m": scores}, true, studies, None, False, 0).estimates("m")
    assert found["auc_a"] == (1.0, (1.0, 1.0)) and found["auc_b"] == (0.0, (0.0, 0.0))
    assert found["auc_mean_over_studies"] == (0.5, (0.0, 1.0))


def test_a_difference_is_paired():
    """The second predictor is the first with a constant added: no resample tells them apart."""
    true, studies = np.tile([0, 1], 30), ["a"] * 30 + ["b"] * 30
    scores = RNG.normal(size=60) + true
    figures = score_studies({"m": scores, "n": scores + 7}, true, studies, None, False, 0)
    assert set(figures.differences("m", "n").values()) == {(0.0, (0.0, 0.0))}
    low, high = figures.estimates("m")["auc_mean_over_studies"].interval
    assert high > low


def test_subjects_are_resampled_whole():
    """Ten samples of each of eight subjects are no more than their means."""
    subjects, true = np.repeat(np.arange(8), 10), np.repeat([0, 1] * 4, 10)
    scores = RNG.normal(size=80) + true
    means = np.array([scores[subjects == subject].mean() for subject in range(8)])
    many = score_studies({"m": scores}, true, ["a"] * 80, subjects.tolist(), False, 0).estimates("m")
    few = score_studies({"m": means}, [0, 1] * 4, ["a"] * 8, None, False, 0).estimates("m")
    assert many["auc_a"] == few["auc_a"]


def test_numbers_by_hand_and_studies_that_cannot_be_scored():
    true, scores = [1.0, 2.0, 3.0, 5.0, 6.0], [2.0, 2.5, 9.0, 5.0, 6.0]
    found = score_studies({"m": scores}, true, list("aaabb"), None, True, 0).estimates("m")
    assert set(found) == {"spearman_a", "mae_a", "spearman_mean_over_studies", "mae_mean_over_studies"}
    assert found["spearman_a"].value == 1.0
    assert found["mae_a"].value == pytest.approx((1 + 0.5 + 6) / 3)
    one_class = score_studies({"m": [1.0, 2.0]}, [1, 1], list("aa"), None, False, 0)
    assert one_class.estimates("m") == {}


def test_seeds_repeat():
    true = np.tile([0, 1], 20)
    scores = {"m": RNG.normal(size=40)}
    first, again, other = (
        score_studies(scores, true, ["a"] * 40, None, False, seed).draws["auc_a"] for seed in (1, 1, 2)
    )
    assert (first == again).all() and (first != other).any()


def test_the_interval_of_an_area_of_samples_resamples_subjects():
    """Two subjects with many samples each are two units: their interval is far wider than that of as many subjects."""
    rng = np.random.default_rng(0)
    subject, true = np.repeat(np.arange(8), 25), np.repeat([0.0, 1.0] * 4, 25)
    scores = true + rng.normal(size=8)[subject] + 0.01 * rng.normal(size=200)
    value, alone = score_samples(scores, true, None, 0)
    same, grouped = score_samples(scores, true, subject.tolist(), 0)
    assert value == same == pytest.approx(roc_auc_score(true, scores))
    assert alone.low < value < alone.high and grouped.high - grouped.low > 2 * (alone.high - alone.low)
