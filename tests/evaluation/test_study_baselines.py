"""Baselines on several studies: weights by hand, averaged ranks, tuning, and what a study effect does to each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from aam.config.baseline import BaselineName
from aam.corpus.split import Fold
from aam.evaluation import baseline_trees
from aam.evaluation.baseline_lines import STRENGTHS, choose_strength, fit_logistic
from aam.evaluation.baseline_trees import average_ranks, cell_weights
from aam.evaluation.labelled_counts import LabelledCounts, Problem, centred_log_ratio
from aam.evaluation.metadata_baselines import BASELINES, predict_chances, predict_folds
from aam.evaluation.metrics import PREDICTOR_LABELS
from aam.io.table import relative_abundance
from aam.learners.weights import Labelled, sample_weights

CLASSES = ("case", "control")
TREES = 60


def confounded(samples: int = 60, asvs: int = 40) -> LabelledCounts:
    """Three studies, 0 to 2, in which ASVs 0 to 9 are commoner in cases, as much in each.

    Study 0 has a tenth of cases and ASVs 10 to 39 that are rare, study 1 nine tenths and the same ASVs common. So over
    studies 0 and 1 ASVs 10 to 39 tell cases best; in study 2, with one half of cases, they are common in controls.
    """
    rng = np.random.default_rng(0)
    study = np.repeat([0, 1, 2], samples)
    case = np.concatenate([np.arange(samples) < share * samples for share in (0.1, 0.9, 0.5)])
    chance = np.full((len(study), asvs), 0.3)
    chance[case, :10] = 0.6
    chance[:, 10:] = np.array([0.2, 0.8, 0.5])[study, None]
    chance[:, 10:] -= np.where(study == 2, np.where(case, 0.1, -0.1), 0.0)[:, None]
    counts = (rng.random(chance.shape) < chance) * rng.poisson(50, chance.shape)
    counts = np.column_stack([counts, np.full(len(study), 50)])
    target = np.where(case, *CLASSES).astype(object)
    return LabelledCounts(csr_array(counts.astype(np.int64)), target, "classification", studies=study)


def left_out(study: LabelledCounts, number: int = 2) -> Fold:
    assert study.studies is not None
    return Fold("x", np.flatnonzero(study.studies != number), np.flatnonzero(study.studies == number))


def auc(baseline: BaselineName, study: LabelledCounts) -> float:
    fold = left_out(study)
    chances = predict_chances(baseline, study, [fold], CLASSES, seed=0)
    np.testing.assert_allclose(chances.sum(axis=1), 1.0)
    return float(roc_auc_score(study.target[fold.test] == "case", chances[:, 0]))


@pytest.fixture(scope="module", autouse=True)
def small_forests() -> Iterator[None]:
    """Forests of 60 trees, for speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baseline_trees, "TREES", TREES)
        yield


@pytest.fixture(scope="module")
def three() -> LabelledCounts:
    return confounded()


@pytest.mark.parametrize(
    ("baseline", "low", "high"),
    [
        ("random_forest", 0.0, 0.5),
        ("within_ridge_presence", 0.75, 1.0),
        ("study_forests", 0.6, 1.0),
    ],
)
def test_within_studies_the_study_is_not_the_label(
    three: LabelledCounts, baseline: BaselineName, low: float, high: float
):
    assert low <= auc(baseline, three) <= high


def test_cells_of_study_and_class_weigh_alike_by_hand():
    # study 0: one case, three controls; study 1: two cases: cells of 1, 3 and 2 samples, 6 in all, so 2 a cell
    case = np.array([1, 0, 0, 0, 1, 1])
    labelled = Labelled(np.eye(2)[1 - case], np.array([0, 0, 0, 0, 1, 1]), np.arange(6), True)
    np.testing.assert_allclose(cell_weights(labelled), [2, 2 / 3, 2 / 3, 2 / 3, 1, 1])
    numbers = Labelled(np.arange(6.0)[:, None], labelled.study, labelled.subject, False)
    np.testing.assert_allclose(cell_weights(numbers), [0.75] * 4 + [1.5] * 2)  # 3 a study


def test_weighted_forest_is_that_of_scikit_learn(three: LabelledCounts):
    fold = left_out(three)
    found = predict_chances("random_forest_weighted", three, [fold], CLASSES, seed=3)
    cells = list(zip(three.studies[fold.train], three.target[fold.train], strict=True))
    weight = np.array([1 / cells.count(cell) for cell in cells])
    shares = relative_abundance(three.counts).astype(np.float32).toarray()
    model = RandomForestClassifier(TREES, max_features="sqrt", random_state=3)
    model.fit(shares[fold.train], three.target[fold.train], weight / weight.mean())
    np.testing.assert_allclose(found, model.predict_proba(shares[fold.test]))


def test_ranks_are_averaged_and_levels_kept_by_hand():
    # ranks (1 2 3 4) and (2 1 4 3): means 1.5 1.5 3.5 3.5; mean values 2 2 7 19, of which ties share the middle
    said = np.array([[1.0, 3, 4, 30], [3, 1, 10, 8]])[:, :, None]
    np.testing.assert_allclose(average_ranks(said, classes=False)[:, 0], [2, 2, 13, 13])
    # one predictor: its values stay
    np.testing.assert_allclose(average_ranks(said[:1], classes=False), said[0])


