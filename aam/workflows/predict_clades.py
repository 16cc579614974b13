"""Predictions of an ensemble on clades for the samples of any table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aam.checkpoint import MODEL, Stored, find_members, is_clades, read_stored
from aam.config import FinetuneConfig
from aam.corpus.samples import TableSamples
from aam.errors import CheckpointError
from aam.io.files import digest
from aam.learners.ensemble import Ensemble
from aam.learners.stored import from_tensors
from aam.learners.transfer import read_studies
from aam.observer import Observer
from aam.placement.store import RECORD
from aam.workflows.clade_inputs import PlacedSamples, open_reference_of, place_samples
from aam.workflows.place import Chosen
from aam.workflows.train_clades import REFERENCE_DIGEST, decoded
from aam.workflows.transfer_card import TransferCard, make_card, say_card


@dataclass(frozen=True)
class OpenedClades:
    """A stored ensemble, its folder and configuration, and the digest of the reference that its clades are of."""

    folder: Path
    ensemble: Ensemble
    config: FinetuneConfig
    reference: str

    @property
    def models(self) -> int:
        """How many models these are."""
        return 1


def find_clades(model: Path) -> Stored | None:
    """The stored ensemble of a run, or None if the run trained a network."""
    stored = read_stored(find_members(model)[0])
    return stored if is_clades(stored.config) else None


def open_clades(stored: Stored) -> OpenedClades:
    """Read an ensemble; raises CheckpointError if it is damaged."""
    assert isinstance(stored.config, FinetuneConfig)
    reference = str(stored.state().get(REFERENCE_DIGEST))
    return OpenedClades(
        stored.folder, from_tensors(stored.tensors(MODEL), str(stored.folder)), stored.config, reference
    )


class CladePredictions(NamedTuple):
    """What each kind of member says [R, N, 1, K], in units of the target or as log-probabilities, and the card."""

    repeats: NDArray[np.float64]
    card: TransferCard | None


def predict_clades(opened: OpenedClades, samples: TableSamples, observer: Observer) -> CladePredictions:
    """Predictions of samples, and how far they lie from training, if the model has recorded its studies."""
    placed = place_for(opened, samples, observer)
    card = None
    if (training := read_studies(opened.folder)) is not None:
        card = make_card(training, opened.folder, samples, placed, opened.ensemble.features.of(placed.table))
        say_card(card, observer)
    return CladePredictions(decoded(opened.ensemble, placed.table, opened.config), card)


def place_for(opened: OpenedClades, samples: TableSamples, observer: Observer) -> PlacedSamples:
    """The samples on the reference of the model; raises CheckpointError if it is another one now."""
    chosen = open_own_reference(opened, observer)
    return place_samples(samples, chosen, opened.config.learner.threads, observer)


def open_own_reference(opened: OpenedClades, observer: Observer) -> Chosen:
    """The reference whose clades the model has learned; raises CheckpointError if it has changed."""
    chosen = open_reference_of(opened.config.learner, observer)
    if digest(chosen.folder / RECORD) != opened.reference:
        raise CheckpointError(
            f"{chosen.folder}: not the reference whose clades the model has learned; restore that one, or train again"
        )
    return chosen
