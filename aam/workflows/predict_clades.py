"""Predictions of an ensemble on clades for the samples of any table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aam.checkpoint import MODEL, Stored, find_members, is_clades, read_stored
from aam.config import FinetuneConfig
from aam.corpus.samples import TableSamples
from aam.errors import CheckpointError
from aam.io.files import digest
from aam.learners.ensemble import Ensemble
from aam.learners.stored import from_tensors
from aam.observer import Observer
from aam.placement.store import RECORD
from aam.workflows.clade_inputs import open_reference_of, place_samples
from aam.workflows.train_clades import REFERENCE_DIGEST, decoded


@dataclass(frozen=True)
class OpenedClades:
    """A stored ensemble, the configuration of its run, and the digest of the reference that its clades are of."""

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
    return OpenedClades(from_tensors(stored.tensors(MODEL), str(stored.folder)), stored.config, reference)


def predict_clades(opened: OpenedClades, samples: TableSamples, observer: Observer) -> NDArray[np.float64]:
    """What each kind of member says [R, N, 1, K] of samples, in units of the target or as log-probabilities."""
    chosen = open_reference_of(opened.config.learner, observer)
    if digest(chosen.folder / RECORD) != opened.reference:
        raise CheckpointError(
            f"{chosen.folder}: not the reference whose clades the model has learned; restore that one, or train again"
        )
    table = place_samples(samples, chosen, opened.config.learner.threads, observer)
    return decoded(opened.ensemble, table, opened.config)
