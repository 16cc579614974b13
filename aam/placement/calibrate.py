"""How far lengths are shortened: fitted on simulated studies, of tips that the network has not been asked.

A simulated study takes clusters of tips out of the reference, all at once, as the ASVs of samples; they are placed on
what is left, and their UniFrac is compared with that on the tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from aam.gene.reads import Reads
from aam.phylogeny.engines import full_matrix
from aam.phylogeny.tree import Tree
from aam.phylogeny.unifrac import Measure, build_community
from aam.placement.insertion import insertion_tree
from aam.placement.learned import LearnedPlacer, Shrink, empty_placements, write_places
from aam.placement.placements import PLACED, Placements
from aam.placement.reference import Reference
from aam.placement.sequence import FAR, Hung, hang, read_alone
from aam.placement.window import Window

Ints = NDArray[np.int64]
CLUSTERS, EACH, AROUND, SINGLE = 60, 20, 40, 300
"""Clusters of a study, tips of each, drawn from so many on either side of a random tip, and tips drawn alone."""
SAMPLES, OF_CLUSTERS, OF_TIPS, OF_SINGLE = 60, 0.4, 0.15, 0.15
"""Samples of a study, and the chance that one has a cluster, a tip of such a cluster, and a tip drawn alone: some 120
ASVs in a sample, as samples of the gut have at 2,000 reads."""
MEASURES = (Measure("unweighted", 1.0), Measure("weighted_normalized", 1.0))
FACTORS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class Clusters(NamedTuple):
    """Tips int64 [A] that act as ASVs, and the number of each one's cluster; a tip drawn alone is one of its own."""

    tips: Ints
    cluster: Ints
    together: int
    """Number of clusters of several tips, which come first."""


class Study(NamedTuple):
    """Tips that act as ASVs, int64 [A], and counts int64 [samples, A]."""

    tips: Ints
    counts: sparse.csr_array


class Trial(NamedTuple):
    """A study whose ASVs hang on the reference without it, and its true distances by measure."""

    reference: Reference
    hung: Hung
    found: Placements
    counts: sparse.csr_array
    true: list[NDArray[np.float64]]


def draw_clusters(can: Ints, rng: np.random.Generator) -> Clusters:
    """Clusters of neighbouring tips, and tips alone, of those that can be drawn; at most a fifth of them."""
    scale = min(1.0, len(can) / (5 * (CLUSTERS * EACH + SINGLE)))
    count, parts, numbers = max(2, int(scale * CLUSTERS)), [], []
    for number, center in enumerate(rng.choice(len(can), count, replace=False).tolist()):
        near = can[max(center - AROUND, 0) : center + AROUND]
        parts.append(rng.choice(near, min(EACH, len(near)), replace=False))
        numbers.append(np.full(len(parts[-1]), number))
    single = rng.choice(can, max(2, int(scale * SINGLE)), replace=False)
    tips, places = np.unique(np.concatenate([*parts, single]), return_index=True)
    return Clusters(tips, np.concatenate([*numbers, count + np.arange(len(single))])[places], count)


def simulate(clusters: Clusters, usable: NDArray[np.bool_], rng: np.random.Generator) -> Study:
    """Samples of the tips of clusters that are `usable` [R]: each has some of the clusters, and some tips of each."""
    tips, cluster = (part[usable[clusters.tips]] for part in (clusters.tips, clusters.cluster))
    alone = cluster >= clusters.together
    shares = np.where(np.arange(clusters.cluster.max() + 1) < clusters.together, OF_CLUSTERS, OF_SINGLE)
    rows = []
    for _ in range(SAMPLES):
        there = (rng.random(len(shares)) < shares)[cluster] & (alone | (rng.random(len(tips)) < OF_TIPS))
        there[rng.integers(len(tips))] = True
        rows.append(np.where(there, np.ceil(rng.lognormal(2, 2, len(tips))), 0))
    counts = np.stack(rows).astype(np.int64)
    used = counts.any(axis=0)
    return Study(tips[used], sparse.csr_array(counts[:, used]))


def distances(tree: Tree, names: Sequence[str], counts: sparse.csr_array) -> list[NDArray[np.float64]]:
    """UniFrac of the pairs of samples on a tree, by measure."""
    samples = build_community(counts, list(names), tree)
    pairs = np.triu_indices(counts.shape[0], 1)
    return [full_matrix(samples, measure, "torch", lambda done, total: None)[pairs] for measure in MEASURES]


def try_out(reference: Reference, window: Window, learned: LearnedPlacer, study: Study) -> Trial:
    """Hang the ASVs of a study, which the window must not have, on what is left of the reference."""
    first, last = window.first, window.last
    codes = np.ascontiguousarray(reference.on(first, last)[:, study.tips].T)
    near = window.hood.nearest(codes, learned.candidates)
    hung = hang(window, learned.net, codes, near, read_alone(window, learned.net, codes, near.rows), FAR)
    names = [reference.tree.tip_names[tip] for tip in study.tips.tolist()]
    total = len(names)
    reads = Reads(codes[:0], first, np.ones(total, np.int8), *(np.ones(total, np.int64),) * 2, np.ones(total))
    found = empty_placements([f"{name} of the study" for name in names], reads, 1, reference)
    found.fate[:] = PLACED
    found.differing[:, :1] = near.differing[:, :1]
    return Trial(reference, hung, found, study.counts, distances(reference.tree, names, study.counts))


def explained(trial: Trial, shrink: Shrink) -> list[float]:
    """R2 of the distances of a trial, without a fitted line, by measure."""
    write_places(trial.reference, trial.hung, shrink, np.arange(len(trial.found.ids)), trial.found)
    tree = insertion_tree(trial.found, trial.reference, with_reference=False)
    found = distances(tree, trial.found.ids, trial.counts)
    return [
        1 - float(((one - true) ** 2).sum() / ((true - true.mean()) ** 2).sum())
        for one, true in zip(found, trial.true, strict=True)
    ]


def fit(trials: Sequence[Trial]) -> Shrink:
    """The factors with the least unexplained variance, geometric mean over trials and measures, by one search along
    each factor, twice."""

    def loss(shrink: Shrink) -> float:
        left = [1 - value for trial in trials for value in explained(trial, shrink)]
        return float(np.mean(np.log(np.maximum(left, 1e-6))))

    known: dict[Shrink, float] = {}
    best = Shrink(0.6, 0.6)
    for _ in range(2):
        for name, values in (("height", FACTORS), ("stem", FACTORS)):
            options = [best._replace(**{name: value}) for value in values]
            for option in options:
                if option not in known:
                    known[option] = loss(option)
            best = min(options, key=known.__getitem__)
    return best
