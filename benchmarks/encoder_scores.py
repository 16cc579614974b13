"""What `encoder.py` asks of distances and points: whose sample is nearest, which class, which study."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from encoder_data import Cohort
from numpy.typing import NDArray
from placement_scores import unifracs
from scipy.spatial.distance import cdist, pdist, squareform

from aam.evaluation.audit import score_column
from aam.evaluation.baselines import jaccard_distances
from aam.evaluation.labelled_counts import MIN_PREVALENCE, centred_log_ratio
from aam.evaluation.target_metrics import balanced_accuracy
from aam.io.table import carriers_of, relative_abundance
from aam.phylogeny.tree import Tree

Floats = NDArray[np.float64]
Objects = NDArray[np.object_]
AXES = 32
"""Principal components of the baseline."""
NEIGHBOURS = 5


def scaled(points: Floats) -> Floats:
    """Points [N, D] with mean 0 and deviation 1 in each dimension; one that is constant stays 0."""
    spread = points.std(axis=0)
    return (points - points.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0)


def euclidean(points: Floats) -> Floats:
    """Distances [N, N] between scaled points."""
    return squareform(pdist(scaled(points)))


def cosine(points: Floats) -> Floats:
    """Cosine distances [N, N] between points less their mean."""
    return cdist(centred := points - points.mean(axis=0), centred, "cosine")


def clr_axes(cohort: Cohort) -> Floats:
    """Principal components [N, AXES] of the centred log-ratios of the ASVs that are not rare."""
    from sklearn.decomposition import PCA

    counts = cohort.study.counts
    columns = np.flatnonzero(carriers_of(counts) >= MIN_PREVALENCE * counts.shape[0])
    logs = centred_log_ratio(counts, columns)
    return PCA(min(AXES, *logs.shape), random_state=0).fit_transform(logs)


def baseline_distances(cohort: Cohort, tree: Tree | None = None) -> dict[str, Floats]:
    """Distances [N, N] by methods that learn nothing; both UniFracs with a tree."""
    counts = cohort.study.counts
    asvs = [row.indices.astype(np.int64) for row in (counts[[number]] for number in range(counts.shape[0]))]
    found = {
        "Bray-Curtis": squareform(pdist(relative_abundance(counts).toarray(), "braycurtis")),
        "Jaccard": jaccard_distances(asvs),
        "PCA of CLR": squareform(pdist(clr_axes(cohort))),
    }
    if tree is not None:
        found |= {f"UniFrac, {metric}": squareform(pairs) for metric, pairs in unifracs(tree, cohort.study).items()}
    return found


def retrieval(distances: Floats, subjects: Objects, same: NDArray[np.bool_] | None = None) -> float:
    """Share of the samples of subjects with several whose nearest other sample is of the same subject.

    `same` bool [N, N] are pairs that do not count; a sample takes part if it has another that counts.
    """
    out = np.eye(len(distances), dtype=bool) if same is None else same | np.eye(len(distances), dtype=bool)
    alike = (subjects[:, None] == subjects) & ~out
    asked = alike.any(axis=1)
    nearest = np.where(out, np.inf, distances).argmin(axis=1)
    return float((subjects[nearest] == subjects)[asked].mean())


def retrieval_by_chance(subjects: Objects, same: NDArray[np.bool_] | None = None) -> float:
    """The same of a random other sample."""
    out = np.eye(len(subjects), dtype=bool) if same is None else same | np.eye(len(subjects), dtype=bool)
    alike = (subjects[:, None] == subjects) & ~out
    asked = alike.any(axis=1)
    return float((alike.sum(axis=1) / (~out).sum(axis=1))[asked].mean())


def same_time(cohort: Cohort, column: str | None) -> NDArray[np.bool_] | None:
    """Pairs of samples [N, N] of one subject and one day, which are not two visits."""
    if column is None:
        return None
    days, subjects = cohort.column(column), cohort.subjects
    known = np.array([day is not None for day in days])
    return (days[:, None] == days) & (subjects[:, None] == subjects) & known[:, None]


def nearest_classes(distances: Floats, classes: Objects, studies: Objects) -> dict[str, float]:
    """Balanced accuracy of the class of samples of each study by the k nearest samples of the other studies."""
    found = {}
    for study in sorted(set(studies)):
        test, train = np.flatnonzero(studies == study), np.flatnonzero(studies != study)
        near = np.argsort(distances[np.ix_(test, train)], axis=1, kind="stable")[:, :NEIGHBOURS]
        told = [pd.Series(row).mode().iloc[0] for row in classes[train][near]]
        found[study] = balanced_accuracy(np.array(told, dtype=object), classes[test])
    return found | {"mean": float(np.mean(list(found.values())))}


def nearest_same(distances: Floats, labels: Objects) -> float:
    """Share of the samples whose nearest other one has the same label."""
    return float((labels[np.where(np.eye(len(labels)), np.inf, distances).argmin(axis=1)] == labels).mean())


def study_signal(points: Floats, cohort: Cohort) -> Mapping[str, float]:
    """How well a linear model that never saw the subject tells the study, as `aam embed --audit` says it."""
    found = score_column(points, pd.Series(cohort.column("study"), name="study"), pd.Series(cohort.subjects), 0)
    return {"linear": found.score, "shuffled": found.shuffled_mean}
