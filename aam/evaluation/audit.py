"""Audit of sample embeddings: how well metadata columns, such as subject or batch, can be predicted from them.

If a batch can be predicted as well as a disease, a model of the disease may only have learned the batch. Each column is
predicted by cross-validation and compared with the same prediction of shuffled values. N samples, D dimensions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from aam.corpus.split import Fold, make_folds
from aam.corpus.study import SUBJECTS
from aam.evaluation.baseline_lines import RIDGE_PENALTIES
from aam.evaluation.metrics import pair_scores
from aam.evaluation.target_metrics import balanced_accuracy
from aam.io.metadata import parse_wide_numbers

Role = Literal["subject", "study", "batch", ""]

STUDY_WORDS = ("study", "project", "cohort", "dataset")
BATCH_WORDS = ("batch", "run", "plate", "lane", "center", "centre", "instrument", "platform", "kit", "lot", "sequencer")
ROLE_OF_WORD: dict[str, Role] = {**dict.fromkeys(STUDY_WORDS, "study"), **dict.fromkeys(BATCH_WORDS, "batch")}
"""Words in the name of a column that say what it is; subjects are known by the whole name."""
SHUFFLES = 19
"""Shuffled columns beside the real one: above all of them is a chance of one in twenty."""
AUDIT_FOLDS = 5
FEW_VALUES = 10
"""A column with more different numbers than this is predicted as a number, else as classes."""
MOST_CLASSES, MOST_COLUMNS = 20, 12
"""Columns of more classes are ids or free text; of more columns, those with a role come first."""
MIN_AUDIT_SAMPLES, MIN_IN_CLASS, MIN_UNITS = 20, 5, 3
"""Samples of a column, samples of a class, and subjects (or samples) of a class that can be cross-validated."""
AXES = 32
"""Principal components that are looked at, made equally large; fewer where samples are few."""


@dataclass(frozen=True)
class Signal:
    """How well a column is predicted: balanced accuracy of `classes`, or R2 of numbers (`classes` 0).

    `shuffled_mean` and `shuffled_max` are of the same score on shuffled values. Subjects are predicted by the nearest
    other sample, everything else by a linear model that never saw the subject.
    """

    column: str
    role: Role
    samples: int
    classes: int
    score: float
    shuffled_mean: float
    shuffled_max: float

    @property
    def majority(self) -> float:
        """The score of the commonest class, or of the mean."""
        return 1 / self.classes if self.classes else 0.0

    @property
    def above_chance(self) -> bool:
        """Whether the column is predicted better than any shuffled one."""
        return self.score > max(self.shuffled_max, self.majority)


@dataclass(frozen=True)
class Audit:
    """`signals`, the strongest first, those with a role before others; `skipped`: column -> why it was left out."""

    signals: list[Signal] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def guess_role(name: str) -> Role:
    """Guess the role of a column from its name, e.g. `host_subject_id`, `study`, `MiSeqRun`."""
    if name.lower().removesuffix("_id") in SUBJECTS:
        return "subject"
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    return next((ROLE_OF_WORD[word.lower()] for word in words if word.lower() in ROLE_OF_WORD), "")


def audit(embeddings: NDArray[np.floating], frame: pd.DataFrame, seed: int) -> Audit:
    """Predict the columns of `frame` (N rows of text, NaN is missing) from embeddings [N, D] of the same samples."""
    if len(frame) != len(embeddings):
        raise ValueError(f"{len(embeddings)} embeddings and {len(frame)} rows of metadata: expected one each")
    names = sorted(map(str, frame.columns), key=lambda name: not guess_role(name))
    subjects = next(
        (frame[name] for name in names if guess_role(name) == "subject" and frame[name].nunique() > 1), None
    )
    found = Audit()
    for name in names:
        if len(found.signals) == MOST_COLUMNS:
            found.skipped[name] = f"{MOST_COLUMNS} columns are enough"
            continue
        try:
            found.signals.append(score_column(embeddings, frame[name], subjects, seed))
        except Unusable as reason:
            found.skipped[name] = str(reason)
    found.signals.sort(key=lambda one: (not one.role, one.shuffled_mean - one.score))
    return found


class Unusable(Exception):
    """A column that cannot be audited; the text is the reason."""


def score_column(embeddings: NDArray[np.floating], column: pd.Series, subjects: pd.Series | None, seed: int) -> Signal:
    """Audit one column [N] of embeddings [N, D]; raises `Unusable` if that is impossible."""
    role, numbers = guess_role(str(column.name)), pd.Series(parse_wide_numbers(column), index=column.index)
    if role == "subject":
        return score_subjects(embeddings, column, seed)
    own = np.array([f"sample {row}" for row in range(len(column))], dtype=object)
    units = own if subjects is None else subjects.where(subjects.notna(), own).to_numpy(object)
    if numbers.notna().sum() == column.notna().sum() and numbers.nunique() > FEW_VALUES:
        rows = np.flatnonzero(np.isfinite(numbers))
        values = numbers.to_numpy(np.float64)[rows]  # R2 knows no unit, and squares of 1e300 are infinite
        return score_linear(str(column.name), embeddings[rows], values / np.abs(values).max(), units[rows], seed)
    rows = rows_of_classes(column, units)
    return score_linear(str(column.name), embeddings[rows], column.to_numpy(object)[rows], units[rows], seed)


def rows_of_classes(column: pd.Series, units: NDArray) -> NDArray[np.int64]:
    """Rows [n] of the classes that have enough samples of enough subjects; raises `Unusable` unless there are two."""
    classes = column.dropna().unique()
    if len(classes) < 2:
        raise Unusable("one value" if len(classes) else "no value")
    if len(classes) > MOST_CLASSES:
        raise Unusable(f"{len(classes)} different values")
    values = column.to_numpy(object)
    kept = [c for c in classes if (values == c).sum() >= MIN_IN_CLASS and len(set(units[values == c])) >= MIN_UNITS]
    if len(kept) < 2:
        raise Unusable(f"fewer than two values with {MIN_IN_CLASS} samples, or {MIN_UNITS} subjects, each")
    return np.flatnonzero(column.isin(kept))


def score_subjects(embeddings: NDArray[np.floating], column: pd.Series, seed: int) -> Signal:
    """Score how often the nearest other sample is of the same subject, for subjects with two samples or more."""
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import StandardScaler

    again = column.notna() & column.map(column.value_counts()).ge(2)
    values, rows = column[again].to_numpy(object), np.flatnonzero(again)
    if len(rows) < MIN_AUDIT_SAMPLES or len(set(values)) < 2:
        raise Unusable(f"{len(rows)} samples of subjects that were sampled again, fewer than {MIN_AUDIT_SAMPLES}")
    points = StandardScaler().fit_transform(embeddings[rows])
    other = NearestNeighbors(n_neighbors=1).fit(points).kneighbors(return_distance=False)[:, 0]
    rng = np.random.default_rng(seed)
    mixed = [rng.permutation(values) for _ in range(SHUFFLES)]
    shuffles = [balanced_accuracy(m[other], m) for m in mixed]
    return build_signal(str(column.name), values, balanced_accuracy(values[other], values), shuffles)


def score_linear(name: str, embeddings: NDArray[np.floating], values: NDArray, units: NDArray, seed: int) -> Signal:
    """Score a linear model of classes or numbers; no unit (subject) is on both sides of a fold."""
    if len(values) < MIN_AUDIT_SAMPLES or len(set(units)) < AUDIT_FOLDS:
        raise Unusable(f"{len(values)} samples of {len(set(units))} subjects")
    folds = audit_folds(values, units, seed)
    rng = np.random.default_rng(seed)
    columns = [values, *(shuffle_values(values, units, rng) for _ in range(SHUFFLES))]
    score, *others = map(score_values, predict_held_out(embeddings, columns, folds), columns)
    return build_signal(name, values, score, others)


def build_signal(name: str, values: NDArray, score: float, shuffles: list[float]) -> Signal:
    """Score the values [N] and shuffled copies of them, as a `Signal`."""
    classes = len(set(values)) if values.dtype == object else 0
    return Signal(
        name, guess_role(name), len(values), classes, score, float(np.mean(shuffles)), float(np.max(shuffles))
    )


def audit_folds(values: NDArray, units: NDArray, seed: int) -> list[Fold]:
    """Training and test rows of each fold, for values and units [N]: no unit on both sides, classes spread evenly."""
    if values.dtype != object:
        return make_folds("grouped", values.tolist(), units.tolist(), AUDIT_FOLDS, seed)
    fewest = min(len(set(units[values == kind])) for kind in set(values))
    return make_folds("stratified-grouped", values.tolist(), units.tolist(), min(AUDIT_FOLDS, fewest), seed)


def predict_held_out(
    embeddings: NDArray[np.floating], columns: Sequence[NDArray], folds: Sequence[Fold]
) -> list[NDArray]:
    """Out-of-fold predictions [N] of each column: class of the nearest centroid, or ridge regression.

    Nearest centroid is a linear discriminant in which rare classes count as much as common ones."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import RidgeCV

    found = [np.empty_like(column) for column in columns]
    for _, train, test in folds:
        axes = PCA(min(AXES, len(train) // 4, embeddings.shape[1]), whiten=True, svd_solver="full")
        seen = axes.fit_transform(embeddings[train])
        new = axes.transform(embeddings[test])
        if columns[0].dtype != object:
            ridge = RidgeCV(RIDGE_PENALTIES, alpha_per_target=True).fit(seen, np.column_stack(columns)[train])
            numbers = ridge.predict(new)
            for values, column in zip(found, numbers.T, strict=True):
                values[test] = column
            continue
        for values, column in zip(found, columns, strict=True):
            values[test] = nearest_class(seen, column[train], new)
    return found


def nearest_class(seen: NDArray, known: NDArray, new: NDArray) -> NDArray:
    """The class [M] whose mean of `seen` [N, D] is nearest to each of `new` [M, D]."""
    classes, place = np.unique(known, return_inverse=True)
    centres = np.array([seen[place == number].mean(axis=0) for number in range(len(classes))])
    return classes[cdist(new, centres).argmin(axis=1)]


def score_values(found: NDArray, values: NDArray) -> float:
    """Balanced accuracy of classes, R2 of numbers, both [N]."""
    if values.dtype == object:
        return balanced_accuracy(found, values)
    return pair_scores(found, values).r2


def shuffle_values(values: NDArray, units: NDArray, rng: np.random.Generator) -> NDArray:
    """Shuffle values [N]. If each unit [N] has one value, units are shuffled: their samples are not independent."""
    by_unit = dict(zip(units, values, strict=True))
    if any(by_unit[unit] != value for unit, value in zip(units, values, strict=True)):
        return rng.permutation(values)
    order = rng.permutation(len(by_unit))
    given = dict(zip(by_unit, np.array(list(by_unit.values()), dtype=values.dtype)[order], strict=True))
    return np.array([given[unit] for unit in units], dtype=values.dtype)
