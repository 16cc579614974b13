"""UniFrac and Faith PD of the samples of a table on the tree of a reference, on which their ASVs are placed."""

from __future__ import annotations

import dataclasses
from typing import Any

from skbio import DistanceMatrix

from aam.config import DataConfig, Metric, RunConfig, UnifracConfig
from aam.config.reference import InsertionConfig
from aam.corpus.samples import TableSamples, open_samples
from aam.evaluation.distance import Truth, compute_truth, score_distances, score_faith_pd
from aam.io.table import Table
from aam.observer import Observer
from aam.phylogeny.engines import full_faith_pd, full_matrix
from aam.phylogeny.unifrac import Measure, build_community
from aam.placement.insertion import insertion_tree, rooted_newick
from aam.placement.placements import Placements
from aam.placement.shipped import reference_name
from aam.text import counted
from aam.workflows.asv_sources import Asvs
from aam.workflows.distance import Distances, index_by_sample
from aam.workflows.notes import say_dropped, warn_of_unequal_depths
from aam.workflows.opened import say_opened
from aam.workflows.place import open_chosen, place_in_tree

WITHOUT_PLACE = "samples none of whose ASVs has a place"
"""Reason under which samples are left out."""
WHOLE = 1 << 20
"""Bases that are read of a sequence: all."""


def placed_distance(
    data: DataConfig, config: UnifracConfig, chosen: InsertionConfig, run: RunConfig, observer: Observer
) -> Distances:
    """Place the ASVs of a table and compute UniFrac of all pairs of samples, and Faith PD, on the insertion tree.

    With a tree in `data`, those of that tree too, and the metrics of the comparison.
    """
    opened = open_chosen(chosen, observer)
    with observer.stage("reading the data"):
        samples = open_samples(data, config.rarefy_depth, run.seed, WHOLE, with_tree=True)
    say_opened(samples, observer, WHOLE)
    warn_of_unequal_depths(samples.table, config.rarefy_depth, config.metric, observer)
    asvs = Asvs(samples.table.asv_ids, samples.table.sequences, str(samples.table.source))
    places = place_in_tree(asvs, opened, chosen, observer)
    samples = with_places(samples, places, observer)
    placed = samples.table.select(asvs=places.placed)
    tree = insertion_tree(places, opened.reference, with_reference=False)
    tips = counted(len(opened.reference.tree.tip_names), "tips")
    observer.say(f"distances are in units of the tree of the reference {reference_name(opened.folder)} ({tips})")
    community = build_community(placed.counts, list(placed.asv_ids), tree)
    with observer.progress("UniFrac") as progress:
        matrix = None
        if config.metric != "faith_pd":
            matrix = full_matrix(community, Measure(config.metric, config.alpha), config.engine, progress)
        diversity = full_faith_pd(community, config.engine, progress)
    ids = samples.table.sample_ids
    found = Distances(
        config.metric,
        None if matrix is None else DistanceMatrix(matrix, ids),
        index_by_sample(diversity, ids, "faith_pd"),
        None,
        None,
        {},
        rooted_newick(tree),
    )
    return found if samples.tree is None else compared(found, samples, config, run.seed, observer)


def with_places(samples: TableSamples, places: Placements, observer: Observer) -> TableSamples:
    """The samples in which at least one ASV has a place."""
    reads = samples.table.counts[:, places.placed].sum(axis=1)
    table: Table = samples.table.keep(reads > 0, WITHOUT_PLACE)
    if WITHOUT_PLACE in table.dropped:
        say_dropped({WITHOUT_PLACE: table.dropped[WITHOUT_PLACE]}, observer)
    return dataclasses.replace(samples, table=table)


def compared(
    found: Distances, samples: TableSamples, config: UnifracConfig, seed: int, observer: Observer
) -> Distances:
    """The same with UniFrac and Faith PD of the tree of `samples`, and the metrics of the comparison."""
    metric: Metric = "unweighted" if config.metric == "faith_pd" else config.metric
    measure, figures = Measure(metric, config.alpha), dict[str, Any]()
    with observer.progress("true UniFrac") as progress:
        true: Truth = compute_truth(samples, measure, progress)
    with observer.stage("comparing"):
        if found.unifrac is not None:
            figures = score_distances(found.unifrac.data, true, samples, measure, seed)
        assert found.faith_pd is not None
        figures |= score_faith_pd(found.faith_pd.to_numpy(), true.faith_pd)
    ids = samples.table.sample_ids
    return dataclasses.replace(
        found,
        true_unifrac=None if found.unifrac is None else DistanceMatrix(true.unifrac, ids),
        true_faith_pd=index_by_sample(true.faith_pd, ids, "true_faith_pd"),
        figures=figures,
    )
