"""The audit finds what was planted in embeddings, and nothing where nothing was planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from aam.evaluation import audit as auditing
from aam.evaluation.audit import Signal, audit, guess_role, shuffle_values

SAMPLES, WIDTH = 120, 16


def planted(rng: np.random.Generator, column: np.ndarray, size: float) -> np.ndarray:
    """Embeddings [SAMPLES, WIDTH] of noise in which each value of a column shifts the samples by `size` noises."""
    _, place = np.unique(column, return_inverse=True)
    return rng.normal(size=(SAMPLES, WIDTH)) + size * rng.normal(size=(place.max() + 1, WIDTH))[place]


def text(columns: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame(columns).astype(str).replace("nan", np.nan)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def found(embeddings: np.ndarray, frame: pd.DataFrame) -> dict[str, Signal]:
    return {signal.column: signal for signal in audit(embeddings, frame, 0).signals}


def test_a_batch_that_the_embedding_carries_is_read_off_and_one_it_does_not_is_not(rng):
    batch, sex = rng.choice(["A", "B", "C"], SAMPLES), rng.choice(["f", "m"], SAMPLES)
    signals = found(planted(rng, batch, 1.0), text({"plate": batch, "sex": sex}))
    assert signals["plate"].score > 0.9 and signals["plate"].above_chance and signals["plate"].role == "batch"
    assert signals["plate"].majority == pytest.approx(1 / 3)
    assert 0.2 < signals["plate"].shuffled_mean < 0.47 and signals["plate"].shuffled_max < 0.6
    assert not signals["sex"].above_chance and 0.3 < signals["sex"].score < 0.66


def test_the_majority_gains_nothing_in_a_rare_class(rng):
    rare = np.where(np.arange(SAMPLES) % 10 == 0, "yes", "no")
    signal = found(rng.normal(size=(SAMPLES, WIDTH)), text({"case": rare}))["case"]
    assert signal.majority == 0.5 and signal.score < 0.7  # plain accuracy would be 0.9


def test_a_number_that_the_embedding_carries(rng):
    age, height = rng.uniform(20, 80, SAMPLES), rng.uniform(150, 200, SAMPLES)
    embeddings = rng.normal(size=(SAMPLES, WIDTH))
    embeddings[:, 3] += age / 10
    signals = found(embeddings, text({"age": age, "height": height}))
    assert signals["age"].score > 0.5 and signals["age"].above_chance and signals["age"].classes == 0
    assert signals["height"].score < 0.1 and not signals["height"].above_chance


def test_a_number_has_no_unit(rng):
    grams = rng.normal(70.0, 9.0, SAMPLES)
    embeddings = rng.normal(size=(SAMPLES, WIDTH)) + grams[:, None] / 9.0
    scores = [
        found(embeddings, text({"weight": (grams * unit).astype(str)}))["weight"].score for unit in (1.0, 1e300, 1e-300)
    ]
    np.testing.assert_allclose(scores, scores[0], rtol=1e-6)


def test_subjects_are_told_by_the_nearest_sample(rng):
    subject = np.array([f"s{row // 2}" for row in range(SAMPLES)])
    signal = found(planted(rng, subject, 2.0), text({"host_subject_id": subject}))["host_subject_id"]
    assert signal.score > 0.9 and signal.classes == 60 and signal.shuffled_mean < 0.05


def test_what_follows_from_the_subject_alone_is_no_signal(rng):
    """Two classes given to subjects by lot: neighbours of one subject agree, which says nothing of the class."""
    subject = np.array([f"s{row // 4}" for row in range(SAMPLES)])
    arm = np.array([("x", "y")[int(name[1:]) * 7 % 5 < 2] for name in subject])
    embeddings = planted(rng, subject, 3.0)
    with_subjects = found(embeddings, text({"subject": subject, "arm": arm}))["arm"]
    without = found(embeddings, text({"arm": arm}))["arm"]
    assert without.above_chance and without.score > 0.7
    assert not with_subjects.above_chance and with_subjects.score < 0.75


def test_shuffling_keeps_what_samples_of_a_subject_have_in_common(rng):
    units, values = np.array(list("aabbcc"), object), np.array(list("xxyyzz"), object)
    mixed = shuffle_values(values, units, rng)
    assert sorted(mixed) == sorted(values) and all(mixed[row] == mixed[row + 1] for row in (0, 2, 4))
    varied = np.array(list("xyxyxy"), object)
    assert sorted(shuffle_values(varied, units, rng)) == sorted(varied)


def test_columns_of_which_nothing_can_be_said_are_named(rng):
    frame = text(
        {
            "same": ["1"] * SAMPLES, "empty": [np.nan] * SAMPLES, "barcode": [f"b{row}" for row in range(SAMPLES)],
            "rare": ["a"] * (SAMPLES - 2) + ["b"] * 2, "few": ["1", "2"] * 4 + [np.nan] * (SAMPLES - 8),
            "subject": [f"s{row}" for row in range(SAMPLES)],
        }
    )  # fmt: skip
    result = audit(rng.normal(size=(SAMPLES, WIDTH)), frame, 0)
    assert result.signals == [] and set(result.skipped) == set(frame.columns)
    assert result.skipped["same"] == "one value" and result.skipped["barcode"] == "120 different values"
    assert result.skipped["subject"].startswith("0 samples of subjects that were sampled again")


def test_columns_with_a_role_come_first_and_missing_values_are_left_out(rng, monkeypatch):
    monkeypatch.setattr(auditing, "MOST_COLUMNS", 2)
    frame = text({name: rng.choice(["1", "2"], SAMPLES) for name in ("sex", "diet", "MiSeqRun")})
    frame.loc[:19, "MiSeqRun"] = np.nan
    result = audit(rng.normal(size=(SAMPLES, 4)), frame, 0)
    assert [(signal.column, signal.samples) for signal in result.signals] == [("MiSeqRun", 100), ("sex", SAMPLES)]
    assert result.skipped == {"diet": "2 columns are enough"}


def test_the_same_seed_gives_the_same_audit(rng):
    frame, embeddings = text({"run": rng.choice(["1", "2"], SAMPLES)}), rng.normal(size=(SAMPLES, WIDTH))
    assert audit(embeddings, frame, 1) == audit(embeddings, frame, 1)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("host_subject_id", "subject"), ("Patient", "subject"), ("study_id", "study"), ("MiSeqRun", "batch"),
        ("extraction_plate", "batch"), ("run_center", "batch"), ("brunch", ""), ("age", ""),
    ],
)  # fmt: skip
def test_roles_by_name(name: str, role: str):
    assert guess_role(name) == role
