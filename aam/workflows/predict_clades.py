"""Predictions of an ensemble on clades for the samples of any table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aam.corpus.samples import TableSamples
from aam.observer import Observer
from aam.workflows.clade_inputs import open_reference_of, place_samples
from aam.workflows.stored_clades import StoredClades


def predict_clades(stored: StoredClades, samples: TableSamples, observer: Observer) -> NDArray[np.float64]:
    """What each kind of member says [R, N, 1, K] of samples, in units of the target or as log-probabilities.

    Raises an InputError without the reference of the training, and if no ASV has a place on it.
    """
    chosen = open_reference_of(stored.config.learner, observer)
    stored.check_reference(chosen.folder)
    return stored(place_samples(samples, chosen, stored.config.learner.threads, observer))
