"""The samples of a table on the clades of a reference, for the learners."""

from __future__ import annotations

from typing import NamedTuple

from aam.corpus.samples import TableSamples
from aam.learners.clades import CladeTable, clade_table
from aam.observer import Observer
from aam.placement.placements import Placements
from aam.workflows.asv_sources import Asvs
from aam.workflows.place import Chosen, place_asvs


class PlacedSamples(NamedTuple):
    """The clades of samples, and the places of their ASVs."""

    table: CladeTable
    places: Placements


def place_samples(samples: TableSamples, chosen: Chosen, threads: int | None, observer: Observer) -> PlacedSamples:
    """The clades of samples, all their reads; raises `SequenceError` if no ASV has a place on the reference.

    Each ASV is placed alone, so that the clades of a sample do not depend on the other samples.
    """
    table = samples.table
    asvs = Asvs(table.asv_ids, table.sequences, str(table.source))
    places = place_asvs(asvs, chosen, threads, observer)
    with observer.stage("adding up clades, of all reads of each sample: none are drawn"):
        found = clade_table(table.counts, list(table.sequences), places, chosen.reference.tree)
    return PlacedSamples(found, places)
