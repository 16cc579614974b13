"""What baselines learn from besides counts: places on a reference, UniFrac, and who belongs to which study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from aam.config import FinetuneConfig
from aam.config.baseline import BaselineName
from aam.config.learner import CLADES
from aam.corpus.samples import read_any_tree
from aam.corpus.studies import resolve_studies
from aam.corpus.study import Study
from aam.errors import SequenceError
from aam.evaluation.metadata_baselines import BASELINES, usual
from aam.learners.clades import CladeTable
from aam.observer import Observer
from aam.phylogeny.engines import full_matrix
from aam.phylogeny.tree import Tree, match_tips
from aam.phylogeny.unifrac import Measure, build_community
from aam.placement.insertion import insertion_tree
from aam.workflows.clade_inputs import place_samples
from aam.workflows.notes import say_of_tree
from aam.workflows.place import open_chosen


class Inputs(NamedTuple):
    """Arguments of `LabelledCounts` after the task, for N samples; clades and distances are None where not needed."""

    distances: NDArray[np.float64] | None
    clades: CladeTable | None
    studies: NDArray[np.int64] | None
    subjects: NDArray[np.int64]


class Placed(NamedTuple):
    """Samples on a reference: their clades, and the tree of the ASVs that have a place, numbers [n] of all ASVs."""

    clades: CladeTable
    columns: NDArray[np.int64]
    tree: Tree


def read_inputs(
    config: FinetuneConfig, study: Study, counts: csr_array, asked: Sequence[BaselineName], observer: Observer
) -> Inputs:
    """Read what the baselines asked for need, or, if none are named, what these data have; `counts` [N, A]."""
    wanted, labels = asked or usual(), study.labels
    placed = place_if_wanted(config, study, asked, observer)
    distances = None
    if any(BASELINES[name].distances for name in wanted):
        distances = compute_unifrac(config, study, counts, placed, observer)
    studies = None if labels.studies is None else labels.study_numbers
    return Inputs(distances, None if placed is None else placed.clades, studies, labels.subject_numbers)


def place_if_wanted(
    config: FinetuneConfig, study: Study, asked: Sequence[BaselineName], observer: Observer
) -> Placed | None:
    """The samples on a reference, if it is given, or a baseline that is asked for needs it.

    For several studies, and a run on clades, places are tried too, but that no ASV has one is no error then.
    """
    explicit = config.learner.reference is not None or any(BASELINES[name].clades for name in asked)
    learner = config.learner.learner
    tried = learner == CLADES or (learner == "auto" and study.labels.studies is not None)
    if not explicit and (asked or not tried):
        return None
    chosen = open_chosen(config.learner, observer)
    try:
        clades, places = place_samples(study, chosen, config.learner.threads, observer)
    except SequenceError as error:
        if explicit:
            raise
        observer.say(f"nothing on clades: {error}")
        return None
    with observer.stage("building the tree"):
        tree = insertion_tree(places, chosen.reference, with_reference=False)
    return Placed(clades, places.placed, tree)


def compute_unifrac(
    config: FinetuneConfig, study: Study, counts: csr_array, placed: Placed | None, observer: Observer
) -> NDArray[np.float64] | None:
    """Unweighted UniFrac of all samples [N, N], on --tree, else on the tree of the places.

    None if there is neither, or a sample has no ASV in it.
    """
    data = resolve_studies(config.data)
    if data.tree is not None:
        tree = read_any_tree(data.tree)
        say_of_tree(tree, observer)
        match = match_tips(study.table.asv_ids, study.table.sequences, tree, data.max_missing)
        on_tree, tips = counts[:, match.columns], match.tips
    elif placed is not None:
        tree, on_tree = placed.tree, counts[:, placed.columns]
        tips = [study.table.asv_ids[column] for column in placed.columns]
    else:
        return None
    if (np.asarray(on_tree.sum(axis=1)).ravel() == 0).any():
        observer.say("no nearest neighbours on UniFrac: a sample has no ASV on the tree")
        return None
    with observer.progress("UniFrac") as progress:
        return full_matrix(build_community(on_tree, tips, tree), Measure("unweighted", 1.0), "torch", progress)
