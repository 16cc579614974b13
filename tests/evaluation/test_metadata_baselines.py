"""Metadata baselines: transformations by hand, no leak from test rows, and the figures on a real study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from aam.corpus.rarefy import rarefy, sample_rng
from aam.corpus.split import Fold, make_folds
from aam.evaluation.labelled_counts import PSEUDOCOUNT, LabelledCounts, centred_log_ratio
from aam.evaluation.metadata_baselines import predict_folds
from aam.evaluation.target_metrics import CLASSIFICATION, REGRESSION
from aam.io.metadata import read_metadata
from aam.io.table import read_table, relative_abundance


def pooled(baseline: str, study: LabelledCounts, folds: list[Fold]) -> np.ndarray:
    """Predictions of all folds in the order of the rows."""
    return predict_folds(baseline, study, folds, seed=0)[np.argsort(np.concatenate([fold.test for fold in folds]))]


def gradient(task: str, samples: int = 60) -> LabelledCounts:
    """The share of the first ASV rises with the target; the distance is the difference of that share."""
    rng = np.random.default_rng(0)
    share = rng.uniform(0.1, 0.9, samples)
    counts = np.column_stack(
        [rng.poisson(400 * share), rng.poisson(400 * (1 - share)), rng.poisson(5, (samples, 4)).T[0]]
    )
    target = share * 24 if task == "regression" else np.where(share > 0.5, "old", "young")
    return LabelledCounts(csr_array(counts.astype(np.int64)), target, task, np.abs(share[:, None] - share))


def test_relative_abundance_by_hand() -> None:
    assert relative_abundance(csr_array([[1, 3, 0], [0, 0, 5]])).toarray().tolist() == [[0.25, 0.75, 0.0], [0, 0, 1.0]]


def test_centred_log_ratio_by_hand() -> None:
    # chosen columns hold 3 and 0; with a half added 3.5 and 0.5: logs less their mean are +- ln(7) / 2
    assert PSEUDOCOUNT == 0.5
    found = centred_log_ratio(csr_array([[3, 9, 0]]), np.array([0, 2]))
    np.testing.assert_allclose(found, [[np.log(7) / 2, -np.log(7) / 2]])


BOTH = ["random_forest", "gradient_boosting", "within_ridge_presence", "knn", "constant"]
"""Baselines of numbers and of classes in one study without clades."""
OF_TASK = [(baseline, task) for baseline in BOTH for task in ("regression", "classification")] + [
    ("linear", "regression"),
    ("logistic_l1", "classification"),
    ("logistic_l2", "classification"),
]


LONG = [("random_forest", "regression"), ("gradient_boosting", "classification")]
"""Of which the other task is among the default tests."""


@pytest.mark.parametrize(
    ("baseline", "task"), [pytest.param(*of, marks=pytest.mark.slow if of in LONG else ()) for of in OF_TASK]
)
def test_what_can_be_read_off_the_table_is_read_off(baseline: str, task: str) -> None:
    study = gradient(task)
    found = pooled(baseline, study, make_folds("k-fold", study.target.tolist(), None, 3, 0))
    blind = baseline in {"constant", "within_ridge_presence"}  # all ASVs are in all samples
    if task == "regression":
        r2 = REGRESSION["r2"](found, study.target)
        assert r2 < 0.05 if blind else r2 > 0.9
        return
    accuracy = CLASSIFICATION["balanced_accuracy"](found, study.target)
    assert abs(accuracy - 0.5) < 0.2 if blind else accuracy > 0.9


@pytest.mark.parametrize(
    "baseline",
    ["random_forest", pytest.param("gradient_boosting", marks=pytest.mark.slow), "linear", "knn", "constant"],
)
def test_targets_of_test_rows_do_not_leak(baseline: str) -> None:
    study = gradient("regression", 30)
    fold = Fold("1", np.arange(20), np.arange(20, 30))
    spoiled = study.target.copy()
    spoiled[20:] = 1e6
    changed = LabelledCounts(study.counts, spoiled, "regression", study.distances)
    ours, theirs = (predict_folds(baseline, of, [fold], seed=0) for of in (study, changed))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("baseline", ["random_forest", "linear"])
def test_asvs_that_only_test_rows_carry_change_nothing(baseline: str) -> None:
    study = gradient("regression", 30)
    fold = Fold("1", np.arange(20), np.arange(20, 30))
    extra = np.zeros((30, 3), np.int64)
    plain = LabelledCounts(csr_array(np.hstack([study.counts.toarray(), extra])), study.target, "regression")
    extra[20:] = np.arange(30).reshape(10, 3)
    # the forest sees fractions of all reads, so only the linear one, whose log-ratios are of chosen ASVs, is untouched
    novel = LabelledCounts(csr_array(np.hstack([study.counts.toarray(), extra])), study.target, "regression")
    ours, theirs = (predict_folds(baseline, of, [fold], seed=0) for of in (plain, novel))
    assert (ours == theirs).all() if baseline == "linear" else np.abs(ours - theirs).max() < 6


@pytest.mark.parametrize("baseline", [*BOTH, "logistic_l1", "logistic_l2"])
def test_a_fold_that_trains_on_one_class_predicts_it(baseline: str) -> None:
    study = gradient("classification", 30)
    old = np.flatnonzero(study.target == "old")
    fold = Fold("1", old[1:], np.setdiff1d(np.arange(30), old[1:]))
    assert set(predict_folds(baseline, study, [fold], seed=0)) == {"old"}


def test_forest_repeats_by_seed() -> None:
    study = gradient("regression", 30)
    fold = Fold("1", np.arange(20), np.arange(20, 30))
    first, again, other = (predict_folds("random_forest", study, [fold], seed) for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


def test_what_cannot_be_compared_is_refused() -> None:
    study = gradient("regression", 10)
    fold = [Fold("1", np.arange(5), np.arange(5, 10))]
    with pytest.raises(ValueError, match="there is no UniFrac"):
        predict_folds("knn", LabelledCounts(study.counts, study.target, "regression"), fold, 0)
    with pytest.raises(ValueError, match="9 targets for 10 samples"):
        predict_folds("constant", LabelledCounts(study.counts, study.target[:9], "regression"), fold, 0)
    counts = study.counts.toarray()
    counts[4] = 0
    with pytest.raises(ValueError, match="1 samples have no reads, first in row 4"):
        predict_folds("constant", LabelledCounts(csr_array(counts), study.target, "regression"), fold, 0)


@pytest.fixture(scope="module")
def children(study: Callable[[str], Path]) -> tuple[LabelledCounts, list[str]]:
    """Month of life of the infants of a real study, rarefied to 2,000 reads, and their subjects."""
    folder = study("ecam-infants")
    table, metadata = read_table(folder / "table.biom"), read_metadata(folder / "metadata.tsv")
    frame = metadata.loc[table.sample_ids]
    rows = np.flatnonzero((frame["mom_child"] == "C").to_numpy())
    dense = table.counts.toarray()[rows]
    counts = csr_array(np.stack([rarefy(row, 2000, sample_rng(0, 0, str(k))) for k, row in enumerate(dense)]))
    months = frame["month_of_life"].iloc[rows].astype(float).to_numpy()
    return LabelledCounts(counts, months, "regression"), frame["host_subject_id"].iloc[rows].astype(str).tolist()


@pytest.mark.parametrize(
    ("baseline", "mae"),
    [
        ("constant", (5.0, 5.5)),
        ("linear", (2.8, 3.3)),
        pytest.param("random_forest", (2.6, 3.0), marks=pytest.mark.slow),
    ],
)
def test_figures_on_a_real_study(
    children: tuple[LabelledCounts, list[str]], baseline: str, mae: tuple[float, float]
) -> None:
    """Months of error in five folds grouped by subject; the ranges hold several seeds of folds and rarefaction."""
    study, subjects = children
    folds = make_folds("grouped", study.target.tolist(), subjects, 5, 0)
    found = pooled(baseline, study, folds)
    assert mae[0] < REGRESSION["mae"](found, study.target) < mae[1]