def test_ranks_do_not_care_for_the_scale_of_a_forest():
    rng = np.random.default_rng(0)
    said = rng.random((3, 20, 1))
    stretched = said.copy()
    stretched[1] = np.exp(5 * said[1])
    order = [average_ranks(own, classes=False)[:, 0].argsort(kind="stable").tolist() for own in (said, stretched)]
    assert order[0] == order[1]
    chances = average_ranks(rng.dirichlet([1, 1, 1], (2, 9)), classes=True)
    np.testing.assert_allclose(chances.sum(axis=1), 1.0)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_logistic_is_that_of_scikit_learn_on_the_same_matrix(three: LabelledCounts, norm: str):
    fold = left_out(three, 0)
    found = predict_chances(f"logistic_{norm}", three, [fold], CLASSES, seed=0)  # type: ignore[arg-type]
    labelled = three.labelled(fold.train, CLASSES)
    logs = centred_log_ratio(three.counts, np.arange(41))
    scaler = StandardScaler().fit(logs[fold.train])
    strength = choose_strength(scaler.transform(logs[fold.train]), labelled, norm, 0)  # type: ignore[arg-type]
    settings = {"l1": {"l1_ratio": 1.0, "solver": "liblinear"}, "l2": {}}[norm]
    model = LogisticRegression(C=strength, max_iter=1000, random_state=0, **settings)  # type: ignore[arg-type]
    answers = (three.target[fold.train] == "control").astype(int)
    model.fit(scaler.transform(logs[fold.train]), answers, sample_weights(labelled))
    np.testing.assert_allclose(found, model.predict_proba(scaler.transform(logs[fold.test])), atol=1e-6)


def test_the_strength_is_the_one_that_left_out_studies_prefer():
    rng = np.random.default_rng(0)
    study, case = np.repeat([0, 1, 2], 40), np.tile([0, 1], 60)
    noise = rng.normal(size=(120, 60))
    noise[:, :2] += case[:, None]
    labelled = Labelled(np.eye(2)[case], study, np.arange(120), True)
    chosen = choose_strength(noise, labelled, "l1", 0)
    aucs = []
    for strength in STRENGTHS["l1"]:
        own = []
        for one in range(3):
            rows = np.flatnonzero(study != one)
            model = fit_logistic(noise[rows], labelled.rows(rows), "l1", strength, 0)
            test = np.flatnonzero(study == one)
            said = model.predict_proba(noise[test])[:, 1]
            own.append(np.corrcoef(said, case[test])[0, 1] if model.coef_.any() else 0)
        aucs.append(np.mean(own))
    assert chosen == STRENGTHS["l1"][int(np.argmax(aucs))]


def test_three_classes_are_predicted_by_each():
    rng = np.random.default_rng(0)
    kind = np.arange(60) % 3
    counts = rng.poisson(20, (60, 9))
    for number in range(3):
        counts[kind == number, number] += 60
    target = np.array(["a", "b", "c"], dtype=object)[kind]
    study = LabelledCounts(csr_array(counts), target, "classification", studies=np.repeat([0, 1], 30))
    fold = Fold("x", np.arange(42), np.arange(42, 60))
    for name in ("logistic_l1", "logistic_l2", "study_forests", "random_forest_weighted", "gradient_boosting"):
        assert (predict_folds(name, study, [fold], 0) == target[42:]).mean() > 0.9, name


def test_a_study_with_one_class_has_no_forest_and_no_say(three: LabelledCounts):
    """Study 1 has cases alone: the forests are those of study 0."""
    target = three.target.copy()
    target[three.studies == 1] = "case"
    alone = LabelledCounts(three.counts, target, "classification", studies=three.studies)
    fold = left_out(alone)
    found = predict_chances("study_forests", alone, [fold], CLASSES, seed=0)
    own = fold._replace(train=np.flatnonzero(three.studies == 0))
    np.testing.assert_allclose(found, predict_chances("study_forests", alone, [own], CLASSES, seed=0))
    np.testing.assert_allclose(found, predict_chances("random_forest_weighted", alone, [own], CLASSES, seed=0))


def test_numbers_of_several_studies_rise_with_the_target():
    rng = np.random.default_rng(0)
    study, value = np.repeat([0, 1, 2], 40), rng.uniform(0, 1, 120)
    counts = np.column_stack([rng.poisson(300 * value), rng.poisson(300 * (1 - value)), rng.poisson(30, 120)])
    target = 10 * value + np.array([0.0, 5.0, 10.0])[study]  # each study has its own level
    numbers = LabelledCounts(csr_array(counts), target, "regression", studies=study)
    fold = left_out(numbers)
    for name in ("random_forest_weighted", "study_forests", "gradient_boosting", "linear"):
        found = predict_folds(name, numbers, [fold], 0)
        assert np.corrcoef(found, target[fold.test])[0, 1] > 0.9, name


def test_what_data_do_not_allow_is_said(three: LabelledCounts):
    one = LabelledCounts(three.counts, three.target, "classification")
    assert {name: reason for name, each in BASELINES.items() if (reason := each.missing(one))} == {
        "random_forest_weighted": "the samples are of one study",
        "study_forests": "the samples are of one study",
        "linear": "it predicts numbers",
        "within_ridge_clades": "the ASVs are not placed; give --reference (the word shipped, or a folder)",
        "knn": "there is no UniFrac; give --tree, or --reference (the word shipped, or a folder)",
    }


def test_subjects_that_are_left_out_keep_their_samples_together(three: LabelledCounts):
    study = LabelledCounts(three.counts, three.target, "classification", subjects=np.arange(180) // 2)
    problem = Problem(study, left_out(three), study.labelled(left_out(three).train, CLASSES), 0)
    assert problem.labelled.subject.tolist() == (np.arange(120) // 2).tolist()
    assert problem.labelled.class_of.tolist() == [CLASSES.index(label) for label in three.target[:120]]


def test_all_baselines_have_a_name_in_words():
    assert set(BASELINES) <= set(PREDICTOR_LABELS)
