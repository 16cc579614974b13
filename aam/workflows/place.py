"""The work of `aam place`: ASVs placed on the tree of a reference, and their taxonomy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aam import __version__
from aam.config.apply import PlaceConfig
from aam.config.reference import InsertionConfig, PlacingConfig
from aam.corpus.equal_asvs import order_of
from aam.errors import ConfigError, SequenceError
from aam.io.ids import FEATURE_ID
from aam.observer import Observer
from aam.phylogeny.tree import Tree
from aam.placement.insertion import insertion_tree, rooted_newick
from aam.placement.learned import LearnedPlacer, place_by_network
from aam.placement.nearest_tip import place_by_nearest_tip
from aam.placement.outcome import doubts, far_text, fates_text, left_out, where_text
from aam.placement.placements import Placements
from aam.placement.placer_file import read_placer
from aam.placement.reference import Reference
from aam.placement.shipped import find_reference
from aam.placement.store import open_reference
from aam.placement.tables import placements_table, ranks_table, taxonomy_table
from aam.placement.taxonomy import Taxonomy, classify
from aam.placement.threads import usable_cores
from aam.text import counted
from aam.workflows.asv_sources import Asvs
from aam.workflows.notes import say_dropped

if TYPE_CHECKING:
    import pandas as pd
    from skbio import TreeNode

PROGRAM = f"aam {__version__}"


@dataclass(frozen=True, repr=False)
class Placement:
    """ASVs placed on the tree of a reference.

    `places` and `taxa` are arrays over all ASVs; `insertion` is the tree of those that have a place. `taxa` is None for
    a reference without taxonomy.
    """

    places: Placements
    reference: Reference
    insertion: Tree
    taxa: Taxonomy | None
    confidence: float

    def __repr__(self) -> str:
        lost = f", {self.summary}" if self.summary else ""
        return f"Placement({counted(len(self.places.placed), 'ASVs')} placed{lost}; see .tree, .placements, .taxonomy)"

    @cached_property
    def tree(self) -> TreeNode:
        """The insertion tree as an object of scikit-bio, with the ids of the ASVs as tips."""
        from skbio import TreeNode

        return TreeNode.read([self.newick], format="newick")

    @property
    def newick(self) -> str:
        """The insertion tree as Newick text."""
        return rooted_newick(self.insertion)

    @cached_property
    def placements(self) -> pd.DataFrame:
        """Where each ASV lies on the gene and in the tree, what is near it, and what is doubtful; rows by id."""
        return placements_table(self.places, self.reference, FEATURE_ID)

    @property
    def nearest(self) -> pd.DataFrame:
        """The nearest references of each ASV, and how far they are."""
        return self.placements[["nearest", "differing_columns", "compared_columns", "distance"]]

    @cached_property
    def taxonomy(self) -> pd.DataFrame | None:
        """The taxon of each ASV and its confidence, as q2-feature-classifier writes them."""
        return None if self.taxa is None else taxonomy_table(self.places.ids, self.taxa, self.confidence)

    @cached_property
    def ranks(self) -> pd.DataFrame | None:
        """The likeliest name of each ASV at each rank and its confidence."""
        return None if self.taxa is None else ranks_table(self.places.ids, self.taxa, FEATURE_ID)

    @property
    def summary(self) -> str:
        """How many ASVs were left out and why, for messages; empty if none was."""
        lost = len(self.places.fate) - len(self.places.placed)
        return f"{lost:,} left out ({fates_text(self.places)})" if lost else ""


class Chosen(NamedTuple):
    """The reference in a folder, and what it has learned about placing, if anything."""

    folder: Path
    reference: Reference
    learned: LearnedPlacer | None


def open_chosen(config: PlacingConfig, observer: Observer) -> Chosen:
    """The reference to place on; raises an InputError if it is unusable."""
    with observer.stage("opening the reference"):
        folder = find_reference(config.reference, observer)
        return Chosen(folder, open_reference(folder), read_placer(folder))


def place_asvs(asvs: Asvs, chosen: Chosen, threads: int | None, observer: Observer, joint: bool = False) -> Placements:
    """The places of ASVs; says which were left out and what is doubtful. Raises `SequenceError` if none has a place.

    Its place depends on an ASV alone, unless `joint`: then one far from the reference may hang on another one that was
    placed before, in the order of `equal_asvs`, not of a file.
    """
    if joint and chosen.learned is None:
        raise ConfigError(f"--joint: the reference {chosen.folder} has learned no placement; leave the option out")
    threads, reference, order = threads or usable_cores(), chosen.reference, order_of(asvs.sequences, asvs.ids)
    ids, sequences = ([texts[row] for row in order.tolist()] for texts in (asvs.ids, asvs.sequences))
    with observer.progress("placing") as progress:
        if chosen.learned is None:
            found = place_by_nearest_tip(reference, ids, sequences, progress, threads)
        else:
            learned = chosen.learned.joint if joint else chosen.learned
            found = place_by_network(reference, learned, ids, sequences, progress, threads)
    found = found.in_order(np.argsort(order), len(reference.tree.tip_names))
    if not len(found.placed):
        raise SequenceError(
            f"{asvs.source}: none of {counted(len(asvs.ids), 'ASVs')} can be placed ({fates_text(found)}): "
            f"{where_text(found, reference)}; use a reference with these columns, or check the sequences"
        )
    say_dropped(left_out(found), observer)
    for text in doubts(found, reference):
        observer.warn(text)
    return found


def place_in_tree(asvs: Asvs, opened: Chosen, config: InsertionConfig, observer: Observer) -> Placements:
    """The places of ASVs that are to be tips of one tree; says where `--joint` would help."""
    places = place_asvs(asvs, opened, config.threads, observer, config.joint)
    if opened.learned is not None and not config.joint and (text := far_text(places)):
        observer.warn(text)
    return places


def place(asvs: Asvs, config: PlaceConfig, chosen: InsertionConfig, observer: Observer) -> Placement:
    """Place ASVs on the tree of a reference and name their taxa."""
    if not len(asvs.ids):
        raise ConfigError(f"{asvs.source} has no ASVs; give at least one sequence")
    opened = open_chosen(chosen, observer)
    reference = opened.reference
    places = place_in_tree(asvs, opened, chosen, observer)
    with observer.stage("building the tree"):
        tree = insertion_tree(places, reference, with_reference=config.tree == "reference")
        taxa = classify(places, reference)
    if taxa is None:
        observer.say("the reference has no taxonomy, so there is none of the ASVs")
    return Placement(places, reference, tree, taxa, config.confidence)
