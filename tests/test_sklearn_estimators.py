"""The estimators learn what `aam train` learns, and behave in pipelines, searches and grouped cross-validation."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from trained_run import save_run

from aam import cli, datasets
from aam.errors import ConfigError, MetadataError, SequenceError, TableError
from aam.inference.known_asvs import reverse_complement
from aam.io.table import read_table
from aam.sklearn import AAMClassifier, AAMRegressor

QUICK = {"max_steps": 4, "head_dim": 8, "device": "cpu"}
FRESH = QUICK | {"preset": "tiny", "max_bp": 100}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_run(tmp_path_factory.mktemp("estimators") / "run")


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Counts of the samples of the example whose age is known."""
    table = read_table(datasets.example().table)
    counts = pd.DataFrame(table.counts.toarray(), index=table.sample_ids, columns=table.asv_ids)
    known = pd.read_csv(datasets.example().metadata, sep="\t", index_col=0)["age_months"].dropna()
    return counts.loc[[sample for sample in counts.index if sample in known.index]]


@pytest.fixture(scope="module")
def age(frame: pd.DataFrame) -> pd.Series:
    return pd.read_csv(datasets.example().metadata, sep="\t", index_col=0)["age_months"].loc[frame.index]


@pytest.mark.usefixtures("small_work")
def test_it_is_what_the_command_line_learns(frame: pd.DataFrame, age: pd.Series, tmp_path: Path):
    held_out, folder = list(frame.index[::7]), tmp_path / "run"
    (tmp_path / "held-out.txt").write_text("\n".join(held_out))
    asked = ["--preset", "tiny", "--max-bp", "100", "--max-steps", "4", "--head-dim", "8", "--device", "cpu"]
    asked += ["--validation-samples", str(tmp_path / "held-out.txt"), "--rarefy-depth", "none"]
    asked += ["--task", "classification", "--target", "age_months", "--output-dir", str(folder)]
    assert cli.main(["train", "--example", *asked]) == 0
    out = tmp_path / "predicted.tsv"
    (folder / "calibration.json").unlink()  # probabilities as learned
    assert cli.main(["predict", "--model", str(folder), "--example", "-o", str(out)]) == 0
    written = pd.read_csv(out, sep="\t", index_col=0)
    train = frame.drop(index=held_out)
    ours = AAMClassifier(**FRESH).fit(train, age[train.index])
    assert list(ours.classes_) == [6, 12]
    expected = written.loc[held_out, ["p_6", "p_12"]].to_numpy()
    assert ours.predict_proba(frame.loc[held_out]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_it_learns_the_ages(frame: pd.DataFrame, age: pd.Series):
    """Trained for seconds it knows the samples it was trained on, and not those with shuffled ages."""
    settings = FRESH | {"max_steps": 30, "lr": 5e-3}
    assert AAMClassifier(**settings).fit(frame, age).score(frame, age) > 0.8
    weeks = pd.DataFrame({"weeks": age * 4.35, "twice": age * 8.7})
    both = AAMRegressor(**settings).fit(frame, weeks)
    found = both.predict(frame)
    assert found.shape == (len(frame), 2) and both.score(frame, weeks) > 0.3
    assert found[:, 1].mean() == pytest.approx(age.mean() * 8.7, rel=0.2)


def test_grouped_cross_validation_of_a_pipeline(run: Path, frame: pd.DataFrame, age: pd.Series):
    some, groups = frame.iloc[:45], np.arange(45) // 5
    pipeline = make_pipeline(FunctionTransformer(), AAMRegressor(run, freeze=True, **QUICK))
    scores = cross_val_score(pipeline, some, age[some.index], groups=groups, cv=GroupKFold(3), error_score="raise")
    assert scores.shape == (3,) and np.isfinite(scores).all()


def test_a_frozen_encoder_takes_as_many_epochs_as_on_the_command_line(run: Path, frame: pd.DataFrame, age: pd.Series):
    """20 samples in batches of 2 are 10 steps an epoch, so 300 steps are 30 epochs; of one that learns 40."""
    some = frame.iloc[:20]
    for freeze, epochs, given in ((True, 30, {}), (True, 2, {"epochs": 2}), (False, 40, {"max_steps": 1})):
        model = AAMRegressor(run, freeze=freeze, batch_size=2, draws=1, head_dim=8, device="cpu", **given)
        assert model.fit(some, age[some.index]).config_.run.epochs == epochs


def test_a_search_over_options_of_the_command(run: Path, frame: pd.DataFrame, age: pd.Series):
    some = frame.iloc[:40]
    search = GridSearchCV(
        AAMClassifier(run, freeze=True, **QUICK),
        {"lr": [1e-3, 1e-2], "head_members": [1, 2]},
        cv=2,
        error_score="raise",
    ).fit(some, age[some.index].map({6: "half a year", 12: "a year"}))
    assert set(search.best_params_) == {"lr", "head_members"}
    assert set(search.predict(some)) <= {"half a year", "a year"}


def test_a_fitted_estimator_is_pickled_and_a_fit_leaves_no_trace(run: Path, frame: pd.DataFrame, age: pd.Series):
    some, state = frame.iloc[:30], torch.get_rng_state()
    fitted = AAMRegressor(run, freeze_asvs=True, **QUICK).fit(some, age[some.index])
    assert torch.equal(torch.get_rng_state(), state)
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301 - what joblib does between the processes of a search
    assert np.array_equal(again.predict(some), fitted.predict(some))
    assert fitted.n_features_in_ == frame.shape[1] and list(fitted.feature_names_in_) == list(frame.columns)
    assert clone(fitted).get_params() == fitted.get_params() and not vars(clone(fitted)).get("model_")


def test_samples_of_another_table_with_unseen_asvs(frame: pd.DataFrame, age: pd.Series):
    some = frame.iloc[:30]
    fitted = AAMRegressor(**FRESH).fit(some, age[some.index])
    shuffled = some.sample(frac=1.0, axis=1, random_state=0).iloc[[7, 3]]
    assert fitted.predict(shuffled) == pytest.approx(fitted.predict(some)[[7, 3]], abs=1e-4)
    other = pd.DataFrame([[5, 3]], columns=["ACGT" * 25, "TTGA" * 25])
    with pytest.warns(UserWarning, match="not what the model has learned from .*: another region or strand"):
        assert np.isfinite(fitted.predict(other)).all()
    turned = some.set_axis([reverse_complement(sequence) for sequence in some.columns], axis=1)
    with pytest.warns(UserWarning, match="reverse complements of what the model has learned from"):
        fitted.predict(turned)


def test_names_that_are_no_sequences(frame: pd.DataFrame, age: pd.Series):
    """An array names its samples by their numbers, and batches follow the names."""
    some = frame.iloc[:30].set_axis(range(30))
    age = age.iloc[:30].set_axis(range(30))
    plain = AAMRegressor(**FRESH).fit(some, age).predict(some)
    hashed = {f"asv-{place}": sequence for place, sequence in enumerate(some.columns)}
    by_name = AAMRegressor(**FRESH, sequences=hashed).fit(some.set_axis(list(hashed), axis=1), age)
    assert np.array_equal(by_name.predict(some.set_axis(list(hashed), axis=1)), plain)
    numbered = {f"x{place}": sequence for place, sequence in enumerate(some.columns)}
    by_place = AAMRegressor(**FRESH, sequences=numbered).fit(some.to_numpy(), age)
    assert np.array_equal(by_place.predict(some.to_numpy()), plain)
    with pytest.raises(ValueError, match="X has 2 features, but AAMRegressor is expecting 310"):
        by_place.predict(np.ones((1, 2)))


def test_rarefaction_is_drawn_anew_and_averaged(frame: pd.DataFrame, age: pd.Series):
    some = frame.iloc[:30]
    fitted = AAMRegressor(**FRESH, rarefy_depth=100, draws=2).fit(some, age[some.index])
    twice = fitted.predict(some.iloc[[0, 0]])
    assert twice[0] != twice[1]
    assert np.array_equal(fitted.predict(some), fitted.predict(some))


@pytest.mark.parametrize(
    ("settings", "columns", "y", "error", "message"),
    [
        ({"freeze": True}, ["ACGT", "CCCC"], [1, 2], ConfigError, "give pretrained=RUN"),
        ({"lr": -1.0}, ["ACGT", "CCCC"], [1, 2], ConfigError, "^lr is -1"),
        ({"sequences": {"a": "ACGT"}}, ["a", "b"], [1, 2], SequenceError, "lacks 1 of 2 columns of X, first 'b'"),
        ({}, ["a", "taxon"], [1, 2], SequenceError, "the columns of X.*not DNA.*give sequences={name: DNA} to the"),
        ({}, ["ACGT", "ACGT"], [1, 2], TableError, "1 name of columns more than once, first 'ACGT'; add these"),
        ({}, ["ACGT", "CCCC"], ["x", None], MetadataError, "y has no class for 1 of 2 samples, first that of row 1"),
        ({}, ["ACGT", "CCCC"], ["x", "x"], MetadataError, "one class, 'x', expected at least two"),
        ({}, ["ACGT", "CCCC"], [1, 2, 1], ValueError, "inconsistent numbers of samples"),
        ({}, ["ACGT", "CCCC"], None, ValueError, "requires y to be passed"),
    ],
)
def test_what_cannot_be_learned_is_refused(settings: dict, columns: list[str], y: list, error: type, message: str):
    with pytest.raises(error, match=message):
        AAMClassifier(**(FRESH | settings)).fit(pd.DataFrame([[3, 1], [1, 2]], columns=columns), y)


def test_numbers_that_do_not_vary_are_refused():
    X = pd.DataFrame([[3, 1], [1, 2]], columns=["ACGT", "CCCC"])
    with pytest.raises(MetadataError, match="^y is 7 for all 2 samples in use; there is nothing to learn"):
        AAMRegressor(**FRESH).fit(X, [7, 7])
    with pytest.raises(MetadataError, match="^column 1 of y lies between 0 and 9.99989e-321, too close together"):
        AAMRegressor(**FRESH).fit(X, [[1, 1e-320], [2, 0]])
