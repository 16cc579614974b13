"""Weights, ridge and forest: by hand, against scikit-learn, and where studies confound the label."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge as PlainRidge
from sklearn.metrics import roc_auc_score

from aam.learners import forest, ridge
from aam.learners.forest import class_scores, fit_forest
from aam.learners.ridge import SPREAD, choose_penalty, fit_ridge
from aam.learners.weights import Labelled, sample_weights


def labelled(classes: list[int], study: list[int], subject: list[int] | None = None) -> Labelled:
    count = len(classes)
    return Labelled(np.eye(max(classes) + 1)[classes], np.array(study), np.array(subject or range(count)), True)


def test_subjects_classes_and_studies_weigh_as_documented():
    # study 0: subject 0 (ill, two samples), 1 (ill), 2 (well); study 1: subject 3 (ill), 4 (well)
    found = sample_weights(labelled([1, 1, 1, 0, 1, 0], [0, 0, 0, 0, 1, 1], [0, 0, 1, 2, 3, 4]))
    # of study 0 each class has a half: 1/8 1/8 1/4 1/2, times the root of 3 subjects; of study 1: 1/2 1/2, root of 2
    expected = np.r_[np.array([1 / 8, 1 / 8, 1 / 4, 1 / 2]) * 3**0.5, np.array([1 / 2, 1 / 2]) * 2**0.5]
    assert found == pytest.approx(expected / expected.mean())


def test_numbers_weigh_by_subject_alone():
    numbers = Labelled(np.array([[1.0], [2.0], [5.0]]), np.zeros(3, int), np.array([0, 0, 1]), False)
    assert sample_weights(numbers) == pytest.approx([0.75, 0.75, 1.5])


def test_a_study_of_one_class_teaches_nothing():
    assert labelled([1, 0, 1, 1], [0, 0, 1, 1]).contrasting().tolist() == [0, 1]
    assert labelled([1, 1, 0], [0, 0, 1]).contrasting().tolist() == []


def random_features(count: int, seed: int = 0, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).random((count, width)).astype(np.float32)


def test_ridge_is_least_squares_with_an_intercept_for_each_study():
    rng, x = np.random.default_rng(1), random_features(24)
    study = np.repeat([0, 1, 2], 8)
    y = x[:, :1] + np.array([0.0, 5.0, -3.0])[study][:, None] + 0.1 * rng.normal(size=(24, 1))
    own = Labelled(y, study, np.arange(24), False)
    found = fit_ridge(x, 8, own, 0)

    weight = sample_weights(own)
    centred_x, centred_y = x.astype(float), y.copy()
    for one in range(3):
        centred_x[study == one] -= centred_x[study == one].mean(axis=0)
        centred_y[study == one] -= centred_y[study == one].mean()
    variance = np.average(centred_x**2, axis=0, weights=weight)
    scale = np.sqrt(variance) + SPREAD
    scale *= np.sqrt(max(1.0, (variance / scale**2).sum()))  # of the only block
    scaled = centred_x / scale
    total = (weight[:, None] * scaled**2).sum()
    assert found.penalty == ridge.USUAL  # chosen by none of the 24 subjects
    plain = PlainRidge(alpha=found.penalty * total, fit_intercept=False).fit(scaled, centred_y, sample_weight=weight)
    assert found.coefficients.ravel() == pytest.approx(plain.coef_.ravel() / scale, rel=1e-4)


def test_what_tells_studies_apart_teaches_the_ridge_nothing():
    rng, x, study = np.random.default_rng(2), random_features(40), np.repeat([0, 1], 20)
    y = labelled((rng.random(40) < 0.5).astype(int).tolist(), study.tolist())
    shifted = x + np.array([0.0, 0.7])[study][:, None].astype(np.float32)
    assert fit_ridge(shifted, 4, y, 0).coefficients == pytest.approx(fit_ridge(x, 4, y, 0).coefficients, abs=1e-5)


def test_clades_and_asvs_weigh_alike_whatever_their_number():
    # 40 copies of one clade would drown one ASV; as blocks both have the same coefficient in all
    rng = np.random.default_rng(3)
    y = np.tile([0, 1], 40)
    signal = (y[:, None] + rng.normal(size=(80, 2))).astype(np.float32)
    x = np.c_[np.repeat(signal[:, :1], 40, axis=1), signal[:, 1:]]
    found = fit_ridge(x, 40, labelled(y.tolist(), [0] * 80), 0).coefficients[:, 1]
    assert found[:40].sum() / found[40] == pytest.approx(1.0, rel=0.5)


def test_penalty_is_chosen_by_studies_that_are_left_out():
    # The first feature has the label in all studies; 60 others have it in two, by chance, where a weak penalty fits it.
    rng, study = np.random.default_rng(4), np.repeat([0, 1, 2, 3], 30)
    y = np.tile([0, 1], 60)
    x = rng.normal(size=(120, 60)).astype(np.float32)
    x[:, 0] += y
    strong = choose_penalty(x, 60, labelled(y.tolist(), study.tolist()), 0).penalty
    x[:, 1:] *= 0.01
    x[:, 0] = y + 0.1 * rng.normal(size=120)
    assert choose_penalty(x, 60, labelled(y.tolist(), study.tolist()), 0).penalty <= strong
    assert choose_penalty(x[:20], 60, labelled(y[:20].tolist(), study[:20].tolist()), 0) == (ridge.USUAL, 1.0)


def test_forest_as_arrays_says_what_that_of_scikit_learn_says():
    x, rng = random_features(90), np.random.default_rng(5)
    y = (x[:, 0] + 0.3 * rng.random(90) > 0.6).astype(int)
    own = labelled(y.tolist(), [0] * 90)
    found = fit_forest(x, own, 7)
    leaf = 1 + 90 // forest.SAMPLES_FOR_ONE_MORE
    plain = RandomForestClassifier(forest.TREES, min_samples_leaf=leaf, max_features="sqrt", random_state=7)
    plain.fit(x, y, sample_weight=sample_weights(own))
    new = random_features(300, 8)
    assert found(new) == pytest.approx(plain.predict_proba(new), abs=1e-6)
    assert found(new[:0]).shape == (0, 2)


def test_a_class_that_a_study_lacks_has_no_chance_there():
    own = Labelled(np.eye(3)[[0, 2] * 20], np.zeros(40, int), np.arange(40), True)
    chance = fit_forest(random_features(40), own, 0)(random_features(5, 1))
    assert (chance[:, 1] == 0).all() and chance.sum(axis=1) == pytest.approx(np.ones(5))


def test_scores_of_classes_are_centred_log_odds():
    # log 0.9 = -0.105, log 0.1 = -2.303; less their mean -1.204: 1.099, that is half of log 9
    assert class_scores(np.array([[0.9, 0.1], [1.0, 0.0]]))[0] == pytest.approx([np.log(9) / 2, -np.log(9) / 2])
    assert np.isfinite(class_scores(np.array([[1.0, 0.0]]))).all()


def test_ridge_finds_the_label_where_studies_confound_it():
    # Nine of ten are ill in study 0, one of ten in study 1; feature 0 tells the studies, feature 1 a little the label.
    rng = np.random.default_rng(6)
    study = np.repeat([0, 1], 300)
    y = (rng.random(600) < np.where(study == 0, 0.9, 0.1)).astype(int)
    x = rng.normal(size=(600, 10)).astype(np.float32)
    x[:, 0] += 3 * study
    x[:, 1] += y
    new_y = np.tile([0, 1], 300)
    new = rng.normal(size=(600, 10)).astype(np.float32)
    new[:, 0] *= 3  # the new study has all values of what told the others apart
    new[:, 1] += new_y
    own = labelled(y.tolist(), study.tolist())
    within = fit_ridge(x, 10, own, 0)(new)[:, 1]
    pooled = PlainRidge(alpha=1.0).fit(x, y).predict(new)
    assert roc_auc_score(new_y, within) > 0.7 > roc_auc_score(new_y, pooled) + 0.05
