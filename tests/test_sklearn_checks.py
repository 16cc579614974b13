"""The checks that scikit-learn has for every estimator, on ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator
from trained_run import save_run

from aam.sklearn import AAMClassifier, AAMEncoder, AAMRegressor

NO_READS = "hands over samples without a read, which are refused"
EXPECTED = dict.fromkeys(
    [
        "check_estimator_sparse_array",
        "check_estimator_sparse_matrix",
        "check_estimator_sparse_tag",
        "check_estimators_pickle",
        "check_fit2d_1feature",
        "check_fit_score_takes_y",
        "check_pipeline_consistency",
        "check_supervised_y_2d",
        "check_transformer_data_not_an_array",
        "check_transformer_general",
        "check_transformer_preserve_dtypes",
    ],
    NO_READS,
)
"""Checks that do not apply to the bare estimators, and why; behind `one_more_read` all of them do."""
IN_DOUBLE = dict.fromkeys(
    ["check_methods_sample_order_invariance", "check_methods_subset_invariance"],
    "allows a difference of 1e-7, where single precision on some processors has 2e-7: the last test here allows 1e-5",
)
"""Checks that hold, but not to the digit they ask for."""


def dna(number: int) -> str:
    """A sequence of its own for each number below 4,096."""
    return "ACGT" + "".join("ACGT"[number >> 2 * place & 3] for place in range(6))


SEQUENCES = {f"x{number}": dna(number) for number in range(256)}
SMALL = {"sequences": SEQUENCES, "preset": "tiny", "max_bp": 10, "head_dim": 8, "max_steps": 1, "device": "cpu"}
ESTIMATORS = [AAMEncoder, AAMRegressor, AAMClassifier]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("checks") / "run", max_bp=10)


def estimator(kind: type, run: Path) -> BaseEstimator:
    return AAMEncoder(run, sequences=SEQUENCES) if kind is AAMEncoder else kind(**SMALL)


def one_more_read(values: np.ndarray) -> np.ndarray:
    """Any numbers as counts, none of them 0."""
    return np.round(np.abs(values)).astype(np.int64) + 1


@pytest.mark.parametrize("kind", [AAMEncoder, AAMClassifier, pytest.param(AAMRegressor, marks=pytest.mark.slow)])
def test_checks_that_apply(kind: type, run: Path):
    done = check_estimator(estimator(kind, run), expected_failed_checks=EXPECTED | IN_DOUBLE, on_skip=None)
    refused = [each for each in done if each["status"] == "xfail" and each["check_name"] not in IN_DOUBLE]
    assert len(refused) <= len(EXPECTED) < sum(each["status"] == "passed" for each in done)
    said = [f"{each['exception']} {each['exception'].__cause__}" for each in refused]
    assert all("has no ASVs" in text or "sparse" in text for text in said), said


@pytest.mark.parametrize("kind", [AAMEncoder, AAMRegressor, pytest.param(AAMClassifier, marks=pytest.mark.slow)])
def test_the_others_apply_where_every_sample_has_reads(kind: type, run: Path):
    behind = make_pipeline(FunctionTransformer(one_more_read, accept_sparse=False, validate=True), estimator(kind, run))
    checks = [check for _, check in estimator_checks_generator(behind) if check.func.__name__ in EXPECTED]
    assert len(checks) > len(EXPECTED) / 2
    for check in checks:
        check(behind)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_what_comes_out_for_a_sample_does_not_depend_on_the_others(kind: type, run: Path):
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 9, size=(20, 12)) + np.eye(20, 12, dtype=np.int64)
    model = estimator(kind, run).fit(counts, np.arange(20) % 2)
    for name in ("transform", "predict", "predict_proba"):
        if (method := getattr(model, name, None)) is not None:
            whole, order = method(counts), rng.permutation(20)
            parts = np.concatenate([method(counts[rows]) for rows in np.array_split(order, 6)])
            np.testing.assert_allclose(parts, whole[order], rtol=1e-5, atol=1e-6)
